"""Ends what waits for endpoints that are not configured here once it is as old as any entry may become.

Rule guarded: the bounds of age hold for every entry. Elsewhere a failed call ends what is too old. Nobody makes a call
for these, so the store is looked at instead: the oldest of each flow that the reader left alone, every few seconds and
under the lease of its partition. A message whose own time is over leaves without a dead letter, as it would elsewhere.
"""

from collections.abc import Callable, Collection
from math import inf
from typing import Final

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.changes import read_marker
from fanout.queue.dead_letters import DeathCause, Parked
from fanout.queue.entry import Entry, NewerEntryError, StoredEntry, UnreadableEntryError, decode, weight_of
from fanout.queue.keys import is_known_flow, lane_of
from fanout.queue.stream import START, Stream
from fanout.signalr.message import Message, Scope, label_of
from workers.partition import NO_LANE, BufferedEntry, OwnedFlow, OwnedPartition
from workers.settler import Settler
from workers.telemetry import Telemetry

_INTERVAL: Final = 10.0  # seconds between two looks; less where entries may become less old than that
_LATEST: Final = 60.0  # seconds after which a flow is looked at again, however young its oldest entry is
_AT_ONCE: Final = 8  # entries in one read, each of which may be a megabyte
_READS: Final = 32  # of one flow in a row, so that the other flows have their turn
_MARKER: Final = Entry("", "", Message(Scope.GROUP, "", b""))  # stands in a marker's place where it is taken out
_SOON: Final = 0.1  # seconds after which it is old enough by the store's clock too
_OUT: Final = 0.0  # in place of the seconds that an entry has left


class Unclaimed:
    """What one worker owns and nobody here delivers. `max_age` is in seconds."""

    def __init__(
        self,
        stream: Stream,
        settler: Settler,
        telemetry: Telemetry,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
        *,
        max_age: float,
    ) -> None:
        self._stream = stream
        self._settler = settler
        self._telemetry = telemetry
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._max_age = max_age
        self._due: dict[tuple[OwnedPartition, str], float] = {}  # when the oldest of a flow may be too old

    def __repr__(self) -> str:
        return f"<Unclaimed, {self._max_age:g} s>"

    async def run(self, partitions: Callable[[], Collection[OwnedPartition]]) -> None:
        """Look at the partitions that are owned, again and again, until cancelled."""
        while True:
            all_owned = dict.fromkeys(partitions())
            self._due = {place: at for place, at in self._due.items() if place[0] in all_owned}
            more = False
            for owned in all_owned:
                for name in list(owned.left_alone):
                    more |= await self._look_at(owned, name)
            if not more:
                await self._clock.sleep(min(_INTERVAL, self._max_age))

    async def _look_at(self, owned: OwnedPartition, name: str) -> bool:
        """End what is too old in a flow whose time it is; return whether there may be more of it."""
        place = (owned, name)
        if self._clock.monotonic() < self._due.get(place, -inf) or not is_known_flow(name):
            return False
        if name in owned.left.values():
            return False  # a former owner, who has the endpoint, has calls in flight
        try:
            left = await self._end_old(owned, name)
        except QueueError:
            return False  # the reader tells of a store that is away; here it is asked again
        self._due[place] = self._clock.monotonic() + min(left, _LATEST)
        if name not in owned.left_alone:
            del self._due[place]
        return left == _OUT

    async def _end_old(self, owned: OwnedPartition, name: str) -> float:
        """End the oldest of a flow; return how many seconds the next one has left."""
        flow = OwnedFlow(owned, name)  # not one of the partition's own: nothing of it is in memory
        for _ in range(_READS):
            reads = await self._stream.read(owned.number, {name: START}, most=_AT_ONCE)
            if not reads:
                if owned.left_alone.pop(name, None) is not None:  # else it was forgotten meanwhile
                    owned.foreign.add(name)  # it is listened to until something waits in it again
                return inf
            for stored in reads[0].entries:
                if not owned.may_act(self._clock.monotonic()):
                    return inf
                lane = _lane_of(flow, stored)
                owned.began_call(lane)  # it is kept until this is done, whoever gets the partition
                try:
                    left = await self._end(flow, stored)
                finally:
                    owned.ended_call(lane)
                if left > _OUT:
                    return left
        return _OUT

    async def _end(self, flow: OwnedFlow, stored: StoredEntry) -> float:
        """Take one entry out if it is too old; return how many seconds it has left."""
        try:
            entry = decode(stored.data, *flow.origin)
        except UnreadableEntryError as error:
            return await self._end_unread(flow, stored, error)
        buffered = BufferedEntry(flow, stored.id, entry, stored.stored_at, weight_of(stored.data))
        age = self._telemetry.age(buffered)
        ttl = entry.item.ttl if isinstance(entry.item, Message) else None
        if ttl is not None and age > ttl:
            if not await self._settler.expire(buffered, ttl):
                return _INTERVAL
            self._telemetry.expired(buffered, 0)
            return _OUT
        if age < self._max_age:
            return self._max_age - age if ttl is None else min(ttl, self._max_age) - age + _SOON
        where = label_of(flow.endpoint)
        detail = f"not delivered within {self._max_age:g} s: endpoint {where} is not configured"
        cause = DeathCause(reason="tooOld", status=0, attempts=0, detail=detail)
        if not await self._settler.park(buffered, cause):
            return _INTERVAL
        self._telemetry.parked(buffered, cause)
        return _OUT

    async def _end_unread(self, flow: OwnedFlow, stored: StoredEntry, error: UnreadableEntryError) -> float:
        if read_marker(stored.data) is not None:
            # What stands before it is gone by now, because it is older.
            marker = BufferedEntry(flow, stored.id, _MARKER, stored.stored_at, weight_of(stored.data))
            left = self._max_age - self._telemetry.age(marker)
            is_out = left <= 0 and await self._settler.expire(marker, self._max_age)
            return _OUT if is_out else max(left, _SOON)
        if isinstance(error, NewerEntryError):
            return inf  # it stays, with what is behind it, for a worker that can read it
        detail = str(error)
        cause = DeathCause(reason="unreadable", status=0, attempts=0, detail=detail)
        if not await self._settler.park_unread(flow, Parked(flow.name, stored), cause):
            return _INTERVAL
        self._metrics.dead["unreadable"].inc()
        if self._metrics.by_hub.is_enabled:
            self._metrics.by_hub.died(flow.origin[0])
        self._log.error("entry.unreadable", partition=flow.partition.number, id=stored.id.decode(), detail=detail)
        return _OUT


def _lane_of(flow: OwnedFlow, stored: StoredEntry) -> str:
    try:
        return lane_of(flow.hub, decode(stored.data, *flow.origin).item)
    except UnreadableEntryError:
        return NO_LANE
