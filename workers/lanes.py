"""Which entry is delivered next: serial inside a lane, in turn across lanes. Pure; imports no asyncio and no client.

Rules guarded: a lane has one call in flight at most; a retry waits in its lane while the others go on; hubs take turns,
and so do the lanes of a hub, so neither a long lane nor a hub with many of them starves another, and a class of calls
that is held back holds back no other (design section 5). No lane fills the worker's memory: past `depth` entries, and
when its head has to be retried while memory is short, the rest of a lane is left in the stream ("spilled") and fetched
again when the lane has room; where heads alone are too many, they are left there too until their time has come. So
neither one slow destination nor many of them stop the reading for the others.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from fanout.signalr.message import Message
from workers.delays import Delays
from workers.lane import Lane
from workers.route_class import RouteClass, class_of
from workers.tenure import Held, Tenure, before
from workers.turns import Turns

_CLASSES = tuple(RouteClass)


class Lanes:
    """All lanes of one worker, `room` entries at most in them together. Times are readings of the monotonic clock."""

    def __init__(self, *, depth: int = 64, room: int = 2000) -> None:
        self._depth = depth
        self._crowded = room // 2
        self._lanes: dict[tuple[int, str], Lane] = {}
        self._ready = tuple(Turns() for _ in _CLASSES)
        self.delays = Delays()
        self._hungry: deque[Lane] = deque()
        self._waiting = 0
        self._turn = 0

    def __repr__(self) -> str:
        return f"<Lanes {len(self)}, {self._waiting} entries, {self.ready} ready, {len(self.delays)} delayed>"

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def waiting(self) -> int:
        """How many entries are held, those in flight included."""
        return self._waiting

    @property
    def ready(self) -> int:
        """How many lanes could go now, as far as the lanes are concerned."""
        return sum(map(len, self._ready))

    @property
    def any_ready(self) -> bool:
        """Whether one could."""
        return any(self._ready)

    @property
    def any_delayed(self) -> bool:
        """Whether one is postponed."""
        return bool(self.delays)

    def ready_in(self, route_class: RouteClass) -> int:
        """How many of them have a head of this class."""
        return len(self._ready[route_class])

    def add(self, key: str, held: Held) -> bool:
        """Put an entry at the end of its lane; False when it is left in the stream for later."""
        place = (held.tenure.partition, key)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(key, held.tenure)
            self._hold(lane, held)
            self._ready[class_of(held.entry.item)].append(lane)
            return True
        if lane.spilled_after is not None:
            return False
        failing = lane.postponed or lane.attempts > 1
        if len(lane.waiting) >= self._depth or (failing and self._is_crowded(held.tenure)):
            lane.spilled_after = lane.waiting[-1].id
            return False
        self._hold(lane, held)
        return True

    def take(self, now: float, classes: Sequence[RouteClass] = _CLASSES) -> Lane | None:
        """Give the next lane whose head may go, or None; it is the taker's until `advance`, `release` or `postpone`.

        Only lanes whose head is of one of `classes` are given; the classes take turns,
        in each of them the hubs, and in each hub the lanes.
        """
        if self.delays:
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
        """Let postponed lanes that are due at `now` queue up with the others; give how many came."""
        count = 0
        for lane in self.delays.due(now):
            if lane.waiting:
                self._queue_up(lane)
                count += 1
            elif not lane.fetching:
                self._ask_for_more(lane)
        return count

    def advance(self, lane: Lane, count: int = 1) -> None:
        """Take `count` entries out at the front: they are done with. The lane queues up again behind the others."""
        if lane.dropped:
            return
        for _ in range(count):
            lane.waiting.popleft()
        lane.tenure.held -= count
        self._waiting -= count
        lane.begin_next()
        self.release(lane)

    def remove(self, lane: Lane, entries: Iterable[Held]) -> None:
        """Take entries out of a lane that was taken, wherever they stand in it."""
        if lane.dropped:
            return
        gone = {held.id for held in entries}
        if lane.waiting[0].id in gone:
            lane.begin_next()
        lane.waiting = deque(held for held in lane.waiting if held.id not in gone)
        self._let_go(lane, len(gone))

    def release(self, lane: Lane) -> None:
        """Give a lane back that was taken: it queues up, fetches what it left in the stream, or is over."""
        if lane.dropped:
            return
        if lane.waiting:
            self._ready[class_of(lane.waiting[0].entry.item)].append(lane)
        if lane.spilled_after is not None and not lane.fetching and len(lane.waiting) <= self._depth // 4:
            self._ask_for_more(lane)
        elif not lane.waiting and not lane.fetching:
            del self._lanes[lane.tenure.partition, lane.key]

    def postpone(self, lane: Lane, until: float) -> None:
        """Have it ready again at `until`. When memory is short, what is behind the head stays in the stream, or all."""
        if lane.dropped:
            return
        lane.postponed = True
        if self._is_crowded(lane.tenure):
            self._spill(lane, 1)
        if lane.tenure.held > lane.tenure.low:
            self._spill(lane, 0)
        self.delays.put(lane, until)

    def next_due(self) -> float | None:
        """Give when the next postponed lane is ready, None when none is."""
        return self.delays.next_at()

    @property
    def any_hungry(self) -> bool:
        """Whether one is to be fetched for."""
        return bool(self._hungry)

    def hungry(self) -> Lane | None:
        """Give a lane whose entries are to be fetched from the stream, after its `spilled_after`; then `refill` it."""
        while self._hungry:
            lane = self._hungry.popleft()
            if not lane.dropped and not self._is_held_back(lane):
                lane.stale = False
                return lane
        return None

    def refill(self, lane: Lane, found: list[Held], *, scanned_to: bytes, complete: bool) -> None:
        """Add what was found for the lane up to the id `scanned_to`; `complete` when nothing read so far is missing.

        Nothing is added when the lane was postponed since the fetch began: what it left behind then comes first.
        """
        lane.fetching = False
        if lane.dropped:
            return
        was_idle = not lane.waiting
        if lane.stale:
            found, scanned_to, complete = [], lane.spilled_after or scanned_to, False
        room = max(0, self._depth - len(lane.waiting))
        for held in found[:room]:
            self._hold(lane, held)
        if len(found) > room:
            lane.spilled_after = lane.waiting[-1].id
        else:
            lane.spilled_after = None if complete else scanned_to
        if lane.waiting and lane.left not in {None, lane.head.id}:
            lane.begin_next()  # somebody took the head away meanwhile
        if was_idle and not lane.delayed:
            self.release(lane)

    def has_spilled(self, tenure: Tenure) -> bool:
        """Say whether some lane of the tenure has entries left in the stream."""
        return any(lane.tenure is tenure and lane.spilled_after is not None for lane in self._lanes.values())

    def drop(self, tenure: Tenure) -> None:
        """Forget everything of a tenure that ended."""
        for place, lane in [(place, lane) for place, lane in self._lanes.items() if lane.tenure is tenure]:
            del self._lanes[place]
            self._let_go(lane, len(lane.waiting))
            lane.dropped = True

    def _queue_up(self, lane: Lane) -> None:
        if not lane.dropped:
            self._ready[class_of(lane.head.entry.item)].append(lane)

    def _ask_for_more(self, lane: Lane) -> None:
        lane.fetching = True
        self._hungry.append(lane)

    def _is_held_back(self, lane: Lane) -> bool:
        until = None if lane.waiting or lane.left is None else self.delays.held_until(lane)
        if until is not None:  # meanwhile; to fetch a head that may not go would be for nothing
            lane.fetching = False
            self.delays.put(lane, until)
        return until is not None

    def _hold(self, lane: Lane, held: Held) -> None:
        item, tenure = held.entry.item, lane.tenure
        if not isinstance(item, Message) or item.collapse or item.ttl is not None:
            lane.plain = False
        lane.waiting.append(held)
        tenure.known.add(held.id)
        tenure.held += 1
        self._waiting += 1

    def _let_go(self, lane: Lane, count: int) -> None:
        lane.tenure.held -= count
        self._waiting -= count

    def _is_crowded(self, tenure: Tenure) -> bool:
        # Each partition has its own part of the room: one that is full of what cannot go would read nothing more.
        return self._waiting > self._crowded or tenure.held > tenure.low

    def _spill(self, lane: Lane, keep: int) -> None:
        gone = list(lane.waiting)[keep:]
        if not gone:
            return
        for held in gone:
            lane.tenure.known.discard(held.id)
        self._let_go(lane, len(gone))
        lane.waiting = deque(list(lane.waiting)[:keep])
        lane.left, lane.left_class = (None if keep else gone[0].id), class_of(gone[0].entry.item)
        lane.spilled_after = lane.head.id if keep else before(gone[0].id)
        lane.stale = lane.fetching
