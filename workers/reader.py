"""Redis in: reads a leased partition into the lanes, oldest first, and fetches what lanes had to leave behind.

Rules guarded: it reads only as much as there is room for; a new tenure starts at the beginning of the stream, so what a
predecessor left comes first; an entry that cannot be read is parked at once and stalls nothing.
"""

from collections.abc import Sequence

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeathCause
from fanout.queue.entry import StoredEntry, UnreadableEntryError, decode
from fanout.queue.lane_key import lane_of
from fanout.queue.stream import Stream
from workers.bell import Bell
from workers.lane import Lane
from workers.lanes import Lanes
from workers.settler import Settler
from workers.tenure import START, Held, Tenure, order_of

_AT_ONCE = 256
_BLOCK = 5.0  # seconds a read waits in the store; the wait is cancelled when the tenure ends
_PAUSE = 0.2  # seconds between tries while the store does not answer
_SKIM = 1024  # entries at once while nearly all of them are left in the stream by lanes that spilled
_SKIMMED = 8  # times as many read as kept
_SCAN = 64
_SCAN_AT_MOST = 1024


class Reader:
    """Fills the lanes of one worker; `room` is how many entries it may hold."""

    def __init__(self, stream: Stream, lanes: Lanes, settler: Settler, bell: Bell, tools: "Tools") -> None:
        self._stream = stream
        self._lanes = lanes
        self._settler = settler
        self._bell = bell
        self._tools = tools
        self._room = tools.room
        self._reading = 0

    async def run(self, tenure: Tenure) -> None:
        """Read one partition until cancelled."""
        self._reading += 1
        try:
            await self._read(tenure)
        finally:
            self._reading -= 1
            self._bell.room.set()  # what this partition held in memory makes room for the others

    def _share(self, tenure: Tenure) -> int:
        # Each partition has its part of the room, so that readers cannot take the same room twice, nor wait for room
        # that an idle partition would have to give up.
        share = max(1, self._room // self._reading)
        tenure.low = share // 2
        return min(_AT_ONCE, share - tenure.held, self._room - self._lanes.waiting)

    async def _read(self, tenure: Tenure) -> None:
        skims = False
        while True:
            count = self._share(tenure)
            if count <= 0:  # only then: the bell is shared, and a reader that is full silences it for the others
                self._bell.room.clear()
                await self._bell.room.wait()
                continue
            try:
                count = _SKIM if skims else count
                batch = await self._stream.read(tenure.partition, tenure.cursor, count=count, block=_BLOCK)
            except QueueError as error:
                # A broken connection may mean another server with other ids: what was read is left, and read again by
                # a tenure that begins at the start of the stream.
                self._tools.log.warning("reader.failed", partition=tenure.partition, error=str(error))
                tenure.doubt()
                return
            if tenure.breaks != self._stream.breaks:
                tenure.doubt()  # somebody saw a connection break; it may be another server that answered us
                return
            kept = await self._take_in(tenure, batch)
            skims = len(batch) > kept * _SKIMMED
            self._bell.work.set()

    async def refill(self) -> None:
        """Fetch for lanes that spilled and have room again, for ever."""
        while True:
            lane = self._lanes.hungry()
            if lane is None:
                await self._bell.hungry.wait()
                self._bell.hungry.clear()
                continue
            await self._fetch(lane)
            self._bell.work.set()

    async def _fetch(self, lane: Lane) -> None:
        found: list[Held] = []
        position = lane.spilled_after or START
        wanted = count = 1 if lane.postponed else _SCAN  # what fails is fetched one by one, when its time has come
        complete = False
        while not complete and not lane.dropped and len(found) < wanted:
            known_to = lane.tenure.cursor
            try:
                batch = await self._stream.scan(lane.tenure.partition, position, count=count)
            except QueueError:
                await self._tools.clock.sleep(_PAUSE)
                continue
            cursor = order_of(lane.tenure.cursor)  # what comes after it the reader will bring
            seen = [stored for stored in batch if order_of(stored.id) <= cursor]
            found += [held for stored in seen if (held := self._of_lane(lane, stored)) is not None]
            position = seen[-1].id if seen else position
            # Without an entry beyond the cursor in it, a batch may have been made before what was read meanwhile came.
            complete = len(seen) < len(batch) or (len(batch) < count and lane.tenure.cursor == known_to)
            count = min(count * 2, _SCAN_AT_MOST)  # a lane that is rare in the stream is looked for in longer strides
        self._lanes.refill(lane, found, scanned_to=position, complete=complete)

    def _of_lane(self, lane: Lane, stored: StoredEntry) -> Held | None:
        if stored.id in lane.tenure.known:
            return None
        try:
            entry = decode(stored.data)
        except UnreadableEntryError:
            return None  # the reader parked it, or will
        if lane_of(entry.hub, entry.item) != lane.key:
            return None
        return Held(lane.tenure, stored.id, entry, stored.stored_at)

    async def _take_in(self, tenure: Tenure, batch: Sequence[StoredEntry]) -> int:
        kept, room = 0, max(1, self._share(tenure)) if len(batch) > _AT_ONCE else _AT_ONCE
        for stored in batch:
            if kept >= room:
                break  # more was read than there is room for; it is read again
            tenure.cursor = stored.id
            if stored.id in tenure.known:
                continue
            try:
                entry = decode(stored.data)
            except UnreadableEntryError as error:
                await self._bury(tenure, stored, str(error))
                continue
            kept += self._lanes.add(lane_of(entry.hub, entry.item), Held(tenure, stored.id, entry, stored.stored_at))
        return kept

    async def _bury(self, tenure: Tenure, stored: StoredEntry, detail: str) -> None:
        parked = await self._settler.park_unread(
            tenure, stored, DeathCause(reason="unreadable", status=0, attempts=0, detail=detail)
        )
        if parked:
            self._tools.metrics.dead["unreadable"].inc()
            self._tools.log.error("entry.unreadable", partition=tenure.partition, id=stored.id.decode(), detail=detail)


class Tools:
    """What the reader works with besides the queue."""

    __slots__ = ("clock", "log", "metrics", "room")

    def __init__(self, clock: Clock, metrics: Metrics, log: Logger, *, room: int) -> None:
        self.clock = clock
        self.metrics = metrics
        self.log = log
        self.room = room
