"""The lanes whose time has not come: postponed, or their hub is held back. Pure.

Rules guarded: no step takes longer the more lanes wait. Those that are due are looked at in parts, and so are those
that a recovered hub or the end of a pause makes due sooner, so that a hundred thousand lanes never keep all else from
having its turn. A lane is hurried once for each time it is put in, so that all hurrying together costs as much as
putting the lanes in.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf

from fanout.signalr.message import RouteClass
from workers.lane import HeldUntil, Lane, never_held

LOOKS = 64  # lanes that are looked at in one part when their time has come; as many are made due sooner, or moved
_MOST_STALE = 1024  # places that may be stale whatever their share

_Heap = list[tuple[float, int, Lane]]


class LaneGroup(dict[Lane, None]):
    """Lanes that are made due sooner together, in `groups` by `key` until that begins. Then it changes no more."""

    __slots__ = ("groups", "key")

    def __init__(self, groups: "_Groups", key: tuple[RouteClass, str]) -> None:
        self.groups: _Groups | None = groups
        self.key = key

    def __repr__(self) -> str:
        return f"<LaneGroup {self.key} of {len(self)} lanes>"

    def begin(self) -> Iterator[Lane]:
        """Take it out of the groups, and return an iterator over its lanes."""
        if self.groups is not None:
            del self.groups[self.key]
            self.groups = None
        return iter(self)

    def leave(self, lane: Lane) -> None:
        """Remove a lane, as long as they are not being made due sooner."""
        if self.groups is None:
            return
        del self[lane]
        if not self:
            del self.groups[self.key]


_Groups = dict[tuple[RouteClass, str], LaneGroup]


def _join(groups: _Groups, key: tuple[RouteClass, str], lane: Lane) -> LaneGroup:
    group = groups.get(key)
    if group is None:
        group = groups[key] = LaneGroup(groups, key)
    group[lane] = None
    return group


class DelayQueue:
    """Lanes by the time they are due; also those that back off by class and hub, those refused by class and endpoint.

    A lane whose time comes while its hub is held back is put back after one look, so that thousands of dead
    destinations cost next to nothing. The place in the heap of a lane that was hurried or dropped stays behind as a
    stale one. Where half of the places are stale, the others move to a new heap, in parts.
    """

    __slots__ = ("_backing_off", "_count", "_heap", "_held_until", "_hurried", "_lanes", "_old", "_refused", "idle")

    def __init__(self, held_until: HeldUntil = never_held) -> None:
        self._held_until = held_until
        self._heap: _Heap = []
        self._old: _Heap = []  # from which places move to the other
        self.idle = True  # nothing is in it, so that nothing need be asked
        self._count = 0
        self._lanes = 0
        self._backing_off: _Groups = {}  # those that `hurry` would make due sooner
        self._refused: _Groups = {}  # and `hurry_refused`
        self._hurried: deque[tuple[LaneGroup, Iterator[Lane]]] = deque()  # those that they have yet to

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
            lane.group = _join(self._backing_off, (lane.route_class, lane.hub), lane)
        if lane.uncounted and lane.refused is None:
            lane.refused = _join(self._refused, (lane.route_class, lane.flow.endpoint), lane)

    def due(self, now: float, most: int = LOOKS) -> Iterator[Lane]:
        """Remove and yield lanes whose time has come, in the order of their times; look at `most` at the most."""
        self._hurry_some(now, most)
        self._move_some(most)
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
        self._begin(self._backing_off, (route_class, hub))

    def hurry_refused(self, route_class: RouteClass, endpoint: str = "") -> None:
        """Have `due` make those of an endpoint due at once whose last call of this class was refused for its speed."""
        self._begin(self._refused, (route_class, endpoint))

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

    def _begin(self, groups: _Groups, key: tuple[RouteClass, str]) -> None:
        group = groups.get(key)
        if group is not None:
            self._hurried.append((group, group.begin()))

    def _hurry_some(self, now: float, most: int) -> None:
        while self._hurried and most:
            group, lanes = self._hurried[0]
            for lane in lanes:
                most -= 1
                if lane.group is group:  # else its time came before its turn did
                    lane.group = None
                    self._hurry_one(lane, now, asks=True)
                elif lane.refused is group:
                    lane.refused = None
                    if lane.uncounted:  # else its head is another one now
                        self._hurry_one(lane, now, asks=False)
                if not most:
                    return
            self._hurried.popleft()

    def _hurry_one(self, lane: Lane, now: float, *, asks: bool) -> None:
        if lane.due is None:  # what is in a group is in the queue too
            return
        until, count, _lane = lane.due
        sooner = lane.hurry(now, until) if asks else now
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
        if group is not None:
            group.leave(lane)
        group, lane.refused = lane.refused, None
        if group is not None:
            group.leave(lane)
