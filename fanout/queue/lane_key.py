"""The key of a lane: the one module that makes it, takes it apart, and says which partition it lives in. Pure.

A lane is the unit of order: one destination of one hub. A group action belongs to the lane of its group, so that
"join, then send" in one batch stays in order. removeAll and closing belong to the lane of the member they name. Order
across lanes is not promised.
"""

from typing import NamedTuple
from zlib import crc32

from fanout.signalr.message import GroupAction, Item, Scope, Verb

_LETTER = {Scope.BROADCAST: "b", Scope.USER: "u", Scope.GROUP: "g", Scope.CONNECTION: "c"}
_SCOPE = {letter: scope for scope, letter in _LETTER.items()}
_END_OF_HUB = "\n"  # no hub name holds one, so the first one ends the hub whatever the destination's name holds


class Destination(NamedTuple):
    """What one lane is for: a hub, a kind of destination in it, and its name ("" for a broadcast)."""

    hub: str
    scope: Scope
    name: str


def lane_of(hub: str, item: Item) -> str:
    """Return the key of the lane an item belongs to."""
    if not isinstance(item, GroupAction):
        return f"{hub}{_END_OF_HUB}{_LETTER[item.scope]}{item.to}"
    if item.verb is Verb.REMOVE_ALL:
        return f"{hub}{_END_OF_HUB}{_LETTER[item.member_scope]}{item.member}"
    return f"{hub}{_END_OF_HUB}{_LETTER[Scope.GROUP]}{item.group}"


def destination_of(key: str) -> Destination:
    """Return the destination a lane key was made of."""
    hub, _end, rest = key.partition(_END_OF_HUB)
    return Destination(hub, _SCOPE[rest[0]], rest[1:])


def hub_of(key: str) -> str:
    """Return the hub of a lane key; cheaper than `destination_of`, and asked for each call."""
    return key.partition(_END_OF_HUB)[0]


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a lane. It depends on the two arguments alone, so it never changes for a store."""
    return crc32(key.encode()) % partitions
