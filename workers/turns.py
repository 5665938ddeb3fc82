"""Lanes of one class of calls that are ready, in the order in which they are served. Pure.

Rule guarded: hubs take turns, and in each hub its lanes, so a hub with thousands of lanes makes another wait for one of
them and not for all.
"""

from collections import deque

from workers.lane import Lane


class Turns:
    """A queue of queues; it has the words of a deque, and each costs the same however many lanes there are."""

    __slots__ = ("_count", "_hubs")

    def __init__(self) -> None:
        self._hubs: dict[str, deque[Lane]] = {}  # in the order of their turns
        self._count = 0

    def __repr__(self) -> str:
        return f"<Turns {self._count} lanes of {len(self._hubs)} hubs>"

    def __len__(self) -> int:
        return self._count

    def append(self, lane: Lane) -> None:
        """Put a lane behind the others of its hub."""
        queue = self._hubs.get(lane.hub)
        if queue is None:
            queue = self._hubs[lane.hub] = deque()
        queue.append(lane)
        self._count += 1

    def popleft(self) -> Lane:
        """Take the next lane of the hub whose turn it is; IndexError without one."""
        if not self._count:
            raise IndexError("no lane is ready")
        hub = next(iter(self._hubs))
        queue = self._hubs[hub]
        lane = queue.popleft()
        self._count -= 1
        if not queue or len(self._hubs) > 1:
            del self._hubs[hub]
        if queue:
            self._hubs[hub] = queue
        return lane
