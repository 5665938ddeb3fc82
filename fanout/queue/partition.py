"""Which lane an item rides and which partition the lane lives in. Pure.

Rule guarded: a lane is the unit of order, one destination of one hub. A group action rides its group's lane, so that
"join, then send" in one batch stays in order; removeAll and closing ride the lane of whom they name. Order across
lanes is not promised (design section 4).
"""

from zlib import crc32

from fanout.signalr.message import GroupAction, Item, Scope, Verb

_LETTER = {Scope.BROADCAST: "b", Scope.USER: "u", Scope.GROUP: "g", Scope.CONNECTION: "c"}


def lane_of(hub: str, item: Item) -> str:
    """Name the lane: the hub, then a letter for the kind of destination and its name."""
    if not isinstance(item, GroupAction):
        return f"{hub}\n{_LETTER[item.scope]}{item.to}"
    if item.verb is Verb.REMOVE_ALL:
        return f"{hub}\n{_LETTER[item.member_scope]}{item.member}"
    return f"{hub}\n{_LETTER[Scope.GROUP]}{item.group}"


def partition_of(lane: str, partitions: int) -> int:
    """Give the partition of a lane; the same for ever as long as `partitions` stays."""
    return crc32(lane.encode()) % partitions
