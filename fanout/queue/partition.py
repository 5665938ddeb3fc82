"""Which lane an item rides and which partition the lane lives in. Pure.

Rule guarded: a lane is the unit of order, one destination of one hub. A group action rides its group's lane, so that
"join, then send" in one batch stays in order; removeAll and closing ride the lane of whom they name. Order across
lanes is not promised (design section 4).
"""

from zlib import crc32

from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb

_LETTER = {Scope.BROADCAST: "b", Scope.USER: "u", Scope.GROUP: "g", Scope.CONNECTION: "c"}


def lane_of(hub: str, item: Item) -> str:
    """Name the lane: the hub, then a letter for the kind of destination and its name."""
    match item:
        case GroupAction(verb=Verb.REMOVE_ALL):
            return _lane(hub, item.member_scope, item.member)
        case GroupAction():
            return _lane(hub, Scope.GROUP, item.group)
        case Message() | CloseConnections():
            return _lane(hub, item.scope, item.to)


def partition_of(lane: str, partitions: int) -> int:
    """Give the partition of a lane; the same for ever as long as `partitions` stays."""
    return crc32(lane.encode()) % partitions


def _lane(hub: str, scope: Scope, name: str) -> str:
    return f"{hub}\n{_LETTER[scope]}{name}"
