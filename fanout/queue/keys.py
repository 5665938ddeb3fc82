"""How everything in the queue is named: lanes, flows, partitions, and the keys that they have in Redis. Pure.

A lane is the unit of order: one destination of one hub. A group action belongs to the lane of its group, so that
"join, then send" in one batch stays in order. removeAll and closing belong to the lane of the member they name. Order
across lanes is kept for changes of one member alone (see `changes`). Messages of another priority have a lane of their
own, except those to a group: none of them may overtake a group action that was queued before it.

A flow is all lanes of one hub, one kind of destination and one priority that live in one partition. It has a stream of
its own, so that what waits in one flow holds back no other.

Each endpoint has lanes and flows of its own, so that a dead one holds back no other: the hub in a key is
`hub@endpoint`, or the hub alone for the endpoint without a name. The partition depends on the destination and not on
the endpoint: what one item has for several endpoints is stored in one atomic step, and its body once. The name of such
a flow begins with a mark, so that a process that knows no endpoints leaves it alone.

Rules guarded: the keys of lanes and flows, and the keys in Redis, are made and taken apart nowhere else. Every key in
Redis begins with the namespace, so that several services can share one Redis. All keys of a partition carry its number
as the hash tag, so that they share one Cluster slot and one script may use them together. No other braces may appear in
a key.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

from fanout.signalr.message import GroupAction, Item, Message, Priority, Scope, Verb

DEFAULT_NAMESPACE = "fanout"
FIELD = b"e"  # the one field of a stream entry
REST = "~"  # how the token of the rest of a lease begins; no host name does
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")  # no braces: they would be read as the hash tag
_LETTER = {Scope.BROADCAST: "b", Scope.USER: "u", Scope.GROUP: "g", Scope.CONNECTION: "c"}
_HIGH = {Scope.BROADCAST: "B", Scope.USER: "U", Scope.GROUP: "g", Scope.CONNECTION: "C"}
_LOW = {Scope.BROADCAST: "p", Scope.USER: "q", Scope.GROUP: "g", Scope.CONNECTION: "r"}
_SCOPE = {letter: scope for letters in (_HIGH, _LOW, _LETTER) for scope, letter in letters.items()}
_PRIORITY = (
    dict.fromkeys(_LETTER.values(), Priority.NORMAL)
    | {letter: Priority.HIGH for scope, letter in _HIGH.items() if scope is not Scope.GROUP}
    | {letter: Priority.LOW for scope, letter in _LOW.items() if scope is not Scope.GROUP}
)
_OF_PRIORITY = {Priority.HIGH: _HIGH, Priority.NORMAL: _LETTER, Priority.LOW: _LOW}
_NORMAL = Priority.NORMAL
_OTHER_PRIORITIES = frozenset(letter for letter, priority in _PRIORITY.items() if priority is not _NORMAL)
_END_OF_HUB = "\n"  # no hub name holds one, so the first one ends the hub whatever the destination's name holds
_AT = "@"  # neither a hub nor an application name holds one


# Lanes and flows -----------------------------------------------------------------------------------------------------


class Destination(NamedTuple):
    """What one lane is for: a hub at an endpoint, a kind of destination in it, and its name ("" for a broadcast)."""

    hub: str
    scope: Scope
    name: str


def hub_at(hub: str, endpoint: str) -> str:
    """Return the hub as it stands in keys: with the name of the endpoint, where it has one."""
    return f"{hub}{_AT}{endpoint}" if endpoint else hub


def hub_and_endpoint(hub: str) -> tuple[str, str]:
    """Take apart what `hub_at` made: a hub and the name of an endpoint."""
    bare, _at, endpoint = hub.partition(_AT)
    return bare, endpoint


def lane_of(hub: str, item: Item) -> str:
    """Return the key of the lane an item belongs to; here and below `hub` is what `hub_at` returns."""
    if isinstance(item, Message):
        letters = _LETTER if item.priority is _NORMAL else _OF_PRIORITY[item.priority]
        return f"{hub}{_END_OF_HUB}{letters[item.scope]}{item.to}"
    if not isinstance(item, GroupAction):
        return f"{hub}{_END_OF_HUB}{_LETTER[item.scope]}{item.to}"
    if item.verb is Verb.REMOVE_ALL:
        return f"{hub}{_END_OF_HUB}{_LETTER[item.member_scope]}{item.member}"
    return f"{hub}{_END_OF_HUB}{_LETTER[Scope.GROUP]}{item.group}"


def place_of(hub: str, item: Item, partitions: int) -> tuple[str, int, str]:
    """Return lane, partition and flow of an item; for the commonest kind in one step, because it is asked for each."""
    if type(item) is Message and item.priority is _NORMAL:
        letter = _LETTER[item.scope]
        lane = f"{hub}{_END_OF_HUB}{letter}{item.to}"
        if _AT not in hub:
            return lane, crc32(lane.encode()) % partitions, letter + hub
        return lane, partition_of(lane, partitions), flow_named(letter, hub)
    lane = lane_of(hub, item)
    return lane, partition_of(lane, partitions), flow_of(lane)


def destination_of(key: str) -> Destination:
    """Return the destination a lane key was made of."""
    hub, _end, rest = key.partition(_END_OF_HUB)
    return Destination(hub, _SCOPE[rest[0]], rest[1:])


def hub_of(key: str) -> str:
    """Return the hub of a lane key, with its endpoint; cheaper than `destination_of`, and asked for each call."""
    return key.partition(_END_OF_HUB)[0]


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a lane. It depends on destination and `partitions` alone, so it never changes."""
    hub, _end, rest = key.partition(_END_OF_HUB)
    if rest[:1] in _OTHER_PRIORITIES:  # all that concerns one destination lives in one partition
        rest = _LETTER[_SCOPE[rest[0]]] + rest[1:]
        key = f"{hub}{_END_OF_HUB}{rest}"
    if _AT in hub:
        key = f"{hub_and_endpoint(hub)[0]}{_END_OF_HUB}{rest}"
    return crc32(key.encode()) % partitions


def flow_of(key: str) -> str:
    """Return the name of the flow a lane belongs to: the letter of its kind and priority, then the hub."""
    hub, _end, rest = key.partition(_END_OF_HUB)
    return flow_named(rest[0], hub)


def flow_named(letter: str, hub: str) -> str:
    """Return the name of the flow of a kind and priority, given by its letter."""
    return f"{_AT}{letter}{hub}" if _AT in hub else letter + hub


def scope_of_flow(flow: str) -> Scope | None:
    """Return the kind of destination of a flow's name; None for one that a newer version made."""
    return _SCOPE.get(flow.removeprefix(_AT)[:1])


def hub_of_flow(flow: str) -> str:
    """Return the hub of a flow's name, with its endpoint."""
    return flow.removeprefix(_AT)[1:]


def priority_of_flow(flow: str) -> Priority:
    """Return the priority of what waits in a flow; of a group's flow, which holds all of them, it is NORMAL.

    So it is of a flow of a kind that only a newer process knows.
    """
    return _PRIORITY.get(flow.removeprefix(_AT)[:1], _NORMAL)


def is_known_flow(flow: str) -> bool:
    """Return whether this process knows what kind of destination waits in a flow, and in which order."""
    return flow.removeprefix(_AT)[:1] in _PRIORITY


def lane_in_flow(flow: str, rest: str) -> str:
    """Return the key of the lane `rest` (a lane without its hub) in a flow; "" when it belongs to no such flow."""
    flow = flow.removeprefix(_AT)
    return f"{flow[1:]}{_END_OF_HUB}{rest}" if rest and rest[0] == flow[:1] else ""


# Keys in Redis -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace."""

    namespace: str = DEFAULT_NAMESPACE

    @property
    def partitions(self) -> str:
        """The number of partitions this namespace was first used with."""
        return f"{self.namespace}:partitions"

    @property
    def endpoints(self) -> str:
        """A set: the endpoints that this queue is delivered to."""
        return f"{self.namespace}:endpoints"

    @property
    def workers(self) -> str:
        """A sorted set: live workers by the millisecond at which their heartbeat expires."""
        return f"{self.namespace}:workers"

    def pace_notices(self, endpoint: str = "") -> str:
        """Return the key of a stream: slowdowns of an endpoint that workers share."""
        return f"{self.namespace}:pace-notices{f'@{endpoint}' if endpoint else ''}"

    def demand(self, endpoint: str = "") -> str:
        """Return the key of a hash by worker: until when its demand counts, and how many lanes of each class wait."""
        return f"{self.namespace}:demand{f'@{endpoint}' if endpoint else ''}"

    @property
    def pauses(self) -> str:
        """A hash by what is held back: pauses set by hand, and those the service asked for."""
        return f"{self.namespace}:pauses"

    @property
    def api_keys(self) -> str:
        """A hash by id: the API keys of callers, each with the digest of its secret and what it may do."""
        return f"{self.namespace}:api-keys"

    @property
    def executes(self) -> str:
        """A hash by endpoint: when it was proved that it runs `:execute`."""
        return f"{self.namespace}:executes"

    def stream(self, partition: int, flow: str) -> str:
        """Return the key of the stream of one flow's waiting entries, oldest first."""
        return f"{self.namespace}:{{{partition}}}:q:{flow}"

    def flows(self, partition: int) -> str:
        """Return the key of the set of streams that hold entries, or held some lately."""
        return f"{self.namespace}:{{{partition}}}:flows"

    def wake(self, partition: int) -> str:
        """Return the key of the stream that wakes the partition's reader: there is a new flow, or it is to look."""
        return f"{self.namespace}:{{{partition}}}:wake"

    def size(self, partition: int) -> str:
        """Return the key of the number of bytes that wait."""
        return f"{self.namespace}:{{{partition}}}:size"

    def body(self, partition: int, name: str) -> str:
        """Return the key of a body that stands beside the streams, with the number of entries that need it."""
        return f"{self.namespace}:{{{partition}}}:body:{name}"

    def dead_size(self, partition: int) -> str:
        """Return the key of the number of bytes that dead letters take."""
        return f"{self.namespace}:{{{partition}}}:dead-size"

    def dead(self, partition: int) -> str:
        """Return the key of the stream of dead letters, oldest first."""
        return f"{self.namespace}:{{{partition}}}:dead"

    def dead_aged(self, partition: int) -> str:
        """Return the key of a hash: dead letters deleted for their age and not yet counted, and the last of them."""
        return f"{self.namespace}:{{{partition}}}:dead-aged"

    def measured(self, partition: int) -> list[str]:
        """Return the keys that tell how much waits in a partition, how much is dead, and whether it has an owner."""
        sizes = (self.size(partition), self.dead_size(partition))
        return [self.flows(partition), self.dead(partition), *sizes, self.lease(partition)]

    def lease(self, partition: int) -> str:
        """Return the key of the token of the lease's holder; it expires with the lease."""
        return f"{self.namespace}:{{{partition}}}:lease"

    def rest(self, partition: int, token: str) -> str:
        """Return the key of what a former holder keeps of its lease: the lanes with a call in flight; it expires."""
        return f"{self.namespace}:{{{partition}}}:rest:{token}"

    def lease_of(self, partition: int, token: str) -> str:
        """Return the key that holds `token` while its holder may write: the lease, or the rest of one."""
        return self.rest(partition, token) if token.startswith(REST) else self.lease(partition)

    def left(self, partition: int) -> str:
        """Return the key of a hash: lanes in which a former holder has a call in flight, and the token of its rest."""
        return f"{self.namespace}:{{{partition}}}:left"

    def fence(self, partition: int) -> str:
        """Return the key of the counter that makes each holder's token greater than its predecessor's."""
        return f"{self.namespace}:{{{partition}}}:fence"

    def seen(self, partition: int) -> str:
        """Return what the keys of remembered ids begin with."""
        return f"{self.namespace}:{{{partition}}}:seen"

    def allowance(self, caller: str) -> str:
        """Return the key of what a caller with a limit may still send. It holds a digest: tokens name callers."""
        return f"{self.namespace}:allowance:{_digest(caller)}"

    def trace(self, message_id: str) -> str:
        """Return the key of one message's trace. It holds a digest because callers choose the ids."""
        return f"{self.namespace}:trace:{_digest(message_id)}"


KEYS = Keys()


def check_namespace(text: str) -> str:
    """Return `text` if it can be a namespace; raise ValueError if not."""
    if _NAMESPACE.fullmatch(text) is None:
        raise ValueError("must be 1 to 64 of A-Z a-z 0-9 . _ : / - and begin with a letter or digit")
    return text


def flow_of_stream(stream_key: bytes) -> str:
    """Return the flow whose entries a stream holds."""
    return stream_key.decode().partition("}:q:")[2]


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
