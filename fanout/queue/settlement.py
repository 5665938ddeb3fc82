"""What is taken out of the queue together, as the arguments of script calls. Pure.

Rule guarded: no call is larger than the script can take, and the bytes of a portion are its share of the whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

from fanout.queue.keys import Keys
from fanout.queue.scripts import SETTLE
from fanout.redis.client import Argument, Call

_AT_ONCE = 1000  # ids: Lua's unpack has a limit


class Settled(NamedTuple):
    """Entries of one flow that are settled together: the body they share ("" for none), their bytes, their ids."""

    flow: str
    body_ref: str
    size: int
    ids: Sequence[bytes]


def parts_of(groups: Sequence[Settled]) -> list[list[Settled]]:
    """Return portions of at most `_AT_ONCE` ids; the bytes of a group go with its ids."""
    parts: list[list[Settled]] = [[]]
    room = _AT_ONCE
    for group in groups:
        for start in range(0, len(group.ids), _AT_ONCE):
            ids = group.ids[start : start + _AT_ONCE]
            if len(ids) > room:
                parts.append([])
                room = _AT_ONCE
            parts[-1].append(group._replace(ids=ids, size=group.size * len(ids) // len(group.ids)))
            room -= len(ids)
    return parts


def settlement(keys: Keys, partition: int, token: str, groups: Sequence[Settled]) -> Call:
    """Return the script call that settles a portion under a lease."""
    names = [keys.lease(partition), keys.size(partition)]
    streams = {group.flow: 0 for group in groups}
    for place, flow in enumerate(streams, 1):
        names.append(keys.stream(partition, flow))
        streams[flow] = place
    arguments: list[Argument] = [token]
    for group in groups:
        place = 0
        if group.body_ref:
            names.append(keys.body(partition, group.body_ref))
            place = len(names)
        arguments += [streams[group.flow], place, group.size, len(group.ids), *group.ids]
    return SETTLE, names, arguments
