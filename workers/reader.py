"""Redis in: reads owned partitions into the lanes, oldest first, and fetches what lanes had to leave behind.

Rules guarded: it reads only as much as there is room for. A new owner starts at the beginning of the stream, so that
what its predecessor left comes first. An entry that cannot be read is moved to the dead letters and stops nothing.
"""

import asyncio
from collections.abc import Callable, Sequence

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeathCause
from fanout.queue.entry import StoredEntry, UnreadableEntryError, decode
from fanout.queue.lane_key import lane_of
from fanout.queue.stream import Stream
from workers.lane import Lane
from workers.partition import START, BufferedEntry, OwnedPartition, order_of
from workers.schedule import Schedule
from workers.settler import Settler

_AT_ONCE = 256  # entries in one read
_BLOCK = 5.0  # seconds a read waits in the store; it is cancelled when the partition is given back
_PAUSE = 0.2  # seconds between tries while the store does not answer
_SKIM = 1024  # entries in one read while nearly all of them stay in the stream, because their lanes spilled
_SKIMMED = 8  # so many times as many read as kept count as nearly all
_SCAN = 64
_LONGEST_SCAN = 1024


class Reader:
    """Fills the lanes of one worker, which may hold `room` entries."""

    def __init__(
        self,
        stream: Stream,
        schedule: Schedule,
        settler: Settler,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
        *,
        room: int,
    ) -> None:
        self._stream = stream
        self._schedule = schedule
        self._settler = settler
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._room = room
        self._reading = 0  # partitions that are read now
        self._may_read = asyncio.Event()
        self._may_fetch = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Reader of {self._reading} partitions>"

    def wake(self) -> None:
        """Look again: there may be room to read, or a lane to fetch for."""
        self._may_read.set()
        if self._schedule.any_hungry:
            self._may_fetch.set()

    async def run(self, owned: OwnedPartition, on_read: Callable[[], None]) -> None:
        """Read one partition until cancelled, and call `on_read` after each read."""
        self._reading += 1
        try:
            await self._read(owned, on_read)
        finally:
            self._reading -= 1
            self.wake()  # what this partition held in memory makes room for the others

    async def refill(self, on_read: Callable[[], None]) -> None:
        """Fetch for lanes that spilled and have room again until cancelled, and call `on_read` after each of them."""
        while True:
            lane = self._schedule.hungry(self._clock.monotonic())
            if lane is None:
                await self._may_fetch.wait()
                self._may_fetch.clear()
                continue
            await self._fetch(lane)
            on_read()

    def _share(self, owned: OwnedPartition) -> int:
        # Each partition has its part of the room, so that readers cannot take the same room twice, nor wait for room
        # that an idle partition would have to give up.
        share = max(1, self._room // self._reading)
        owned.low_water = share // 2
        return min(_AT_ONCE, share - owned.waiting, self._room - self._schedule.waiting)

    async def _read(self, owned: OwnedPartition, on_read: Callable[[], None]) -> None:
        skims = False
        while True:
            count = self._share(owned)
            if count <= 0:  # cleared only now: the event is shared, and others may wait for it
                self._may_read.clear()
                await self._may_read.wait()
                continue
            try:
                count = _SKIM if skims else count
                batch = await self._stream.read(owned.number, owned.cursor, count=count, block=_BLOCK)
            except QueueError as error:
                # A broken connection may mean another server with other ids. What was read is read again by the next
                # owner of the partition, which begins at the start of the stream.
                self._log.warning("reader.failed", partition=owned.number, error=str(error))
                owned.doubt()
                return
            if owned.breaks != self._stream.breaks:
                owned.doubt()  # a connection broke meanwhile, so that another server may have answered
                return
            kept = await self._take_in(owned, batch)
            skims = len(batch) > kept * _SKIMMED
            on_read()

    async def _take_in(self, owned: OwnedPartition, batch: Sequence[StoredEntry]) -> int:
        """Put what was read into the lanes; return how many entries they kept."""
        kept, room = 0, max(1, self._share(owned)) if len(batch) > _AT_ONCE else _AT_ONCE
        for stored in batch:
            if kept >= room:
                break  # more was read than there is room for; it is read again
            owned.cursor = stored.id
            if stored.id in owned.known:
                continue
            try:
                entry = decode(stored.data)
            except UnreadableEntryError as error:
                await self._bury(owned, stored, str(error))
                continue
            buffered = BufferedEntry(owned, stored.id, entry, stored.stored_at)
            kept += self._schedule.add(lane_of(entry.hub, entry.item), buffered)
        return kept

    async def _bury(self, owned: OwnedPartition, stored: StoredEntry, detail: str) -> None:
        cause = DeathCause(reason="unreadable", status=0, attempts=0, detail=detail)
        if await self._settler.park_unread(owned, stored, cause):
            self._metrics.dead["unreadable"].inc()
            self._log.error("entry.unreadable", partition=owned.number, id=stored.id.decode(), detail=detail)

    async def _fetch(self, lane: Lane) -> None:
        """Look for a lane's entries in the stream and hand them to the schedule."""
        found: list[BufferedEntry] = []
        position = lane.spilled_after or START
        wanted = count = 1 if lane.postponed else _SCAN  # what fails is fetched one by one, when its time has come
        complete = False
        while not complete and not lane.dropped and len(found) < wanted:
            known_to = lane.partition.cursor
            try:
                batch = await self._stream.scan(lane.partition.number, position, count=count)
            except QueueError:
                await self._clock.sleep(_PAUSE)
                continue
            cursor = order_of(lane.partition.cursor)  # what comes after it will be read
            seen = [stored for stored in batch if order_of(stored.id) <= cursor]
            found += [buffered for stored in seen if (buffered := self._of_lane(lane, stored)) is not None]
            position = seen[-1].id if seen else position
            # A batch without an entry beyond the cursor may have been made before what was read meanwhile was added.
            complete = len(seen) < len(batch) or (len(batch) < count and lane.partition.cursor == known_to)
            count = min(count * 2, _LONGEST_SCAN)  # a lane that is rare in the stream is looked for in longer strides
        self._schedule.refill(lane, found, scanned_to=position, complete=complete)

    def _of_lane(self, lane: Lane, stored: StoredEntry) -> BufferedEntry | None:
        if stored.id in lane.partition.known:
            return None
        try:
            entry = decode(stored.data)
        except UnreadableEntryError:
            return None  # the reader moves it to the dead letters
        if lane_of(entry.hub, entry.item) != lane.key:
            return None
        return BufferedEntry(lane.partition, stored.id, entry, stored.stored_at)
