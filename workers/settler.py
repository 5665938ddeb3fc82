"""Redis out: takes entries out of the queue when they are delivered, expired or dead. Never touches HTTP.

Rules guarded: entries that are done while a settlement is on its way are settled together with the next one, so that
batches grow with the load and nothing waits for a batch to fill. A settlement is repeated until it is done or the lease
is lost. From then on nothing is sent or settled under that lease.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from fanout.clock import Clock
from fanout.errors import LeaseLostError, QueueError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters, DeathCause, Parked
from fanout.queue.entry import Settled, StoredEntry, apart, encode
from fanout.queue.stream import Stream
from workers.partition import BufferedEntry, OwnedFlow, OwnedPartition

_PAUSE = 0.1  # seconds between tries while the store does not answer

# Called with True when entries are settled, with False when the lease was lost before that was certain.
OnSettled = Callable[[bool], None]


@dataclass(slots=True)
class _Group:
    """Entries of one flow that share a body, or have none beside the stream."""

    size: int = 0
    ids: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Settlement:
    """Entries of one partition that are settled together."""

    groups: dict[tuple[OwnedFlow, str], _Group] = field(default_factory=dict)
    callbacks: list[OnSettled] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(group.ids) for group in self.groups.values())

    def add(self, buffered: BufferedEntry) -> None:
        """Add an entry."""
        place = (buffered.flow, buffered.entry.body_ref)
        group = self.groups.get(place)
        if group is None:
            group = self.groups[place] = _Group()
        group.size += buffered.size
        group.ids.append(buffered.id)

    def settled(self) -> list[Settled]:
        """Return what the queue is asked to settle."""
        return [Settled(flow.name, body, group.size, group.ids) for (flow, body), group in self.groups.items()]

    def end(self, *, settled: bool) -> None:
        """Forget the entries and run the callbacks."""
        for (flow, _body), group in self.groups.items():
            flow.known.difference_update(group.ids)
        for callback in self.callbacks:
            callback(settled)


class Settler:
    """Settles for all partitions of one worker."""

    def __init__(self, stream: Stream, dead_letters: DeadLetters, clock: Clock, metrics: Metrics) -> None:
        self._stream = stream
        self._dead_letters = dead_letters
        self._clock = clock
        self._metrics = metrics
        self._open: dict[OwnedPartition, Settlement] = {}
        self._flushing: set[Hashable] = set()  # nodes to which a settlement is on its way
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Settler {sum(map(len, self._open.values()))} waiting>"

    def settle(self, entries: Sequence[BufferedEntry], on_settled: OnSettled) -> None:
        """Have entries of one partition taken out of the queue; return at once.

        An exception raised by `on_settled` ends the settler, and with it the worker.
        """
        owned = entries[0].flow.partition
        batch = self._open.get(owned)
        if batch is None:
            batch = self._open[owned] = Settlement()
            self._wake.set()
        for buffered in entries:
            batch.add(buffered)
        batch.callbacks.append(on_settled)

    async def expire(self, buffered: BufferedEntry, ttl: float) -> bool | None:
        """Take out an entry that is older than `ttl` seconds by the store's own clock.

        Return False when it is not that old, None when the lease was lost before that was certain.
        """
        owned = buffered.partition
        while owned.is_held(self._clock.monotonic()):
            token = owned.lease.token
            try:
                expired = await self._stream.expire(owned.number, token, _alone(buffered), ttl)
            except LeaseLostError:
                if not owned.is_moving(token):
                    break
                await self._clock.sleep(_PAUSE)
            except QueueError:
                await self._clock.sleep(_PAUSE)
            else:
                if expired:
                    buffered.flow.known.discard(buffered.id)
                return expired
        owned.doubt()  # a renewal on its way must not revive what goes on without this entry
        return None

    async def park(self, buffered: BufferedEntry, cause: DeathCause) -> bool:
        """Move an entry to the dead letters; return False when the lease was lost before that was certain."""
        entry = buffered.entry
        stored = StoredEntry(buffered.id, encode(apart(entry, entry.body_ref) if entry.body_ref else entry))
        return await self.park_unread(buffered.flow, Parked(buffered.flow.name, stored, entry.body_ref), cause)

    async def park_unread(self, flow: OwnedFlow, parked: Parked, cause: DeathCause) -> bool:
        """Move an entry that cannot be read to the dead letters, unchanged; return as `park`."""
        owned = flow.partition
        while owned.is_held(self._clock.monotonic()):
            token = owned.lease.token
            try:
                deleted = await self._dead_letters.park(owned.number, token, parked, cause)
            except LeaseLostError:
                if not owned.is_moving(token):
                    break
                await self._clock.sleep(_PAUSE)
            except QueueError:
                await self._clock.sleep(_PAUSE)
            else:
                self._metrics.dropped_letters["bytes"].inc(deleted)
                flow.known.discard(parked.entry.id)
                return True
        owned.doubt()
        return False

    async def run(self) -> None:
        """Settle until cancelled. Partitions of a node that does not answer hold up no others."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for node, batches in self._take_open().items():
                    if node is None:  # one server has all partitions
                        await self._flush(batches)
                    else:
                        self._flushing.add(node)
                        group.create_task(self._flush_node(node, batches))

    def _take_open(self) -> dict[Hashable, dict[OwnedPartition, Settlement]]:
        """Remove and return what may be settled now: one settlement at a time is on its way to each node."""
        by_node: dict[Hashable, dict[OwnedPartition, Settlement]] = {}
        for owned, batch in self._open.items():
            node = self._stream.node_of(owned.number)
            if node not in self._flushing:
                by_node.setdefault(node, {})[owned] = batch
        for batches in by_node.values():
            for owned in batches:
                del self._open[owned]
        return by_node

    async def _flush_node(self, node: Hashable, batches: dict[OwnedPartition, Settlement]) -> None:
        await self._flush(batches)
        self._flushing.discard(node)
        if self._open:
            self._wake.set()

    async def _flush(self, batches: dict[OwnedPartition, Settlement]) -> None:
        while batches:
            started = self._clock.monotonic()
            for owned in [owned for owned in batches if not owned.is_held(started)]:
                owned.doubt()
                batches.pop(owned).end(settled=False)
            work = [(owned.number, owned.lease.token, batch.settled()) for owned, batch in batches.items()]
            try:
                answers = await self._stream.settle(work) if work else []
            except QueueError:
                await self._clock.sleep(_PAUSE)
                continue
            self._metrics.settle_seconds.observe(self._clock.monotonic() - started)
            for (owned, batch), (_number, token, _groups), settled in zip(
                list(batches.items()), work, answers, strict=True
            ):
                if settled is None or (not settled and owned.is_moving(token)):
                    continue  # its part of the store does not answer, or its lease became another: it is tried again
                del batches[owned]
                owned.heard_from(self._stream.generation(owned.number))
                if not settled:
                    owned.doubt()
                batch.end(settled=settled)
            if batches:
                await self._clock.sleep(_PAUSE)


def _alone(buffered: BufferedEntry) -> Settled:
    return Settled(buffered.flow.name, buffered.entry.body_ref, buffered.size, [buffered.id])
