"""What a process measures about its surroundings and itself.

Rules guarded: a scrape asks Redis at most once a second, however many scrape. When Redis does not answer, its values
are not known and are not exported, so that an old depth cannot look like a new one.
"""

from typing import Protocol

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.instruments import Histogram
from fanout.metrics import Metrics
from fanout.queue.entry import Depth
from fanout.queue.keys import hub_and_endpoint, hub_of_flow
from fanout.queue.pauses import Pauses

_TIMEOUT = 1.0
_LAG_INTERVAL = 0.1


class MeasuredQueue(Protocol):
    """The queue as it is measured. Each call raises QueueError when the store does not answer."""

    async def depth(self) -> Depth:
        """Count what waits."""

    async def memory_ratio(self) -> float | None:
        """Return the share of its memory that the store uses; None when it does not say."""


class QueueReadings:
    """The last readings of queue and store, exported as metrics."""

    def __init__(self, queue: MeasuredQueue, metrics: Metrics, clock: Clock, pauses: Pauses | None = None) -> None:
        self._queue = queue
        self._clock = clock
        self._pauses = pauses
        self._endpoints = metrics.by_endpoint.names
        self._read_at = float("-inf")
        self._depth: Depth | None = None
        self._latency: float | None = None
        self._memory: float | None = None
        self._paused: dict[str, float] | None = None
        metrics.gauges.watch(
            queue_depth=self._by_partition,
            oldest_age_seconds=lambda: None if self._depth is None else self._depth.ages,
            partitions=self._by_state,
            unknown_endpoint_entries=self._for_unknown_endpoints,
            flows=lambda: None if self._depth is None else len(self._depth.flows),
            pauses=lambda: self._paused,
            dead_letters=lambda: None if self._depth is None else self._depth.dead_letters,
            oldest_dead_letter_age_seconds=lambda: None if self._depth is None else self._depth.dead_age,
            redis_up=lambda: float(self._depth is not None),
            redis_latency_seconds=lambda: self._latency,
            redis_memory_ratio=lambda: self._memory,
        )

    @property
    def depth(self) -> Depth | None:
        """What waited when the queue was read last; None when it did not answer."""
        return self._depth

    def _by_partition(self) -> dict[str, float] | None:
        if self._depth is None:
            return None
        return {str(number): float(entries) for number, entries in enumerate(self._depth.entries)}

    def _for_unknown_endpoints(self) -> float | None:
        if self._depth is None:
            return None
        flows = ((hub_and_endpoint(hub_of_flow(each.flow))[1], each.entries) for each in self._depth.flows)
        return float(sum(entries for endpoint, entries in flows if endpoint not in self._endpoints))

    def _by_state(self) -> dict[str, float] | None:
        if self._depth is None:
            return None
        return {"owned": len(self._depth.entries) - self._depth.unowned, "unowned": self._depth.unowned}

    async def _by_cause(self) -> dict[str, float] | None:
        if self._pauses is None:
            return None
        asked = [pause.is_asked for pause in await self._pauses.current()]
        return {"operator": float(asked.count(False)), "service": float(asked.count(True))}

    async def refresh(self) -> None:
        """Read again, unless that was done within the last second."""
        began = self._clock.monotonic()
        if began - self._read_at < _TIMEOUT:
            return
        self._read_at = began
        self._depth = self._latency = self._memory = self._paused = None
        try:
            async with self._clock.timeout(_TIMEOUT):
                self._depth = await self._queue.depth()
                self._latency = self._clock.monotonic() - began
                self._memory = await self._queue.memory_ratio()
                self._paused = await self._by_cause()
        except (QueueError, TimeoutError):
            return


async def measure_loop_lag(histogram: Histogram, clock: Clock) -> None:
    """Observe, ten times a second, how late a task that sleeps is woken up."""
    while True:
        began = clock.monotonic()
        await clock.sleep(_LAG_INTERVAL)
        histogram.observe(max(0.0, clock.monotonic() - began - _LAG_INTERVAL))
