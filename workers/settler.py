"""Redis out: takes entries out of the queue when they are delivered, expired or dead. Never touches HTTP.

Rules guarded: entries that become done while a settlement is on its way are settled together with the next one, so
batches grow with the load and nothing ever waits for a batch to fill. A settlement is repeated until it is done or the
lease is not ours any more; then its holder falls silent.
"""

import asyncio
from dataclasses import dataclass, field

from fanout.clock import Clock
from fanout.errors import LeaseLostError, QueueError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters, Verdict
from fanout.queue.entry import Stored, encode
from fanout.queue.stream import Stream
from workers.tenure import Held, Tenure

_PAUSE = 0.1  # seconds between tries while the store does not answer


@dataclass(slots=True)
class _Batch:
    ids: list[bytes] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    settled: bool = False


class Settler:
    """Settles for all tenures of one worker."""

    def __init__(self, stream: Stream, dead_letters: DeadLetters, clock: Clock, metrics: Metrics) -> None:
        self._stream = stream
        self._dead_letters = dead_letters
        self._clock = clock
        self._metrics = metrics
        self._open: dict[Tenure, _Batch] = {}
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Settler {sum(len(batch.ids) for batch in self._open.values())} waiting>"

    async def settle(self, held: Held) -> bool:
        """Take one entry out of the queue; False when the lease was lost before that was certain."""
        batch = self._open.get(held.tenure)
        if batch is None:
            batch = self._open[held.tenure] = _Batch()
            self._wake.set()
        batch.ids.append(held.id)
        await batch.done.wait()
        return batch.settled

    async def park(self, held: Held, verdict: Verdict) -> bool:
        """Move one entry to the dead letters; False when the lease was lost before that was certain."""
        return await self.park_unread(held.tenure, Stored(held.id, encode(held.entry)), verdict)

    async def park_unread(self, tenure: Tenure, stored: Stored, verdict: Verdict) -> bool:
        """Move an entry nobody could read to the dead letters, as it is."""
        while tenure.lease.is_valid(self._clock.monotonic()):
            try:
                await self._dead_letters.park(tenure.partition, tenure.lease.token, stored, verdict)
            except LeaseLostError:
                break
            except QueueError:
                await self._clock.sleep(_PAUSE)
            else:
                tenure.known.discard(stored.id)
                return True
        return False

    async def run(self) -> None:
        """Settle what is handed in, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batches, self._open = self._open, {}
            await self._flush(batches)

    async def _flush(self, batches: dict[Tenure, _Batch]) -> None:
        while batches:
            started = self._clock.monotonic()
            for tenure in [tenure for tenure in batches if not tenure.lease.is_valid(started)]:
                batches.pop(tenure).done.set()
            work = [(tenure.partition, tenure.lease.token, batch.ids) for tenure, batch in batches.items()]
            try:
                answers = await self._stream.settle(work) if work else []
            except QueueError:
                await self._clock.sleep(_PAUSE)
                continue
            self._metrics.settle_seconds.observe(self._clock.monotonic() - started)
            for (tenure, batch), settled in zip(batches.items(), answers, strict=True):
                batch.settled = settled
                tenure.known.difference_update(batch.ids)
                batch.done.set()
            return
