"""The two calls of scripts that every message takes: what one request stores, and what is settled together. Pure.

Rules guarded: everything a request has for a partition is one call, so that it is one atomic step and one round trip;
entries of one lane keep their order in it. No settlement is larger than the script can take, and the bytes of a portion
are its share of the whole.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

from fanout.queue.keys import Keys
from fanout.queue.scripts import APPEND, SETTLE
from fanout.redis.client import Argument, Call

_AT_ONCE = 1000  # ids: Lua's unpack has a limit


# What is stored ------------------------------------------------------------------------------------------------------


class Group:
    """Entries of one flow in one call of the script; those of a list share one body."""

    __slots__ = ("body_ref", "entries", "guard", "list_id", "positions", "text")

    def __init__(self, list_id: str) -> None:
        self.list_id = list_id
        self.positions: list[int] = []  # of the submissions, in the order of the answers
        self.entries: list[bytes] = []  # the bytes of each entry, where it is no list with what guards its dedup id
        self.body_ref = ""
        self.text = b""
        self.guard = b""


class PartitionAppend:
    """What one request has for one partition."""

    __slots__ = ("bodies", "groups", "latest", "mark", "partition")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.groups: list[tuple[str, Group]] = []
        self.latest: dict[str, Group] = {}  # by flow
        self.bodies: dict[str, str] = {}  # by list: flows of several endpoints share them
        self.mark = 0

    def body_ref(self, list_id: str, make: Callable[[], str]) -> str:
        """Return the name of the body of a list; the first of its groups has it made."""
        ref = self.bodies.get(list_id)
        if ref is None:
            ref = self.bodies[list_id] = make()
        return ref

    def add(self, flow: str, position: int, data: bytes, guard: bytes) -> None:
        """Add an entry that holds its whole item, with what guards its dedup id."""
        group = self.latest.get(flow)
        if group is None or group.list_id:
            group = self.group(flow, "")
        if not self.mark:
            self.mark = crc32(data)  # entries hold message ids: hardly two alike
        group.entries.extend((data, guard))
        group.positions.append(position)

    def group(self, flow: str, list_id: str) -> Group:
        """Return the group of the next submission: the latest of its flow, unless it is part of another list."""
        group = self.latest.get(flow)
        if group is None or list_id != group.list_id:
            group = self.latest[flow] = Group(list_id)
            self.groups.append((flow, group))
        return group

    def all_positions(self) -> list[int]:
        """Return the positions of all its submissions."""
        return [position for _flow, group in self.groups for position in group.positions]

    def call(self, keys: Keys, most_bytes: int, window_ms: int) -> Call:
        """Return the script call that stores it."""
        number = self.partition
        streams = {flow: place for place, flow in enumerate(self.latest, 1)}
        bodies = {group.body_ref: 0 for _flow, group in self.groups if group.body_ref}
        names = [keys.flows(number), keys.wake(number), keys.size(number), keys.seen(number)]
        names += [keys.stream(number, flow) for flow in streams]
        for ref in bodies:
            names.append(keys.body(number, ref))
            bodies[ref] = len(names)
        arguments: list[Argument] = [most_bytes, window_ms, self.mark, len(streams)]
        for flow, group in self.groups:
            head = [streams[flow], bodies.get(group.body_ref, 0), len(group.positions)]
            arguments += [*head, group.text, group.guard] if group.body_ref else head
            arguments += group.entries
        return APPEND, names, arguments


# What is settled -----------------------------------------------------------------------------------------------------


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
    names = [keys.lease_of(partition, token), keys.size(partition)]
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
