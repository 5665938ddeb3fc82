"""Owns this worker's partitions: renews their leases, takes its share of the free ones, hands back what is too much.

Rules guarded: one beat renews everything in one round trip, several times within a lease's lifetime. A partition that
is handed back first stops reading and then releases its lease at once, but for the lanes with calls in flight. The next
owner is told of these. They are given up one by one as their calls end and settle, so that the next owner starts in
each lane where this one stopped. A partition with entries of a newer format is told to all workers, and goes to one
that can read them while there is one.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping

from fanout.clock import Clock
from fanout.errors import LeaseLostError, QueueError
from fanout.log import Logger
from fanout.queue.leases import Lease, Leases, Renewal, fence_of, is_rest
from fanout.queue.sharing import portions_of
from workers.partition import OwnedPartition, StoreClock, order_of
from workers.schedule import Schedule

_BEATS_PER_LEASE = 5
_LONGEST_BEAT = 1.0
_PAUSE = 0.1  # seconds between tries while the store does not answer

StartReading = Callable[[OwnedPartition], asyncio.Task[None]]


class Ownership:
    """The partitions of one worker. `partitions` is how many there are in the queue."""

    def __init__(
        self,
        leases: Leases,
        schedule: Schedule,
        store_clock: StoreClock,
        clock: Clock,
        log: Logger,
        *,
        partitions: int,
    ) -> None:
        self._leases = leases
        self._schedule = schedule
        self._store_clock = store_clock
        self._clock = clock
        self._log = log
        self.gained = self.lost = 0  # leases, since the start
        self._partitions = partitions
        self._owned: dict[int, OwnedPartition] = {}
        self._readers: dict[OwnedPartition, asyncio.Task[None]] = {}
        self._leaving: set[int] = set()
        self._handing: dict[OwnedPartition, asyncio.Event] = {}
        self._rests: list[OwnedPartition] = []  # handed over but for the lanes with calls in flight
        self._suspects: dict[int, tuple[str, bytes]] = {}
        self._latest: dict[int, str] = {}  # the token of each partition's latest owner
        self._unsettled: dict[int, int] = {}  # entries read and not settled when a lease was lost
        self._needs: dict[int, int] = {}  # partitions with entries it cannot read, and the format of these
        self._closed = False

    def __repr__(self) -> str:
        return f"<Ownership of {sorted(self._owned)}, leaving {sorted(self._leaving)}>"

    def __len__(self) -> int:
        return len(self._owned)

    @property
    def held(self) -> int:
        """How many lanes stand still because an entry of a newer format was met in them."""
        return sum(owned.held for owned in self._owned.values())

    @property
    def lanes_leaving(self) -> int:
        """How many lanes of partitions that were handed over have calls in flight here."""
        return sum(len(owned.busy) for owned in self._rests)

    @property
    def newer(self) -> Mapping[int, int]:
        """The partitions owned now in which such entries were met, and their newest format."""
        return {owned.number: owned.needs for owned in self._owned.values() if owned.needs}

    @property
    def owned(self) -> Collection[OwnedPartition]:
        """The partitions owned now."""
        return list(self._owned.values())

    @property
    def unknown_endpoints(self) -> frozenset[str]:
        """The endpoints that are not configured here and have flows in the partitions owned now."""
        return frozenset[str]().union(*(owned.unknown_endpoints for owned in self._owned.values()))

    async def run(self, start_reading: StartReading) -> None:
        """Beat until cancelled. `start_reading` starts the reader of a new partition and returns its task.

        What is being handed back then ends with it: it waits for calls that nobody may settle any more.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._beat(group, start_reading)
                except QueueError as error:
                    self._log.warning("leases.unreachable", error=str(error), held=len(self))
                    self._end_expired()
                    self._doubt_outdated()
                await self._clock.sleep(min(_LONGEST_BEAT, self._leases.lifetime / _BEATS_PER_LEASE))

    async def leave(self) -> None:
        """Leave the list of workers and hand every partition back; return when their calls in flight have ended."""
        self.close()
        await self._sign_off()  # first, so that the others take what is released without waiting for the rest
        async with asyncio.TaskGroup() as group:
            for owned in dict.fromkeys((*self._owned.values(), *self._handing)):
                group.create_task(self._hand_back(owned))
        await self._sign_off()  # again, because a beat on its way may have signed us on in between

    def close(self) -> None:
        """Take no further partition and drop what waits; calls in flight go on under leases that are renewed."""
        self._closed = True
        for owned in self._owned.values():
            self._stop(owned)

    async def release_all(self) -> None:
        """Release every lease, calls in flight or not: their time to finish is over."""
        for owned in [*self._owned.values(), *self._rests]:
            await self._release(owned)

    async def _beat(self, group: asyncio.TaskGroup, start_reading: StartReading) -> None:
        if self._closed:
            self._end_expired()
            await self._renew()
            return
        self._end_expired()
        self._doubt_outdated()
        restarting = await self._renew()  # first: the list of workers may live in a part of the store that is away
        asked = self._clock.monotonic()
        self._needs.update(self.newer)
        live_workers = await self._leases.heartbeat(self._needs)
        self._store_clock.observe(live_workers.now, asked, self._clock.monotonic())
        portions = portions_of(self._leases.worker, live_workers, self._partitions)
        wanted = [(each.partitions, each.share - self._count(each.partitions)) for each in portions]
        if any(count > 0 for _partitions, count in wanted) and not self._closed:
            for lease in await self._leases.acquire(await self._free(wanted)):
                self._begin(lease, start_reading)
        for portion in portions:
            for owned in self._surplus(portion.partitions, portion.share, restarting):
                self._leaving.add(owned.number)
                group.create_task(self._hand_back(owned))

    def _count(self, partitions: Collection[int]) -> int:
        return sum(number in self._owned for number in partitions)

    def _surplus(
        self, partitions: Collection[int], share: int, restarting: Collection[OwnedPartition]
    ) -> list[OwnedPartition]:
        """Return which of `partitions` to hand back: those to begin anew, and what is more than `share`."""
        staying = [self._owned[number] for number in partitions if number in self._owned]
        staying = [owned for owned in staying if owned.number not in self._leaving]
        anew = [owned for owned in staying if owned in restarting]
        others = [owned for owned in staying if owned not in restarting]
        return [*anew, *others[: max(0, len(staying) - share - len(anew))]]

    async def _renew(self) -> list[OwnedPartition]:
        """Renew all leases; return the partitions to begin anew: doubted, or their lease ran out by our clock.

        Entries of these may have been dropped from memory, so they cannot go on as they are.
        """
        asked = [owned for owned in (*self._owned.values(), *self._rests) if not owned.lost]
        flows = {owned.number: list(owned.flows) for owned in asked if owned not in self._rests}
        renewals = await self._leases.renew([owned.lease for owned in asked], flows)
        now = self._clock.monotonic()
        restarting = []
        for owned in asked:
            renewal = renewals.get(owned.lease.key)
            if owned.lost or not self._is_mine(owned):
                continue  # it was lost or released while the renewal was on its way
            if renewal is None:
                if not owned.handing_over and owned.lease.key in renewals:  # else it changed hands meanwhile
                    self._lose(owned, "refused")
                continue
            if owned in self._rests:
                owned.lease = renewal.lease
                continue
            if (owned.doubted or not owned.is_held(now)) and owned.number not in self._leaving:
                restarting.append(owned)
            owned.lease = renewal.lease
            self._check_reading(owned, renewal)
        return restarting

    def _check_reading(self, owned: OwnedPartition, renewal: Renewal) -> None:
        # The oldest entry must be one we know, or one that is still to be read. It is neither when the store lost its
        # last writes in a failover and its clock gave out smaller ids again: then the partition is begun anew. This
        # has to be seen twice, because what was oldest may have been settled in between.
        missed = None if owned.doubted or owned.ended else self._missed(owned, renewal)
        if missed is None:
            self._suspects.pop(owned.number, None)
        elif self._suspects.get(owned.number) != missed:
            self._suspects[owned.number] = missed
        else:
            self._log.warning("reader.rewound", partition=owned.number, flow=missed[0], oldest=missed[1].decode())
            owned.doubt()  # begun anew once its calls have ended, so that no settlement is overtaken

    def _missed(self, owned: OwnedPartition, renewal: Renewal) -> tuple[str, bytes] | None:
        for name, oldest in renewal.oldest.items():
            flow = owned.flows.get(name)
            if flow is None or not oldest or order_of(oldest) > order_of(flow.cursor):
                continue
            if not self._schedule.knows(flow, oldest):
                return name, oldest
        return None

    async def _free(self, wanted: Collection[tuple[Collection[int], int]]) -> list[int]:
        """Return partitions without an owner: of each of the given partitions at most so many."""
        owners = await self._leases.owners(self._partitions)
        for number, token in owners.items():
            if token != self._latest.get(number):
                self._check_fence(number, token)
        # What was handed over but for its calls in flight is not taken again beside these, once the store forgot them.
        mine = self._owned.keys() | {owned.number for owned in self._handing if owned.lost}
        free: list[int] = []
        for partitions, count in wanted:
            found = [number for number in partitions if number not in owners and number not in mine]
            free += found[: max(0, count)]
        return free

    def _begin(self, lease: Lease, start_reading: StartReading) -> None:
        self._check_fence(lease.partition, lease.token)
        owned = self._owned[lease.partition] = OwnedPartition(
            lease, generation=self._leases.generation(lease.partition)
        )
        if self._closed:  # while it was being taken; `release_all` gives it back
            owned.ended = True
            return
        self._readers[owned] = start_reading(owned)
        self.gained += 1
        self._log.info("lease.taken", partition=lease.partition, fence=fence_of(lease.token))

    def _check_fence(self, number: int, token: str) -> None:
        # The fence in a token grows with each owner, unless the store lost it, and with it what was stored since.
        latest = self._latest.get(number)
        if latest is not None and fence_of(token) <= fence_of(latest):
            self._log.error("store.forgot", partition=number, unsettled=self._unsettled.get(number, 0))
        self._latest[number] = token
        self._unsettled.pop(number, None)

    def _doubt_outdated(self) -> None:
        for owned in self._owned.values():
            owned.heard_from(self._leases.generation(owned.number))

    def _end_expired(self) -> None:
        now = self._clock.monotonic()
        for owned in (*self._owned.values(), *self._rests):
            if not owned.lost and not owned.is_held(now):
                self._lose(owned, "expired")

    def _is_mine(self, owned: OwnedPartition) -> bool:
        return self._owned.get(owned.number) is owned or owned in self._rests

    def _lose(self, owned: OwnedPartition, cause: str) -> None:
        """Give up a partition whose lease expired by our clock, or whose renewal the store refused."""
        self._stop(owned)
        self.lost += 1
        owned.lose()
        unsettled = self._unsettled[owned.number] = owned.known
        self._log.warning(
            "lease.lost", partition=owned.number, cause=cause, in_flight=owned.in_flight, unsettled=unsettled
        )
        owned.when_quiet(lambda: self._forget(owned))

    def _stop(self, owned: OwnedPartition) -> None:
        owned.ended = True
        self._schedule.drop(owned)
        reader = self._readers.pop(owned, None)
        if reader is not None:
            reader.cancel()

    async def _hand_back(self, owned: OwnedPartition) -> None:
        """Release a partition, at once but for the lanes with calls in flight; return when these have ended too."""
        done = self._handing.get(owned)
        if done is not None:
            await done.wait()
            return
        done = self._handing[owned] = asyncio.Event()
        try:
            await self._hand_back_once(owned)
        finally:
            done.set()
            del self._handing[owned]

    async def _hand_back_once(self, owned: OwnedPartition) -> None:
        self._stop(owned)
        expired = not owned.lost and not owned.is_held(self._clock.monotonic())
        if expired:  # while this process stood still
            self._lose(owned, "expired")
        ended = asyncio.Event()
        owned.on_lane_ended = ended.set
        lanes = set(owned.busy)
        if lanes and await self._hand_over(owned, lanes):
            await self._free_lanes(owned, lanes, ended)
            self._rests.remove(owned)
        quiet = asyncio.Event()
        owned.when_quiet(quiet.set)
        await quiet.wait()
        if expired or not owned.lost:  # the store may hold for longer what ran out here
            await self._release(owned)

    async def _hand_over(self, owned: OwnedPartition, lanes: Collection[str]) -> bool:
        """Turn a lease into the rest of one; False when the lanes are too many, or the lease was lost."""
        owned.handing_over, cause = True, "expired"
        try:
            while owned.is_held(self._clock.monotonic()):
                try:
                    rest = await self._leases.hand_over(owned.lease, lanes)
                except LeaseLostError:
                    cause = "refused"
                    break
                except QueueError:
                    await self._clock.sleep(_PAUSE)
                    continue
                if rest is None or owned.lost:  # it ran out by our clock before the answer came
                    return False
                owned.lease = rest
                self._forget(owned)
                self._rests.append(owned)
                self._log.info("lease.released", partition=owned.number, lanes_left=len(lanes))
                return True
        finally:
            owned.handing_over = False
        if not owned.lost:
            self._lose(owned, cause)
        return False

    async def _free_lanes(self, owned: OwnedPartition, lanes: set[str], ended: asyncio.Event) -> None:
        """Give up lanes of the rest of a lease as their calls end, until there is none or it is lost."""
        while lanes and not owned.lost:
            ended.clear()
            free = lanes - owned.lanes.keys()
            if not free:
                await ended.wait()
                continue
            try:
                await self._leases.free(owned.lease, free)
                lanes -= free
            except QueueError:
                await self._clock.sleep(_PAUSE)

    async def _sign_off(self) -> None:
        try:
            await self._leases.deregister()
        except QueueError as error:
            self._log.warning("leases.unreachable", error=str(error), held=len(self))

    async def _release(self, owned: OwnedPartition) -> None:
        try:
            await self._leases.release(owned.lease)
            if not owned.lost and not is_rest(owned.lease):  # of a rest it was logged at the hand-over
                self._log.info("lease.released", partition=owned.number, lanes_left=0)
        except QueueError as error:
            self._log.warning("leases.unreachable", error=str(error), held=len(self))
        self._forget(owned)

    def _forget(self, owned: OwnedPartition) -> None:
        if self._owned.get(owned.number) is owned:
            self._leaving.discard(owned.number)
            del self._owned[owned.number]
