"""The items that are queued and delivered: each is one REST call to one destination.

Source: SignalRMessage and SignalRGroupAction of the Functions binding, extended by what the REST API can do: excluded
connections, membership lifetimes, closing connections. Lists of targets are expanded at the ingress, so everything
behind it deals with one destination at a time.

The classes are msgspec structs because the queue stores them. They are arrays with a tag, so a field that is added at
the end with a default is readable by older and newer processes.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

import msgspec

UNNAMED = "default"  # what the endpoint without a name is called


class Scope(StrEnum):
    """The kind of destination. The values are used in metrics, logs and the API."""

    BROADCAST = "broadcast"
    USER = "user"
    GROUP = "group"
    CONNECTION = "connection"

    __hash__ = str.__hash__  # the hash of Enum is a Python function, too slow for a look-up in every call


class Verb(StrEnum):
    """What a group action does. The values are spelled as in the binding."""

    ADD = "add"
    REMOVE = "remove"
    REMOVE_ALL = "removeAll"

    __hash__ = str.__hash__


class Priority(StrEnum):
    """How urgent a message is; the values are the words of the API."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    __hash__ = str.__hash__


class Message(msgspec.Struct, frozen=True, array_like=True, tag="m", gc=False):
    """A client method call for one destination.

    `to` is the user, group or connection id, "" for a broadcast. `body` is the exact REST body,
    `{"target":...,"arguments":...}`, with the bytes of `arguments` as the caller wrote them. `excluded` are connection
    ids (broadcast and group only). `ttl` is how many seconds the message may wait in the queue, None for no limit. Of
    the messages that wait for this destination with the same `collapse` key only the newest is sent; "" is no key.
    `at_most_once` decides what happens after a lost answer, None leaves it to the setting. A `binary` body is no JSON:
    it goes as application/octet-stream and holds the message as each hub protocol frames it.

    With a `stream` the body is an item of that stream of a connection, and `completion` ends the stream: with this
    item, or where the body is empty with that reason ("" for none). None leaves it open.
    """

    scope: Scope
    to: str
    body: bytes
    excluded: tuple[str, ...] = ()
    ttl: float | None = None
    collapse: str = ""
    at_most_once: bool | None = None
    priority: Priority = Priority.NORMAL
    binary: bool = False
    stream: str = ""
    completion: str | None = None


class GroupAction(msgspec.Struct, frozen=True, array_like=True, tag="g", gc=False):
    """A change of membership. `member_scope` is USER or CONNECTION; `group` is "" for removeAll.

    `ttl` is the lifetime of the membership in whole seconds (add of a user only), None for the default of the service.
    """

    verb: Verb
    member_scope: Scope
    member: str
    group: str = ""
    ttl: int | None = None


class CloseConnections(msgspec.Struct, frozen=True, array_like=True, tag="c", gc=False):
    """Close one connection, or all of a user, a group or (BROADCAST) the hub. Clients may be told the `reason`."""

    scope: Scope
    to: str
    reason: str = ""
    excluded: tuple[str, ...] = ()


Item = Message | GroupAction | CloseConnections


class RouteClass(IntEnum):
    """The classes of calls that the service limits apart: a few broadcasts a second, hundreds of sends for each unit.

    A refusal of one class says nothing about another. The numbers are small because lanes keep a queue for each.
    """

    BROADCAST = 0
    SEND = 1
    ACTION = 2

    @property
    def label(self) -> str:
        """The label of metrics."""
        return self.name.lower()


def label_of(endpoint: str) -> str:
    """Return what people read for the name of an endpoint, which is "" for the one without a name."""
    return endpoint or UNNAMED


def class_of_messages(scope: Scope) -> RouteClass:
    """Return the class of the calls of all messages to this kind of destination."""
    return _BROADCAST if scope is Scope.BROADCAST else _SEND


def operation_of(item: Item) -> str:
    """Return the kind of call for metrics and logs, e.g. `sendToUser`; one of OPERATIONS."""
    if isinstance(item, Message):
        return SENDS[item.scope]
    if isinstance(item, GroupAction):
        return _CHANGES[item.verb, item.member_scope]
    return _CLOSES[item.scope]


def class_of(item: Item) -> RouteClass:
    """Return the class of the call that delivers an item; closing connections is an action."""
    return class_of_messages(item.scope) if isinstance(item, Message) else _ACTION


def recipient_of(item: Item) -> str:
    """Return the user, group or connection an item concerns, the member of a group action, "" for a broadcast."""
    return item.member if isinstance(item, GroupAction) else item.to


_MEMBERS = {Scope.USER: "User", Scope.CONNECTION: "Connection"}
_TARGETS = {Scope.USER: "User", Scope.GROUP: "Group", Scope.CONNECTION: "Connection"}
# The kinds of call of messages; those of one kind of destination are of one kind.
SENDS: Mapping[Scope, str] = {Scope.BROADCAST: "broadcast"} | {
    scope: f"sendTo{name}" for scope, name in _TARGETS.items()
}
_CHANGES = {(verb, scope): f"{verb.value}{name}" for verb in Verb for scope, name in _MEMBERS.items()}
_CLOSES = {Scope.BROADCAST: "closeHub"} | {scope: f"close{name}" for scope, name in _TARGETS.items()}
OPERATIONS: tuple[str, ...] = (*SENDS.values(), *_CHANGES.values(), *_CLOSES.values())
_BROADCAST, _SEND, _ACTION = RouteClass  # looking them up on the class costs more
