"""The lanes whose time has not come: postponed, or their hub is held back. Pure.

Rules guarded: no step takes longer the more lanes wait. Those that are due are looked at in parts, and so are those
that a recovered hub makes due sooner, so that a hundred thousand lanes never keep all else from having its turn. A
lane is hurried once for each time it is put in, so that all hurrying together costs as much as putting the lanes in.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import inf

from fanout.signalr.message import RouteClass
from workers.lane import HeldUntil, Lane, never_held

LOOKS = 64  # lanes that are looked at in one part when their time has come
_HURRIES = 4  # times as many are made due sooner in one part, or moved
_MOST_STALE = 1024  # places that may be stale whatever their share

_Group = dict[Lane, None]
_Heap = list[tuple[float, int, Lane]]


class DelayQueue:
    """Lanes by the time they are due, and those that back off by class and hub as well.

    A lane whose time comes while its hub is held back is put back after one look, so that thousands of dead
    destinations cost next to nothing. The place in the heap of a lane that was hurried or dropped stays behind as a
    stale one. Where half of the places are stale, the others move to a new heap, in parts.
    """

    __slots__ = ("_backing_off", "_count", "_heap", "_held_until", "_hurried", "_lanes", "_old", "idle")

    def __init__(self, held_until: HeldUntil = never_held) -> None:
        self._held_until = held_until
        self._heap: _Heap = []
        self._old: _Heap = []  # from which places move to the other
        self.idle = True  # nothing is in it, so that nothing need be asked
        self._count = 0
        self._lanes = 0
        self._backing_off: dict[tuple[RouteClass, str], _Group] = {}  # those that `hurry` would make due sooner
        self._hurried: deque[tuple[_Group, Iterator[Lane]]] = deque()  # those that it has yet to

    def __repr__(self) -> str:
        return f"<DelayQueue of {len(self)} lanes>"

    def __len__(self) -> int:
        return self._lanes

    def put(self, lane: Lane, until: float) -> None:
        """Keep a lane until that time of the monotonic clock."""
        lane.delayed = True
        self.idle = False
        self._count += 1
        if lane.due is None:
            self._lanes += 1
        lane.due = (until, self._count, lane)
        heappush(self._heap, lane.due)
        if lane.backs_off and lane.group is None and lane.next_hurry < until:
            lane.group_key = (lane.route_class, lane.hub)
            lane.group = self._backing_off.setdefault(lane.group_key, {})
            lane.group[lane] = None

    def due(self, now: float, most: int = LOOKS) -> Iterator[Lane]:
        """Remove and yield lanes whose time has come, in the order of their times; look at `most` at the most."""
        self._hurry_some(now, most * _HURRIES)
        self._move_some(most * _HURRIES)
        while most and (heap := self._earliest()) and heap[0][0] <= now:
            most -= 1
            place = heappop(heap)
            lane = place[2]
            if lane.due is not place:
                continue
            held = None if lane.dropped else self._held_until(lane, now)
            if held is not None and held > now:
                self.put(lane, held)
                continue
            self._forget(lane)
            if not lane.dropped:
                yield lane

    def drop(self, lane: Lane) -> None:
        """Give up a lane that waits here, and what waits in it. Its place stays behind as a stale one."""
        self._forget(lane)
        lane.waiting = []
        self._leave_stale()

    def hurry(self, route_class: RouteClass, hub: str) -> None:
        """Have `due` make those due sooner that back off from calls of this class to this hub: the first time at once.

        A lane that is put in later is not among them.
        """
        group = self._backing_off.pop((route_class, hub), None)
        if group is not None:
            self._hurried.append((group, iter(list(group))))

    def hurry_refused(self, now: float, route_class: RouteClass, endpoint: str = "") -> None:
        """Make those of an endpoint due at `now` whose last call of this class was refused for its speed."""
        for heap in (self._heap, self._old):
            for number, place in enumerate(heap):
                until, count, lane = place
                if until <= now or lane.flow.endpoint != endpoint or lane.due is not place:
                    continue
                if lane.uncounted and lane.route_class is route_class:
                    heap[number] = lane.due = (now, count, lane)
            heapify(heap)

    def next_at(self) -> float | None:
        """Return when there may be something to do next, not later than when there is; None when no lane waits."""
        if self._hurried:
            return -inf
        for _ in range(LOOKS):
            heap = self._earliest()
            if not heap:
                self.idle = True
                return None
            until, _count, lane = place = heap[0]
            if lane.due is place:
                if not lane.dropped:
                    return until
                self._forget(lane)
            heappop(heap)
        return heap[0][0] if (heap := self._earliest()) else None

    def _earliest(self) -> _Heap:
        return self._old if self._old and (not self._heap or self._old[0] < self._heap[0]) else self._heap

    def _hurry_some(self, now: float, most: int) -> None:
        while self._hurried and most:
            group, lanes = self._hurried[0]
            for lane in lanes:
                most -= 1
                if lane.group is group:  # else its time came before its turn did
                    lane.group = None
                    self._hurry_one(lane, now)
                if not most:
                    return
            self._hurried.popleft()

    def _hurry_one(self, lane: Lane, now: float) -> None:
        if lane.due is None:  # what is in a group is in the queue too
            return
        until, count, _lane = lane.due
        sooner = lane.hurry(now, until)
        if sooner >= until:
            return
        lane.due = (sooner, count, lane)
        heappush(self._heap, lane.due)
        self._leave_stale()

    def _leave_stale(self) -> None:
        if not self._old and len(self._heap) - self._lanes > max(_MOST_STALE, self._lanes):
            self._old, self._heap = self._heap, []

    def _move_some(self, most: int) -> None:
        for _ in range(min(most, len(self._old))):
            place = self._old.pop()  # without its last place it still is a heap
            if place[2].due is place:
                heappush(self._heap, place)

    def _forget(self, lane: Lane) -> None:
        lane.delayed = False
        lane.due = None
        self._lanes -= 1
        group, lane.group = lane.group, None
        if group is None:
            return
        del group[lane]
        if not group and self._backing_off.get(lane.group_key) is group:
            del self._backing_off[lane.group_key]
