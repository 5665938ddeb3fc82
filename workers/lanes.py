"""Which entry is delivered next: serial inside a lane, in turn across lanes. Pure; imports no asyncio and no client.

Rules guarded: a lane has one call in flight at most; a retry waits in its lane while the others go on; lanes that are
ready take turns, so a long one does not starve a short one (design section 5). No lane fills the worker's memory: past
`depth` entries, and as soon as its head has to be retried, the rest of a lane is left in the stream ("spilled") and
fetched again when the lane has room, so one slow destination never stops the reading for the others.
"""

from collections import deque
from heapq import heappop, heappush

from workers.tenure import Held, Tenure


class Lane:
    """One destination: its entries in order, the head of which is the one being delivered.

    `spilled_after` is None when the lane holds all that was read for it; else the rest stands in the stream after that
    id, and nothing read later may be added before it.
    """

    __slots__ = ("attempts", "dropped", "fetching", "key", "renewed", "spilled_after", "tenure", "waiting")

    def __init__(self, key: str, tenure: Tenure) -> None:
        self.key = key
        self.tenure = tenure
        self.waiting: deque[Held] = deque()
        self.attempts = 0
        self.renewed = False
        self.dropped = False
        self.fetching = False
        self.spilled_after: bytes | None = None

    def __repr__(self) -> str:
        spilled = ", more in the stream" if self.spilled_after is not None else ""
        return f"<Lane {self.key!r} {len(self.waiting)} waiting{spilled}, attempt {self.attempts}>"

    @property
    def head(self) -> Held:
        return self.waiting[0]


class Lanes:
    """All lanes of one worker. Times are readings of the monotonic clock, handed in."""

    def __init__(self, *, depth: int = 64) -> None:
        self._depth = depth
        self._lanes: dict[tuple[int, str], Lane] = {}
        self._ready: deque[Lane] = deque()
        self._delayed: list[tuple[float, int, Lane]] = []
        self._hungry: deque[Lane] = deque()
        self._count = 0
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<Lanes {len(self)}, {self._waiting} entries, {len(self._ready)} ready, {len(self._delayed)} delayed>"

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def waiting(self) -> int:
        """How many entries are held, those in flight included."""
        return self._waiting

    @property
    def ready(self) -> int:
        """How many lanes could go now."""
        return len(self._ready)

    def add(self, key: str, held: Held) -> bool:
        """Put an entry at the end of its lane; False when it is left in the stream for later."""
        place = (held.tenure.partition, key)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(key, held.tenure)
            self._ready.append(lane)
        elif lane.spilled_after is not None:
            return False
        elif len(lane.waiting) >= self._depth or lane.attempts > 1:
            lane.spilled_after = lane.waiting[-1].id
            return False
        self._hold(lane, held)
        return True

    def take(self, now: float) -> Lane | None:
        """Give the next lane whose head may go, or None; it is the taker's until `advance` or `postpone`."""
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heappop(self._delayed)[2])
        while self._ready:
            lane = self._ready.popleft()
            if not lane.dropped:
                return lane
        return None

    def advance(self, lane: Lane) -> None:
        """Take the head out: it is done with. The lane queues up again behind the others when more waits in it."""
        if lane.dropped:
            return
        lane.waiting.popleft()
        lane.attempts = 0
        lane.renewed = False
        self._waiting -= 1
        if lane.waiting:
            self._ready.append(lane)
        if lane.spilled_after is not None and not lane.fetching and len(lane.waiting) <= self._depth // 4:
            lane.fetching = True
            self._hungry.append(lane)
        elif not lane.waiting and not lane.fetching:
            del self._lanes[lane.tenure.partition, lane.key]

    def postpone(self, lane: Lane, until: float) -> None:
        """Keep the head; the lane is ready again at `until`. What waits behind it is left to the stream."""
        if lane.dropped:
            return
        self._spill(lane)
        self._count += 1
        heappush(self._delayed, (until, self._count, lane))

    def next_due(self) -> float | None:
        """Give when the next postponed lane is ready, None when none is."""
        while self._delayed and self._delayed[0][2].dropped:
            heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    def hungry(self) -> Lane | None:
        """Give a lane whose entries are to be fetched from the stream, after its `spilled_after`; then `refill` it."""
        while self._hungry:
            lane = self._hungry.popleft()
            if not lane.dropped:
                return lane
        return None

    def refill(self, lane: Lane, found: list[Held], *, scanned_to: bytes, complete: bool) -> None:
        """Add what was found for the lane up to the id `scanned_to`; `complete` when nothing read so far is missing."""
        lane.fetching = False
        if lane.dropped:
            return
        was_idle = not lane.waiting
        room = max(0, self._depth - len(lane.waiting))
        for held in found[:room]:
            self._hold(lane, held)
        if len(found) > room:
            lane.spilled_after = lane.waiting[-1].id
        else:
            lane.spilled_after = None if complete else scanned_to
        if was_idle:
            self._wake(lane)

    def has_spilled(self, tenure: Tenure) -> bool:
        """Say whether some lane of the tenure has entries left in the stream."""
        return any(lane.tenure is tenure and lane.spilled_after is not None for lane in self._lanes.values())

    def drop(self, tenure: Tenure) -> None:
        """Forget everything of a tenure that ended."""
        for place, lane in [(place, lane) for place, lane in self._lanes.items() if lane.tenure is tenure]:
            del self._lanes[place]
            self._waiting -= len(lane.waiting)
            lane.dropped = True

    def _wake(self, lane: Lane) -> None:
        if lane.waiting:
            self._ready.append(lane)
        elif lane.spilled_after is not None:
            lane.fetching = True
            self._hungry.append(lane)
        else:
            del self._lanes[lane.tenure.partition, lane.key]

    def _hold(self, lane: Lane, held: Held) -> None:
        lane.waiting.append(held)
        lane.tenure.known.add(held.id)
        self._waiting += 1

    def _spill(self, lane: Lane) -> None:
        if len(lane.waiting) == 1:
            return
        head = lane.waiting[0]
        for held in list(lane.waiting)[1:]:
            lane.tenure.known.discard(held.id)
        self._waiting -= len(lane.waiting) - 1
        lane.waiting = deque([head])
        lane.spilled_after = head.id
