"""What one request stores in each partition, as the arguments of one script call. Pure.

Rule guarded: everything a request has for a partition is one call, so that it is one atomic step and one round trip;
entries of one lane keep their order in it.
"""

from fanout.queue.keys import Keys
from fanout.queue.scripts import APPEND
from fanout.redis.client import Argument, Call


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

    __slots__ = ("groups", "latest", "mark", "partition")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.groups: list[tuple[str, Group]] = []
        self.latest: dict[str, Group] = {}  # by flow
        self.mark = 0

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
