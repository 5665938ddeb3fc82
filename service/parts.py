"""What both sides of a process share: the store, opened and looked over, the metrics, the log and the traces.

Rule guarded: a store that does not answer is waited for briefly and then named in one clear line; a store that may lose
what was accepted is named in the log at start.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fanout.clock import Clock
from fanout.errors import ConfigurationError, QueueError
from fanout.log import Logger, get_logger
from fanout.metrics import Metrics
from fanout.queue.store import prepare
from fanout.queue.stream import Stream
from fanout.queue.traces import Traces, open_traces
from fanout.redis.client import RedisClient
from fanout.redis.durability import Durability, durability_of
from fanout.redis.open import open_redis
from fanout.settings import Settings

_STORE_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What both sides of a process share."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    redis_client: RedisClient
    stream: Stream
    log: Logger
    traces: Traces | None = None


@asynccontextmanager
async def open_parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    """Open what a process needs for as long as the block lasts; ConfigurationError when the store cannot be used."""
    redis_client = open_redis(settings.redis_url.get_secret_value(), clock, ca=settings.redis_ca)
    durability = durability_of(settings.durability, settings.durability_replicas, settings.durability_timeout)
    try:
        await _prepare(redis_client, settings, durability, clock)
        limits = {"partitions": settings.partitions, "max_depth": settings.max_depth}
        stream = Stream(redis_client, clock, **limits, dedup_window=settings.dedup_window, durability=durability)
        metrics = Metrics()
        metrics.expect_partitions(settings.partitions)
        async with open_traces(
            redis_client, clock, keep=settings.trace_keep, most=settings.trace_max_per_second
        ) as traces:
            metrics.gauges.watch(trace_events_skipped=lambda: traces.skipped, trace_events_lost=lambda: traces.lost)
            yield Parts(settings, clock, metrics, redis_client, stream, get_logger(), traces)
    finally:
        await redis_client.aclose()


async def _prepare(redis_client: RedisClient, settings: Settings, durability: Durability | None, clock: Clock) -> None:
    deadline = clock.monotonic() + _STORE_WITHIN
    while True:
        try:
            findings = await prepare(redis_client, settings.partitions, durability)
        except QueueError as error:
            if clock.monotonic() > deadline:
                raise ConfigurationError(f"{error} Start Redis there, or name another in FANOUT_REDIS_URL.") from None
            await clock.sleep(0.2)
        else:
            for finding in findings:
                get_logger().warning("store.unsafe", finding=finding.text)
            return
