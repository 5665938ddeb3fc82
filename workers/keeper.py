"""Keeps this worker's leases: renews them, takes its share of what is free, hands back what is too much.

Rules guarded: one beat renews everything in one round trip, several times within a lease's lifetime; a tenure that is
given back first stops reading, then lets its calls in flight end and settle, and only then releases, so that the next
owner starts where this one stopped; a partition is not taken again while calls of its last tenure are still in flight.
"""

import asyncio
from collections.abc import Callable

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import Logger
from fanout.queue.leases import Lease, Leases, Renewal, fence_of, share_of
from workers.lanes import Lanes
from workers.store_time import StoreTime
from workers.tenure import Tenure, order_of

_BEATS_PER_LEASE = 5
_LONGEST_BEAT = 1.0

StartReading = Callable[[Tenure], asyncio.Task[None]]


class Keeper:
    """The leases of one worker. `start_reading` starts the reader of a new tenure and gives its task."""

    def __init__(self, leases: Leases, lanes: Lanes, clock: Clock, log: Logger, *, partitions: int) -> None:
        self._leases = leases
        self._lanes = lanes
        self._clock = clock
        self._log = log
        self._partitions = partitions
        self._tenures: dict[int, Tenure] = {}
        self._readers: dict[Tenure, asyncio.Task[None]] = {}
        self._leaving: set[int] = set()
        self._suspects: dict[int, bytes] = {}
        self._latest: dict[int, str] = {}  # the token of each partition's latest owner
        self._unsettled: dict[int, int] = {}  # entries read and not settled when its lease was lost
        self._closed = False

    def __repr__(self) -> str:
        return f"<Keeper of {sorted(self._tenures)}, leaving {sorted(self._leaving)}>"

    @property
    def held(self) -> int:
        """How many partitions this worker owns."""
        return len(self._tenures)

    async def run(self, group: asyncio.TaskGroup, start_reading: StartReading, store_time: StoreTime) -> None:
        """Beat until cancelled. `lifetime` of the leases decides how often."""
        while True:
            try:
                await self._beat(group, start_reading, store_time)
            except QueueError as error:
                self._log.warning("leases.unreachable", error=str(error), held=self.held)
                self._end_expired()
                self._doubt_broken()
            await self._clock.sleep(min(_LONGEST_BEAT, self._leases.lifetime / _BEATS_PER_LEASE))

    async def leave(self) -> None:
        """Leave the list of workers and give every partition back, each as soon as its calls in flight have ended."""
        self.close()
        await self._sign_off()  # first, so that the others take what is released without waiting for the rest
        async with asyncio.TaskGroup() as group:
            for tenure in list(self._tenures.values()):
                group.create_task(self._hand_back(tenure))
        await self._sign_off()  # again, because a beat on its way may have signed us on in between

    def close(self) -> None:
        """Take no further partition and end what waits; calls in flight go on, under leases that are still renewed."""
        self._closed = True
        for tenure in self._tenures.values():
            self._stop(tenure)

    async def release_all(self) -> None:
        """Release what is still held, calls in flight or not: their time to finish is over."""
        for tenure in list(self._tenures.values()):
            await self._release(tenure)

    async def _beat(self, group: asyncio.TaskGroup, start_reading: StartReading, store_time: StoreTime) -> None:
        if self._closed:
            self._end_expired()
            await self._renew()
            return
        self._end_expired()
        self._doubt_broken()
        overslept = await self._renew()  # first: the list of workers may live in a part of the store that is away
        asked = self._clock.monotonic()
        live_workers = await self._leases.heartbeat()
        store_time.note(live_workers.now, asked, self._clock.monotonic())
        share = share_of(self._leases.worker, live_workers, self._partitions)
        if self.held < share and not self._closed:
            for lease in await self._leases.acquire(await self._free(share - self.held)):
                self._begin(lease, start_reading)
        surplus = self.held - len(self._leaving) - share
        others = [t for t in self._tenures.values() if t.partition not in self._leaving and t not in overslept]
        for tenure in [*overslept, *others[: max(0, surplus - len(overslept))]]:
            self._leaving.add(tenure.partition)
            group.create_task(self._hand_back(tenure))

    async def _renew(self) -> list[Tenure]:
        """Renew all leases; gives the tenures to begin anew: they are doubted, or their lease ran out by our clock.

        Couriers may have dropped what these had read, so they cannot go on as they are.
        """
        tenures = [tenure for tenure in self._tenures.values() if not tenure.lost]
        renewals = await self._leases.renew([tenure.lease for tenure in tenures])
        now = self._clock.monotonic()
        overslept = []
        for tenure in tenures:
            if self._tenures.get(tenure.partition) is not tenure:
                continue  # it was given back while the renewal was on its way
            renewal = renewals[tenure.partition]
            if renewal is None:
                self._lose(tenure)
                continue
            if (tenure.doubted or not tenure.lease.is_valid(now)) and tenure.partition not in self._leaving:
                overslept.append(tenure)
            tenure.lease = renewal.lease
            self._check_reading(tenure, renewal)
        return overslept

    def _check_reading(self, tenure: Tenure, renewal: Renewal) -> None:
        # The oldest entry must be one we hold, or still ahead of us. It is neither when the store lost its last writes
        # (a failover) and its clock gave out smaller ids again: then begin anew. Asked twice, because what
        # was oldest may have been settled in between.
        oldest = b"" if tenure.doubted else renewal.oldest
        missed = bool(oldest) and oldest not in tenure.known and order_of(oldest) <= order_of(tenure.cursor)
        if not missed:
            self._suspects.pop(tenure.partition, None)
        elif self._suspects.get(tenure.partition) != oldest:
            self._suspects[tenure.partition] = oldest
        elif not self._lanes.has_spilled(tenure):
            self._log.warning("reader.rewound", partition=tenure.partition, oldest=oldest.decode())
            tenure.doubt()  # begun anew once its calls have ended, so that nothing crosses a settlement

    async def _free(self, wanted: int) -> list[int]:
        owners = await self._leases.owners(self._partitions)
        for partition, token in owners.items():
            if token != self._latest.get(partition):
                self._check_fence(partition, token)
        free = [p for p in range(self._partitions) if p not in owners and p not in self._tenures]
        return free[:wanted]

    def _begin(self, lease: Lease, start_reading: StartReading) -> None:
        self._check_fence(lease.partition, lease.token)
        tenure = Tenure(lease)
        tenure.breaks = self._leases.breaks
        self._tenures[lease.partition] = tenure
        if self._closed:  # while it was being taken; `release_all` gives it back
            tenure.ended = True
            return
        self._readers[tenure] = start_reading(tenure)
        self._log.info("lease.taken", partition=lease.partition, token=lease.token)

    def _check_fence(self, partition: int, token: str) -> None:
        # The number in it grows with each owner, unless the store lost it, and with it what was stored since: say so.
        latest = self._latest.get(partition)
        if latest is not None and fence_of(token) <= fence_of(latest):
            self._log.error("store.forgot", partition=partition, unsettled=self._unsettled.get(partition, 0))
        self._latest[partition] = token
        self._unsettled.pop(partition, None)

    def _doubt_broken(self) -> None:
        # A broken connection is the sign of a failover, and another server may give out smaller ids than were read.
        for tenure in self._tenures.values():
            if tenure.breaks != self._leases.breaks:
                tenure.doubt()

    def _end_expired(self) -> None:
        now = self._clock.monotonic()
        for tenure in [t for t in self._tenures.values() if not t.lost and not t.lease.is_valid(now)]:
            self._lose(tenure)

    def _lose(self, tenure: Tenure) -> None:
        self._stop(tenure)
        tenure.lose()
        self._unsettled[tenure.partition] = len(tenure.known)
        self._log.warning("lease.lost", partition=tenure.partition, in_flight=tenure.in_flight)
        tenure.when_quiet(lambda: self._forget(tenure))

    def _stop(self, tenure: Tenure) -> None:
        tenure.ended = True
        self._lanes.drop(tenure)
        reader = self._readers.pop(tenure, None)
        if reader is not None:
            reader.cancel()

    async def _hand_back(self, tenure: Tenure) -> None:
        self._stop(tenure)
        quiet = asyncio.Event()
        tenure.when_quiet(quiet.set)
        await quiet.wait()
        await self._release(tenure)

    async def _sign_off(self) -> None:
        try:
            await self._leases.deregister()
        except QueueError as error:
            self._log.warning("leases.unreachable", error=str(error), held=self.held)

    async def _release(self, tenure: Tenure) -> None:
        try:
            await self._leases.release(tenure.lease)
            self._log.info("lease.released", partition=tenure.partition)
        except QueueError as error:
            self._log.warning("leases.unreachable", error=str(error), held=self.held)
        self._forget(tenure)

    def _forget(self, tenure: Tenure) -> None:
        self._leaving.discard(tenure.partition)
        if self._tenures.get(tenure.partition) is tenure:
            del self._tenures[tenure.partition]
