"""Lanes whose time has not come yet: postponed, or their hub is held back. Pure.

Rule guarded: a lane whose time comes while its hub is held back costs nothing but a look: it is put back until the hub
may be called again, so thousands of dead destinations keep nobody busy.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from workers.lane import Lane


class Delays:
    """`held_until` says when a hub that is held back now may be called for a lane, None for one that may be."""

    def __init__(self) -> None:
        self.held_until: Callable[[Lane], float | None] = lambda _lane: None
        self._heap: list[tuple[float, int, Lane]] = []
        self._count = 0

    def __repr__(self) -> str:
        return f"<Delays of {len(self._heap)} lanes>"

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, lane: Lane, until: float) -> None:
        """Have a lane wait until that time of the monotonic clock."""
        lane.delayed = True
        self._count += 1
        heappush(self._heap, (until, self._count, lane))

    def due(self, now: float) -> Iterator[Lane]:
        """Take out and give those whose time has come, in the order of their times."""
        while self._heap and self._heap[0][0] <= now:
            lane = heappop(self._heap)[2]
            if lane.dropped:
                continue
            until = self.held_until(lane)
            if until is not None and until > now:
                self.put(lane, until)
                continue
            lane.delayed = False
            yield lane

    def next_at(self) -> float | None:
        """Give when the next one is due, None when none waits."""
        while self._heap and self._heap[0][2].dropped:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None
