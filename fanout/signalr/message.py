"""The frozen values that travel: one value is one REST call to one destination.

Source: the Functions binding's SignalRMessage and SignalRGroupAction, widened by what the REST API can do (excluded
connections, membership TTL, closing connections). A list of targets in the caller's JSON has been expanded before a
value of this kind exists, so everything behind the ingress deals with one destination at a time.

The classes are msgspec structs because the queue stores them: array-shaped and tagged, so that a field added at the
end with a default is readable by older and newer processes alike.
"""

from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """Who is addressed. The values are the words used in metrics, logs and the API."""

    BROADCAST = "broadcast"
    USER = "user"
    GROUP = "group"
    CONNECTION = "connection"

    __hash__ = str.__hash__  # an enum's own is a call in Python, for every look into a table


class Verb(StrEnum):
    """What a group action does; the values are the binding's own spelling."""

    ADD = "add"
    REMOVE = "remove"
    REMOVE_ALL = "removeAll"

    __hash__ = str.__hash__


class Message(msgspec.Struct, frozen=True, array_like=True, tag="m", gc=False):
    """A client method call for one destination.

    `to` is the user, group or connection id, "" for a broadcast. `body` is the exact REST body,
    `{"target":...,"arguments":...}`, with the caller's bytes of `arguments` inside. `excluded` are connection ids
    (broadcast and group only). `ttl` is how many seconds the message may wait in the queue, None for ever.
    `collapse` is the key under which only the newest of what waits for this destination is wanted, "" for none.
    `at_most_once` is what the sender wants after a lost answer, None for what the setting says.
    """

    scope: Scope
    to: str
    body: bytes
    excluded: tuple[str, ...] = ()
    ttl: float | None = None
    collapse: str = ""
    at_most_once: bool | None = None


class GroupAction(msgspec.Struct, frozen=True, array_like=True, tag="g", gc=False):
    """A change of membership. `member_scope` is USER or CONNECTION; `group` is "" for removeAll.

    `ttl` is the membership's own lifetime in whole seconds (add of a user only), None for the service's default.
    """

    verb: Verb
    member_scope: Scope
    member: str
    group: str = ""
    ttl: int | None = None


class CloseConnections(msgspec.Struct, frozen=True, array_like=True, tag="c", gc=False):
    """Close one connection, or all of a user or group. `reason` reaches the client when the service allows it."""

    scope: Scope
    to: str
    reason: str = ""
    excluded: tuple[str, ...] = ()


Item = Message | GroupAction | CloseConnections


def operation_of(item: Item) -> str:
    """Name the kind of call for metrics and logs, e.g. `sendToUser`; one of OPERATIONS."""
    if isinstance(item, Message):
        return _SENDS[item.scope]
    if isinstance(item, GroupAction):
        return _CHANGES[item.verb, item.member_scope]
    return _CLOSES[item.scope]


_MEMBERS = {Scope.USER: "User", Scope.CONNECTION: "Connection"}
_TARGETS = {Scope.USER: "User", Scope.GROUP: "Group", Scope.CONNECTION: "Connection"}
_SENDS = {Scope.BROADCAST: "broadcast"} | {scope: f"sendTo{name}" for scope, name in _TARGETS.items()}
_CHANGES = {(verb, scope): f"{verb.value}{name}" for verb in Verb for scope, name in _MEMBERS.items()}
_CLOSES = {scope: f"close{name}" for scope, name in _TARGETS.items()}
OPERATIONS: tuple[str, ...] = (*_SENDS.values(), *_CHANGES.values(), *_CLOSES.values())
