"""Which entry is delivered next: one at a time in a lane, the lanes in turn. Pure; imports no asyncio and no client.

Rules guarded:
- A lane has at most one call in flight, and a retry waits in its lane while the other lanes go on.
- Hubs take turns, and so do the lanes of a hub: neither a long lane nor a hub with many lanes starves another.
- A class of calls that is held back holds back no other class.
- No lane fills the worker's memory. Past `depth` entries, and when its head has to be retried while memory is short,
  the rest of a lane is left in the stream ("spilled") and fetched again when the lane has room. Where heads alone are
  too many, they are left there too until their time has come.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush

from fanout.signalr.message import Message
from fanout.signalr.routes import RouteClass, class_of
from workers.lane import Lane
from workers.partition import BufferedEntry, OwnedPartition, before

_CLASSES = tuple(RouteClass)

# Returns until when calls of a class to a hub are held back, None when they may go.
HeldUntil = Callable[[RouteClass, str, float], float | None]


def never_held(_route_class: RouteClass, _hub: str, _now: float) -> float | None:
    """Hold back nothing."""
    return None


class FairQueue:
    """Lanes of one class that are ready: hubs take turns, and in each hub its lanes. Each step costs the same."""

    __slots__ = ("_count", "_hubs")

    def __init__(self) -> None:
        self._hubs: dict[str, deque[Lane]] = {}  # in the order of their turns
        self._count = 0

    def __repr__(self) -> str:
        return f"<FairQueue {self._count} lanes of {len(self._hubs)} hubs>"

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
        """Remove and return the next lane of the hub whose turn it is; IndexError when there is none."""
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


class DelayQueue:
    """Lanes whose time has not come: postponed, or their hub is held back.

    A lane whose time comes while its hub is held back is put back after one look, so that thousands of dead
    destinations cost next to nothing.
    """

    __slots__ = ("_count", "_heap", "_held_until")

    def __init__(self, held_until: HeldUntil = never_held) -> None:
        self._held_until = held_until
        self._heap: list[tuple[float, int, Lane]] = []
        self._count = 0

    def __repr__(self) -> str:
        return f"<DelayQueue of {len(self._heap)} lanes>"

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, lane: Lane, until: float) -> None:
        """Keep a lane until that time of the monotonic clock."""
        lane.delayed = True
        self._count += 1
        heappush(self._heap, (until, self._count, lane))

    def due(self, now: float) -> Iterator[Lane]:
        """Remove and yield the lanes whose time has come, in the order of their times."""
        while self._heap and self._heap[0][0] <= now:
            lane = heappop(self._heap)[2]
            if lane.dropped:
                continue
            until = self._held_until(lane.route_class, lane.hub, now)
            if until is not None and until > now:
                self.put(lane, until)
                continue
            lane.delayed = False
            yield lane

    def next_at(self) -> float | None:
        """Return when the next lane is due; None when none waits."""
        while self._heap and self._heap[0][2].dropped:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class Schedule:
    """All lanes of one worker, at most `room` entries in them together. Times are readings of the monotonic clock."""

    def __init__(self, *, depth: int = 64, room: int = 2000, held_until: HeldUntil = never_held) -> None:
        self._depth = depth
        self._crowded = room // 2
        self._held_until = held_until
        self._lanes: dict[tuple[int, str], Lane] = {}
        self._ready = tuple(FairQueue() for _ in _CLASSES)
        self._delayed = DelayQueue(held_until)
        self._hungry: deque[Lane] = deque()
        self._waiting = 0
        self._turn = 0

    def __repr__(self) -> str:
        counts = f"{self._waiting} entries, {self.ready} ready, {len(self._delayed)} delayed"
        return f"<Schedule {len(self)} lanes, {counts}>"

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def waiting(self) -> int:
        """How many entries are in the lanes, heads in flight included."""
        return self._waiting

    @property
    def ready(self) -> int:
        """How many lanes may go as far as the schedule is concerned."""
        return sum(map(len, self._ready))

    @property
    def any_hungry(self) -> bool:
        """Whether entries are to be fetched for a lane."""
        return bool(self._hungry)

    def ready_in(self, route_class: RouteClass) -> int:
        """Return how many ready lanes have a head of this class."""
        return len(self._ready[route_class])

    def add(self, key: str, buffered: BufferedEntry) -> bool:
        """Put an entry at the end of its lane; return False when it is left in the stream for later."""
        place = (buffered.partition.number, key)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(key, buffered.partition)
            self._append(lane, buffered)
            self._ready[class_of(buffered.entry.item)].append(lane)
            return True
        if lane.spilled_after is not None:
            return False
        failing = lane.postponed or lane.attempts > 1
        if len(lane.waiting) >= self._depth or (failing and self._is_crowded(buffered.partition)):
            lane.spilled_after = lane.waiting[-1].id
            return False
        self._append(lane, buffered)
        return True

    def take(self, now: float, classes: Sequence[RouteClass] = _CLASSES) -> Lane | None:
        """Remove and return the next lane whose head may go; None when there is none.

        It belongs to the caller until `advance`, `release` or `postpone`. Only heads of `classes` are considered. The
        classes take turns, in each class the hubs, and in each hub the lanes.
        """
        if self._delayed:
            self.wake_due(now)
        self._turn += 1
        for i in range(len(classes)):
            queue = self._ready[classes[(self._turn + i) % len(classes)]]
            while queue:
                lane = queue.popleft()
                if not lane.dropped:
                    return lane
        return None

    def wake_due(self, now: float) -> int:
        """Make postponed lanes ready that are due at `now`; return how many."""
        count = 0
        for lane in self._delayed.due(now):
            if lane.waiting:
                self._ready[lane.route_class].append(lane)
                count += 1
            elif not lane.fetching:
                self._ask_for_more(lane)
        return count

    def advance(self, lane: Lane, count: int = 1) -> None:
        """Remove `count` entries from the front, which are done with. The lane queues up again behind the others."""
        if lane.dropped:
            return
        for _ in range(count):
            lane.waiting.popleft()
        lane.partition.waiting -= count
        self._waiting -= count
        lane.begin_next()
        self.release(lane)

    def remove(self, lane: Lane, entries: Iterable[BufferedEntry]) -> None:
        """Remove entries from a lane that was taken, wherever they are in it."""
        if lane.dropped:
            return
        gone = {buffered.id for buffered in entries}
        if lane.head.id in gone:
            lane.begin_next()
        lane.waiting = deque(buffered for buffered in lane.waiting if buffered.id not in gone)
        self._forget(lane, len(gone))

    def release(self, lane: Lane) -> None:
        """Give back a lane that was taken: it queues up, asks for what it left in the stream, or is over."""
        if lane.dropped:
            return
        if lane.waiting:
            self._ready[class_of(lane.waiting[0].entry.item)].append(lane)
        if lane.spilled_after is not None and not lane.fetching and len(lane.waiting) <= self._depth // 4:
            self._ask_for_more(lane)
        elif not lane.waiting and not lane.fetching:
            del self._lanes[lane.partition.number, lane.key]

    def postpone(self, lane: Lane, until: float) -> None:
        """Make a lane that was taken ready again at `until`. When memory is short, its entries stay in the stream."""
        if lane.dropped:
            return
        lane.postponed = True
        if self._is_crowded(lane.partition):
            self._spill(lane, 1)
        if lane.partition.waiting > lane.partition.low_water:
            self._spill(lane, 0)
        self._delayed.put(lane, until)

    def next_due(self) -> float | None:
        """Return when the next postponed lane is due; None when none is postponed."""
        return self._delayed.next_at()

    def hungry(self, now: float) -> Lane | None:
        """Remove and return a lane whose entries are to be fetched from the stream, after its `spilled_after`.

        `refill` has to follow. None when there is no such lane.
        """
        while self._hungry:
            lane = self._hungry.popleft()
            if not lane.dropped and not self._is_held_back(lane, now):
                lane.stale = False
                return lane
        return None

    def refill(self, lane: Lane, found: list[BufferedEntry], *, scanned_to: bytes, complete: bool) -> None:
        """Add what was found for the lane up to the id `scanned_to`; `complete` when nothing read so far is missing.

        Nothing is added when the lane left more in the stream since the fetch began: that comes first.
        """
        lane.fetching = False
        if lane.dropped:
            return
        was_idle = not lane.waiting
        if lane.stale:
            found, scanned_to, complete = [], lane.spilled_after or scanned_to, False
        room = max(0, self._depth - len(lane.waiting))
        for buffered in found[:room]:
            self._append(lane, buffered)
        if len(found) > room:
            lane.spilled_after = lane.waiting[-1].id
        else:
            lane.spilled_after = None if complete else scanned_to
        if lane.waiting and lane.left not in {None, lane.head.id}:
            lane.begin_next()  # its head was removed from the stream meanwhile
        if was_idle and not lane.delayed:
            self.release(lane)

    def has_spilled(self, owned: OwnedPartition) -> bool:
        """Return whether some lane of the partition has entries left in the stream."""
        return any(lane.partition is owned and lane.spilled_after is not None for lane in self._lanes.values())

    def drop(self, owned: OwnedPartition) -> None:
        """Forget everything of a partition that is not owned any longer."""
        for place, lane in [(place, lane) for place, lane in self._lanes.items() if lane.partition is owned]:
            del self._lanes[place]
            self._forget(lane, len(lane.waiting))
            lane.dropped = True

    def _ask_for_more(self, lane: Lane) -> None:
        lane.fetching = True
        self._hungry.append(lane)

    def _is_held_back(self, lane: Lane, now: float) -> bool:
        # To fetch a head that may not go would be for nothing.
        if lane.waiting or lane.left is None:
            return False
        until = self._held_until(lane.route_class, lane.hub, now)
        if until is None:
            return False
        lane.fetching = False
        if not lane.delayed:  # a lane that is in the queue twice would be ready twice
            self._delayed.put(lane, until)
        return True

    def _append(self, lane: Lane, buffered: BufferedEntry) -> None:
        item, owned = buffered.entry.item, lane.partition
        if not isinstance(item, Message) or item.collapse or item.ttl is not None:
            lane.plain = False
        lane.waiting.append(buffered)
        owned.known.add(buffered.id)
        owned.waiting += 1
        self._waiting += 1

    def _forget(self, lane: Lane, count: int) -> None:
        lane.partition.waiting -= count
        self._waiting -= count

    def _is_crowded(self, owned: OwnedPartition) -> bool:
        # Each partition has its own part of the room. One that is full of what cannot go would read nothing more.
        return self._waiting > self._crowded or owned.waiting > owned.low_water

    def _spill(self, lane: Lane, keep: int) -> None:
        gone = list(lane.waiting)[keep:]
        if not gone:
            return
        for buffered in gone:
            lane.partition.known.discard(buffered.id)
        self._forget(lane, len(gone))
        lane.waiting = deque(list(lane.waiting)[:keep])
        lane.left, lane.left_class = (None if keep else gone[0].id), class_of(gone[0].entry.item)
        lane.spilled_after = lane.head.id if keep else before(gone[0].id)
        lane.stale = lane.fetching
