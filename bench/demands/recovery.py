"""R17: recovery after an outage, beside the same backlog without one. Time and CPU count from the first success.

The service answers 503 while the backlog is stored and for a while longer, so that every lane has failed or waits for
a probe of the breaker; then it is well. Without an outage the backlog is stored first and the worker started then. One
measurement of time each, after one another: the CPU beside it does not depend on what else the machine does.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from bench.demand import Bench, Demand, Probe, read
from bench.messages import batches
from bench.rig import BenchError, Rig, resident_bytes
from bench.stacks import Sample, Shape, Stack, start_worker

LIMIT = 1.5  # times the drain without an outage
_OUTAGE = 20.0  # seconds after the last message was stored
_READ_AHEAD = 32 << 20
_INDEX = 40.0  # bytes of a worker's memory for each entry that waits
_SIZE = 1000  # messages a request
_ENVIRON = (
    ("FANOUT_MAX_BYTES", "100000000000"),
    ("FANOUT_READ_AHEAD_BYTES", str(_READ_AHEAD)),
    ("FANOUT_LOG_LEVEL", "error"),
)
_WITHIN = 900.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """`lanes` destinations with `each` messages."""

    lanes: int
    each: int

    @property
    def count(self) -> int:
        return self.lanes * self.each

    @property
    def text(self) -> str:
        return f"{self.lanes:,} x {self.each:,}"


LONG = (Backlog(20_000, 5), Backlog(40_000, 5), Backlog(500_000, 1), Backlog(1, 100_000))
SHORT = Backlog(5_000, 5)
WIDE = Backlog(20_000, 50)


async def with_outage(bench: Bench, backlog: Backlog) -> Sample:
    """Store the backlog during an outage and drain it after its end."""
    async with _opened(bench, has_worker=True) as stack:
        worker = stack.worker
        if worker is None:
            raise BenchError("no worker drains the queue")
        idle = resident_bytes(worker.pid)
        await stack.sink.refuse(on=True)
        before = worker.cpu()
        await _store(stack, backlog)
        await asyncio.sleep(bench.scale.seconds(_OUTAGE))
        index = max(0, resident_bytes(worker.pid) - idle - _READ_AHEAD) / backlog.count
        outage = worker.cpu() - before
        first = await stack.sink.answered()
        await stack.sink.refuse(on=False)
        return {**await _drained(stack, first, backlog), "index": index, "outage_cpu": outage}


async def without_outage(bench: Bench, backlog: Backlog) -> Sample:
    """Store the backlog, then start the worker."""
    async with _opened(bench, has_worker=False) as stack:
        await _store(stack, backlog)
        first = await stack.sink.answered()
        worker = await start_worker(bench.rig, stack.shape, stack.sink, stack.redis)
        return await _drained(replace(stack, worker=worker), first, backlog)


@asynccontextmanager
async def _opened(bench: Bench, *, has_worker: bool) -> AsyncIterator[Stack]:
    # A stack of its own, so that no worker remembers what it learned of the service before.
    async with Rig.open() as rig:
        shape = Shape("recovery", environ=_ENVIRON, has_worker=has_worker)
        stack = await Stack.start(rig, shape, bench.server)
        bench.version, bench.sink_kind = stack.redis.version, stack.sink.kind
        yield stack


async def _store(stack: Stack, backlog: Backlog) -> None:
    await stack.post(batches(backlog.count, _SIZE, users=backlog.lanes), _SIZE)


async def _drained(stack: Stack, first: int, backlog: Backlog) -> Sample:
    worker = stack.worker
    if worker is None:
        raise BenchError("no worker drains the queue")
    begin = await stack.sink.reached(first + 1, _WITHIN)
    before = worker.cpu()
    end = await stack.sink.reached(first + backlog.count, _WITHIN)
    await stack.settled()
    return {"seconds": end - begin, "cpu": worker.cpu() - before}


def _probe(measure: Callable[[Bench, Backlog], Awaitable[Sample]], backlog: Backlog) -> Probe:
    async def probe(bench: Bench) -> Sample:
        return await measure(bench, backlog)

    probe.__name__ = f"{measure.__name__} {backlog.text}"
    return probe


def _demands(backlog: Backlog, *, once: bool) -> tuple[Demand, ...]:
    beside, alone = _probe(with_outage, backlog), _probe(without_outage, backlog)
    return (
        Demand(
            "R17", f"drain of {backlog.text} after an outage / without one", LIMIT, (beside, alone),
            read(beside, "seconds"), read(alone, "seconds"), unit="s", once=once, aside=True,
        ),
        Demand(
            "R17", f"worker CPU of that drain of {backlog.text} / without an outage", LIMIT, (beside, alone),
            read(beside, "cpu"), read(alone, "cpu"), unit="s", once=once, aside=True,
        ),
    )  # fmt: skip


def _index() -> Demand:
    beside = _probe(with_outage, WIDE)
    return Demand(
        "R17", f"worker memory past its byte bound for each of {WIDE.count:,} entries that wait", _INDEX, (beside,),
        read(beside, "index"), unit="B", once=True,
    )  # fmt: skip


DEMANDS = (
    *_demands(SHORT, once=False),
    *(demand for backlog in LONG for demand in _demands(backlog, once=True)),
    _index(),
)
