"""R13: a backlog of a million. Drained at one pace, by a worker that does not grow, from a Redis that is not wasteful.

Measured once a run: it takes minutes. The worker is started when the backlog stands. The pace at the start and at the
end is taken over a tenth of the backlog each, away from the edges. Being one measurement of time, it meets whatever
else the machine does in those minutes; the CPU per message of the same two stretches stands beside it and does not.
"""

import asyncio
import time
from dataclasses import dataclass, replace

from bench.demand import Bench, Demand, read
from bench.messages import batches
from bench.rig import resident_bytes
from bench.stacks import BATCH, Sample, Shape, Stack, start_worker

_BACKLOG = Shape("ours-backlog", has_worker=False, environ=(("FANOUT_MAX_BYTES", "100000000000"),))
_WITHIN_EACH = 0.005  # seconds a message: slower than that is broken
_LOOK_EVERY = 0.25
_MEGABYTE = 1e6
FLAT = 1.1  # the most that counts as flat


@dataclass(frozen=True, slots=True)
class Look:
    """The drain at one moment: monotonic seconds, messages delivered, bytes and CPU seconds of the worker."""

    at: float
    delivered: int
    resident: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the drain: messages a second, and CPU microseconds of the worker per message."""

    rate: float
    us: float


async def backlog(bench: Bench) -> Sample:
    """Fill, then drain."""
    count = bench.scale.backlog
    stack = await bench.stack(_BACKLOG)
    empty = await stack.redis.memory()
    await stack.post(batches(count, BATCH), BATCH)
    held = await stack.redis.memory() - empty
    first = await stack.sink.answered()
    worker = await start_worker(bench.rig, stack.shape, stack.sink, stack.redis)
    draining = replace(stack, worker=worker)
    looks = await _watched(draining, first, count)
    early, late = stretch(looks, 0.05 * count, 0.15 * count), stretch(looks, 0.85 * count, 0.95 * count)
    return {
        "bytes": held / count,
        "rate_start": early.rate,
        "rate_end": late.rate,
        "us_start": early.us,
        "us_end": late.us,
        "rss_peak": max(look.resident for look in looks) / _MEGABYTE,
        "rss_early": next(look.resident for look in looks if look.delivered >= 0.1 * count) / _MEGABYTE,
        "worker_us": worker.cpu() * 1e6 / count,
    }


def stretch(looks: list[Look], low: float, high: float) -> Stretch:
    """Judge the drain between the first looks past `low` and past `high` messages."""
    start = next(look for look in looks if look.delivered >= low)
    end = next(look for look in looks if look.delivered >= high)
    count = end.delivered - start.delivered
    return Stretch(count / max(end.at - start.at, 1e-9), (end.cpu - start.cpu) * 1e6 / max(count, 1))


async def _watched(stack: Stack, first: int, count: int) -> list[Look]:
    worker = stack.worker
    if worker is None:
        raise ValueError("no worker drains the queue")
    looks: list[Look] = []
    async with asyncio.timeout(60 + _WITHIN_EACH * count):
        while not looks or looks[-1].delivered < count:
            await asyncio.sleep(_LOOK_EVERY)
            delivered = await stack.sink.answered() - first
            looks.append(Look(time.monotonic(), delivered, resident_bytes(worker.pid), worker.cpu()))
    await stack.settled()
    return looks


DEMANDS = (
    Demand(
        "R13", "drain of a backlog, rate at the end / at the start", 0.9, (backlog,),
        read(backlog, "rate_end"), read(backlog, "rate_start"), at_least=True, unit="/s", once=True,
    ),
    Demand(
        "R13", "worker CPU per message at the end of the drain / at the start", None, (backlog,),
        read(backlog, "us_end"), read(backlog, "us_start"), once=True,
    ),
    Demand(
        "R13", "worker memory in the drain, peak", 150.0, (backlog,), read(backlog, "rss_peak"), unit="MB", once=True
    ),
    Demand(
        "R13", "worker memory, peak / after a tenth of the backlog", FLAT, (backlog,),
        read(backlog, "rss_peak"), read(backlog, "rss_early"), unit="MB", once=True,
    ),
    Demand("R13", "Redis bytes a queued 1 KB message", 1400.0, (backlog,), read(backlog, "bytes"), unit="B", once=True),
)  # fmt: skip
