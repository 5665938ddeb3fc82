"""Redis in: reads owned partitions into the lanes, flow by flow, and fetches what lanes had to leave behind.

Rules guarded: a flow is read only as far as there is room for it, and one that is full of what cannot go holds back no
other. A flow of an endpoint that is not configured here is not read at all. A new owner starts at the beginning of each
stream, so that what its predecessor left comes first. An entry that is broken is moved to the dead letters and stops
nothing. One of a newer format is left where it is, with all that stands behind it in its lane, for a worker that can
read it; see `ownership` for how the partition comes to that.

Two tasks read a partition. `_listen` waits in the store for all flows that have been read to their end, and for word of
new ones. `_catch_up` reads those that are behind, when there is room, and fetches for lanes, in turns; nothing it does
waits in the store. A third forgets flows that nobody uses any more (see `pruner`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from math import inf
from typing import ParamSpec, TypeVar

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.changes import read_marker
from fanout.queue.dead_letters import DeathCause, Parked
from fanout.queue.entry import VERSION, Entry, NewerEntryError, StoredEntry, UnreadableEntryError, decode, weight_of
from fanout.queue.keys import flow_of, hub_and_endpoint, hub_of_flow, is_known_flow, lane_in_flow, lane_of
from fanout.queue.stream import START, Stream
from fanout.signalr.message import label_of
from workers.lane import Lane
from workers.partition import AROUND, BufferedEntry, OwnedFlow, OwnedPartition
from workers.pruner import Pruner
from workers.schedule import Schedule
from workers.settler import Settler
from workers.sweeps import Sweeps

_AT_ONCE = 256  # entries of all flows that one wait brings, about; at least `_OF_EACH` of each
_OF_EACH = 16
_MOST = 1024  # entries in one read of a flow that is behind
_CHUNK = 512 * 1024  # bytes that one read brings, about
_SMALLEST_CHUNK = 8 * 1024
_SLOW = 0.5  # seconds: after a read that took longer, the next one asks for half as much
_BLOCK = 5.0  # seconds a read waits in the store; it is cancelled when the partition is given back
_IN_A_TURN = 32  # entries of a flow that are put into lanes before all else has its turn
_OF_ALL = 64  # the same of all flows of all partitions
_LEFT_BLOCK = 0.5  # the same while a former owner has calls in flight: its lease may run out without a word
_PAUSE = 0.2  # seconds between tries while the store does not answer
_MOST_HELD = 10_000  # lanes of a flow that stand still; past it the flow does
_LOGGED_EVERY = 50  # failures in a row: the first of them is logged, and one of so many others
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Reader:
    """Fills the lanes of one worker. `endpoints` are the names of those that it delivers to."""

    _decode = staticmethod(decode)

    def __init__(
        self, stream: Stream, schedule: Schedule, settler: Settler, sweeps: Sweeps, pruner: Pruner, clock: Clock,
        metrics: Metrics, log: Logger, *, endpoints: Collection[str] = ("",),
    ) -> None:  # fmt: skip
        self._stream = stream
        self._endpoints = endpoints
        self._schedule = schedule
        self._settler = settler
        self._sweeps = sweeps
        self._pruner = pruner
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._reading = 0
        self._warned: set[tuple[int, int]] = set()  # partitions and formats that were met
        self._unknown_endpoints: set[str] = set()  # that were met
        self._turns = Turns(_OF_ALL)

    def __repr__(self) -> str:
        return f"<Reader of {self._reading} partitions>"

    async def run(self, owned: OwnedPartition, on_read: Callable[[], None]) -> None:
        """Read one partition until cancelled, and call `on_read` whenever the lanes got something."""
        self._reading += 1
        woken = asyncio.Event()
        owned.on_wake = woken.set
        try:
            await self._find_flows(owned)
            await self._block_left(owned)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(owned, on_read))
                group.create_task(self._catch_up(owned, woken, on_read))
                group.create_task(self._pruner.run(owned, self._find_flows))
        finally:
            self._reading -= 1

    async def _find_flows(self, owned: OwnedPartition, *, behind: bool = True, named: str = "") -> None:
        """Note flows that are new. One that is not `behind` is listened to at once, and stands behind no backlog.

        What waits in the one that is `named` comes in the same reply.
        """
        names, entries = await self._ask(owned, self._stream.look, owned.number, named, most=_OF_EACH)
        for name in names:
            endpoint = hub_and_endpoint(hub_of_flow(name))[1]
            if endpoint not in self._endpoints:
                await self._leave_alone(owned, name, endpoint)
            elif name not in owned.flows:
                flow = owned.flows[name] = OwnedFlow(owned, name)
                flow.behind = behind
                owned.wake()
        if entries and not self._is_doubtful(owned):
            await self._hear(owned, named, entries, START, _OF_EACH)

    async def _leave_alone(self, owned: OwnedPartition, name: str, endpoint: str) -> None:
        """Leave a flow in the store whose endpoint is configured elsewhere, or not any more."""
        if not await self._ask(owned, self._stream.read, owned.number, {name: START}, most=1):
            owned.foreign.add(name)  # a known flow wakes nobody, so it is listened to until something waits in it
            return
        self._tell_of(owned, name, endpoint)

    def _tell_of(self, owned: OwnedPartition, name: str, endpoint: str) -> None:
        owned.foreign.discard(name)
        if endpoint not in self._unknown_endpoints:
            self._unknown_endpoints.add(endpoint)
            self._log.warning("endpoint.unknown", endpoint=label_of(endpoint), partition=owned.number)
        owned.left_alone[name] = endpoint

    async def _block_left(self, owned: OwnedPartition) -> None:
        """Leave the lanes alone in which a former owner has a call in flight, before anything is read."""
        for key in await self._ask(owned, self._stream.left, owned.number):
            name = owned.left[key] = flow_of(key)
            if hub_and_endpoint(hub_of_flow(name))[1] in self._endpoints:
                self._schedule.block(owned.flows.setdefault(name, OwnedFlow(owned, name)), key)

    async def _find_freed(self, owned: OwnedPartition) -> None:
        """Note the lanes that the former owner has freed, or for which its lease has run out."""
        owned.freed = owned.left.keys() - await self._ask(owned, self._stream.left, owned.number)
        if owned.freed:
            owned.wake()

    def _unblock_freed(self, owned: OwnedPartition) -> None:
        # Not while a read of this task is on its way: it may bring what the former owner has settled since.
        for key in owned.freed:
            flow = owned.flows.get(owned.left.pop(key))
            if flow is not None:  # else nothing of it is read here
                self._schedule.unblock(flow, key)
        owned.freed = set()

    def _is_doubtful(self, owned: OwnedPartition) -> bool:
        return owned.heard_from(self._stream.generation(owned.number))

    async def _ask(
        self, owned: OwnedPartition, ask: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Ask the store as often as it takes: a lost connection alone is no reason to begin anew."""
        failures = 0
        while True:
            try:
                return await ask(*args, **kwargs)
            except QueueError as error:
                if failures % _LOGGED_EVERY == 0:
                    self._log.warning("reader.failed", partition=owned.number, error=str(error))
                if failures:  # a connection that was cut is replaced without a pause
                    await self._clock.sleep(_PAUSE)
                failures += 1

    async def _listen(self, owned: OwnedPartition, on_read: Callable[[], None]) -> None:
        woken, looked_at = START, -inf
        while not owned.doubted:
            after = {flow.name: flow.cursor for flow in owned.flows.values() if not flow.behind}
            after |= dict.fromkeys(owned.foreign, START)
            most = max(_OF_EACH, _AT_ONCE // max(1, len(after)))
            block = _LEFT_BLOCK if owned.left else _BLOCK
            last, reads = await self._ask(owned, self._stream.wait, owned.number, woken, after, most=most, block=block)
            if self._is_doubtful(owned):
                return
            was_woken, woken = last != woken, last
            if was_woken:
                named = next((name for name, entries in reads if not entries and name not in owned.flows), "")
                await self._find_flows(owned, behind=False, named=named)
            for name, entries in reads:
                if entries:
                    await self._hear(owned, name, entries, after[name], most)
            on_read()
            if owned.left and (was_woken or not reads or self._clock.monotonic() >= looked_at + _LEFT_BLOCK):
                await self._find_freed(owned)
                looked_at = self._clock.monotonic()

    async def _hear(
        self, owned: OwnedPartition, name: str, entries: Sequence[StoredEntry], after: bytes, most: int
    ) -> None:
        if name in owned.foreign:
            self._tell_of(owned, name, hub_and_endpoint(hub_of_flow(name))[1])
            return
        flow = owned.flows.get(name)
        if flow is None or flow.behind or flow.cursor != after:
            return  # another task went on with it meanwhile, or forgot it
        if not await self._take_in(flow, entries) or len(entries) == most:
            flow.behind = True
            owned.wake()

    async def _catch_up(self, owned: OwnedPartition, woken: asyncio.Event, on_read: Callable[[], None]) -> None:
        turn = 0
        while not owned.doubted:
            woken.clear()
            if owned.freed:
                self._unblock_freed(owned)
            turn += 1
            fetched = await self._fetch(owned)
            behind = [flow for flow in owned.flows.values() if self._is_to_read(flow)]
            if behind:  # all of them together, and in between one of them as far as there is room for it
                await self._read(owned, behind if turn % 2 else [behind[turn // 2 % len(behind)]])
            elif not fetched:
                on_read()  # a lane that asked may wait for its time now, and the dispatcher for none
                await woken.wait()
                continue
            if self._is_doubtful(owned):
                return
            on_read()

    def _is_to_read(self, flow: OwnedFlow) -> bool:
        if not flow.behind or flow.stopped or not self._sweeps.has_room(flow):
            return False
        room_of = self._schedule.room_of
        return room_of(flow) > 0 or (self._schedule.make_room(flow) and room_of(flow) > 0)

    async def _read(self, owned: OwnedPartition, flows: Sequence[OwnedFlow]) -> None:
        """Read flows that are behind, in one round trip; word of it goes to the other task when one is not any more."""
        chunk = owned.chunk // len(flows)
        sizes = (min(chunk, self._schedule.room_of(flow)) / flow.average for flow in flows)
        most = max(1, min(_MOST, int(min(sizes))))
        started = self._clock.monotonic()
        after = {flow.name: flow.cursor for flow in flows}
        reads = await self._ask(owned, self._stream.read, owned.number, after, most=most)
        if self._is_doubtful(owned):
            return
        self._adapt(owned, self._clock.monotonic() - started)
        entries = dict(reads)
        for flow in flows:
            found = entries.get(flow.name, ())
            if await self._take_in(flow, found) and len(found) < most:
                flow.behind = False
        if not all(flow.behind for flow in flows):
            await self._ask(owned, self._stream.wake, owned.number)

    async def _fetch(self, owned: OwnedPartition) -> bool:
        """Fetch for lanes of the partition that have room; return whether there was anything to fetch."""
        most = max(1, min(_AT_ONCE, owned.chunk // 1024))
        chosen = self._schedule.to_fetch(owned, self._clock.monotonic(), most)
        if not chosen:
            return False
        wanted: dict[str, list[bytes]] = {}
        for lane, ids in chosen:
            wanted.setdefault(lane.flow.name, []).extend(ids)
        started = self._clock.monotonic()
        found = await self._ask(owned, self._stream.fetch, owned.number, wanted)
        self._adapt(owned, self._clock.monotonic() - started)
        by_flow = {name: {entry.id: entry for entry in entries if entry is not None} for name, entries in found.items()}
        for lane, ids in chosen:
            entries = by_flow[lane.flow.name]
            await self._turns.take(len(ids))
            self._schedule.fetched(lane, ids, [self._buffered(lane, entries[id_]) for id_ in ids if id_ in entries])
        return True

    def _adapt(self, owned: OwnedPartition, took: float) -> None:
        # A read over a slow link asks for less, so that it ends in time.
        if took > _SLOW:
            owned.chunk = max(_SMALLEST_CHUNK, owned.chunk // 2)
        elif took < _SLOW / 4:
            owned.chunk = min(_CHUNK, owned.chunk * 2)

    def _buffered(self, lane: Lane, stored: StoredEntry) -> BufferedEntry:
        return BufferedEntry(
            lane.flow, stored.id, self._decode(stored.data, *lane.flow.origin), stored.stored_at, weight_of(stored.data)
        )

    async def _take_in(self, flow: OwnedFlow, entries: Sequence[StoredEntry]) -> bool:
        """Put what was read into the lanes, in turns with all else; return whether all of it was taken."""
        for start in range(0, len(entries), _IN_A_TURN):
            part = entries[start : start + _IN_A_TURN]
            if start:
                await self._clock.sleep(0)
            await self._turns.take(len(part))
            if self._is_doubtful(flow.partition) or (start and self._schedule.room_of(flow) <= 0):
                return False
            if not await self._add(flow, part):
                return False
        return True

    async def _add(self, flow: OwnedFlow, entries: Sequence[StoredEntry]) -> bool:
        room, hub, held = self._schedule.room_of(flow), flow.hub, flow.held
        bare_hub, endpoint = flow.origin
        read = self._decode if is_known_flow(flow.name) else _decode_nothing
        for stored in entries:
            if room <= 0:
                return False
            before, flow.cursor = flow.cursor, stored.id
            flow.average += (len(stored.data) - flow.average) * 0.05
            if stored.id in flow.known:
                continue
            try:
                entry = read(stored.data, bare_hub, endpoint)
            except UnreadableEntryError as error:
                if await self._pass_by(flow, stored, error):
                    room = self._schedule.room_of(flow)
                    continue
                flow.cursor = before
                return False
            key = lane_of(hub, entry.item)
            if held and key in held:
                continue
            size = weight_of(stored.data)
            if self._schedule.add(key, BufferedEntry(flow, stored.id, entry, stored.stored_at, size)):
                room -= size + AROUND
        return True

    async def _pass_by(self, flow: OwnedFlow, stored: StoredEntry, error: UnreadableEntryError) -> bool:
        """Remember a marker, bury what is broken, leave a newer entry alone; return whether the flow goes on."""
        if (marker := read_marker(stored.data)) is not None:
            if not self._sweeps.has_room(flow):
                return False
            if self._sweeps.take(flow, stored, marker):
                self._log.warning("order.markers_full", markers=self._sweeps.markers, hub=flow.origin[0])
            return True
        if isinstance(error, NewerEntryError):
            return self._hold(flow, stored, error)
        await self._bury(flow, stored, str(error))
        return True

    def _hold(self, flow: OwnedFlow, stored: StoredEntry, error: NewerEntryError) -> bool:
        """Leave a newer entry and what comes behind it in its lane alone; False when the whole flow has to stop."""
        owned = flow.partition
        owned.needs = max(owned.needs, error.version)
        key = lane_in_flow(flow.name, error.lane) if is_known_flow(flow.name) else ""
        if (owned.number, error.version) not in self._warned:
            self._warned.add((owned.number, error.version))
            stops = "lane" if key else "flow"
            self._log.warning(
                "entry.newer", partition=owned.number, id=stored.id.decode(), hub=flow.origin[0],
                format=error.version, reads=VERSION, stops=stops,
            )  # fmt: skip
        if not key or len(flow.held) >= _MOST_HELD:
            flow.stopped = True
            return False
        flow.held.add(key)
        flow.first_held = flow.first_held or stored.id
        return True

    async def _bury(self, flow: OwnedFlow, stored: StoredEntry, detail: str) -> None:
        cause = DeathCause(reason="unreadable", status=0, attempts=0, detail=detail)
        if await self._settler.park_unread(flow, Parked(flow.name, stored), cause):
            self._metrics.dead["unreadable"].inc()
            self._metrics.by_endpoint.dead[flow.endpoint].inc()
            if self._metrics.by_hub.is_enabled:
                self._metrics.by_hub.died(flow.origin[0])
            self._log.error("entry.unreadable", partition=flow.partition.number, id=stored.id.decode(), detail=detail)


class Turns:
    """Lets `most` entries be taken in by all partitions in a turn of the event loop. Who waits goes on in order."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._begins = False  # the next turn

    def __repr__(self) -> str:
        return f"<Turns of {self._most}, {len(self._waiting)} waiting>"

    async def take(self, count: int) -> None:
        """Return when `count` entries, which are not more than `most`, may be taken in."""
        loop = asyncio.get_running_loop()
        if not self._begins:
            self._begins = True
            loop.call_soon(self._begin)
        if self._waiting or count > self._left:
            place = loop.create_future()
            self._waiting.append((place, count))
            await place
        else:
            self._left -= count

    def _begin(self) -> None:
        self._left = self._most
        while self._waiting and self._waiting[0][1] <= self._left:
            place, count = self._waiting.popleft()
            if not place.done():  # else it was cancelled
                self._left -= count
                place.set_result(None)
        self._begins = bool(self._waiting)
        if self._begins:
            asyncio.get_running_loop().call_soon(self._begin)


def _decode_nothing(_data: bytes, _hub: str, _endpoint: str) -> Entry:
    raise NewerEntryError(VERSION + 1)  # what waits in a flow of a kind we do not know, and in which order, is unknown
