"""Redis out: takes entries out of the queue when they are delivered, expired or dead. Never touches HTTP.

Rules guarded: entries that become done while a settlement is on its way are settled together with the next one, so
batches grow with the load and nothing ever waits for a batch to fill. A settlement is repeated until it is done or the
lease is not ours any more; then its holder falls silent.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fanout.clock import Clock
from fanout.errors import LeaseLostError, QueueError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters, DeathCause
from fanout.queue.entry import StoredEntry, encode
from fanout.queue.stream import Stream
from workers.tenure import Held, Tenure

_PAUSE = 0.1  # seconds between tries while the store does not answer


Told = Callable[[bool], None]
Work = Sequence[tuple[int, str, Sequence[bytes]]]  # partition, lease token, ids


@dataclass(slots=True)
class Settlement:
    """Entries of one tenure that are settled together, and who wants to be told."""

    ids: list[bytes] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def end(self, *, settled: bool) -> None:
        """Tell them."""
        for tell in self.told:
            tell(settled)


class Settler:
    """Settles for all tenures of one worker."""

    def __init__(self, stream: Stream, dead_letters: DeadLetters, clock: Clock, metrics: Metrics) -> None:
        self._stream = stream
        self._dead_letters = dead_letters
        self._clock = clock
        self._metrics = metrics
        self._open: dict[Tenure, Settlement] = {}
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Settler {sum(len(batch.ids) for batch in self._open.values())} waiting>"

    def hand_in(self, entries: Sequence[Held], told: Told) -> None:
        """Have entries of one tenure taken out of the queue; returns at once.

        `told` is called when they are, and with False when the lease was lost before that was certain. What it raises
        ends the settler, and with it the worker.
        """
        tenure = entries[0].tenure
        batch = self._open.get(tenure)
        if batch is None:
            batch = self._open[tenure] = Settlement()
            self._wake.set()
        for held in entries:
            batch.ids.append(held.id)
        batch.told.append(told)

    async def expire(self, held: Held, ttl: float) -> bool | None:
        """Take out an entry that is older than `ttl` seconds by the store's own clock, which has the last word.

        False when it is not that old after all, None when the lease was lost before it was certain.
        """
        tenure = held.tenure
        while tenure.lease.is_valid(self._clock.monotonic()):
            try:
                expired = await self._stream.expire(tenure.partition, tenure.lease.token, held.id, ttl)
            except LeaseLostError:
                break
            except QueueError:
                await self._clock.sleep(_PAUSE)
            else:
                if expired:
                    tenure.known.discard(held.id)
                return expired
        tenure.doubt()  # a renewal on its way must not revive what goes on without this entry
        return None

    async def park(self, held: Held, cause: DeathCause) -> bool:
        """Move one entry to the dead letters; False when the lease was lost before that was certain."""
        return await self.park_unread(held.tenure, StoredEntry(held.id, encode(held.entry)), cause)

    async def park_unread(self, tenure: Tenure, stored: StoredEntry, cause: DeathCause) -> bool:
        """Move an entry nobody could read to the dead letters, as it is."""
        while tenure.lease.is_valid(self._clock.monotonic()):
            try:
                await self._dead_letters.park(tenure.partition, tenure.lease.token, stored, cause)
            except LeaseLostError:
                break
            except QueueError:
                await self._clock.sleep(_PAUSE)
            else:
                tenure.known.discard(stored.id)
                return True
        tenure.doubt()
        return False

    async def run(self) -> None:
        """Settle what is handed in, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batches, self._open = self._open, {}
            await self._flush(batches)

    async def _flush(self, batches: dict[Tenure, Settlement]) -> None:
        while batches:
            started = self._clock.monotonic()
            for tenure in [tenure for tenure in batches if not tenure.lease.is_valid(started)]:
                tenure.doubt()
                batches.pop(tenure).end(settled=False)
            work = [(tenure.partition, tenure.lease.token, batch.ids) for tenure, batch in batches.items()]
            try:
                answers = await self._take_out(work) if work else []
            except QueueError:
                await self._clock.sleep(_PAUSE)
                continue
            self._metrics.settle_seconds.observe(self._clock.monotonic() - started)
            for (tenure, batch), settled in zip(list(batches.items()), answers, strict=True):
                if settled is None:
                    continue  # its part of the store is away; it is tried again
                del batches[tenure]
                if not settled:
                    tenure.doubt()
                tenure.known.difference_update(batch.ids)
                batch.end(settled=settled)
            if batches:
                await self._clock.sleep(_PAUSE)

    async def _take_out(self, work: Work) -> list[bool | None]:
        return await self._stream.settle(work)
