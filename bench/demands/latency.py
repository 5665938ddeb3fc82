"""R9: how long a single message takes, from its POST being written to its arrival at the service.

An open loop: 200 requests a second are written whether or not earlier ones were answered, so a service that stalls is
not spared the requests that would have met the stall.
"""

from statistics import quantiles

from bench.demand import Bench, Demand, read
from bench.load import post_paced
from bench.messages import PATH, batches
from bench.probes import NAIVE, OURS
from bench.rig import BenchError
from bench.stacks import Sample, Shape

RATE = 200.0
_PATIENCE = 30.0


async def paced_ours(bench: Bench) -> Sample:
    """Pace ours at 200 a second."""
    return await _paced(bench, OURS)


async def paced_naive(bench: Bench) -> Sample:
    """Pace the naive service at 200 a second."""
    return await _paced(bench, NAIVE)


async def _paced(bench: Bench, shape: Shape) -> Sample:
    stack = await bench.stack(shape)
    bodies = list(batches(int(RATE * bench.scale.seconds(10.0)), 1))
    answered = await stack.sink.answered()
    await stack.sink.record(on=True)
    written = await post_paced(stack.port, PATH, bodies, rate=RATE)
    await stack.sink.reached(answered + len(bodies), _PATIENCE)
    arrived = await stack.sink.arrivals()
    await stack.sink.record(on=False)
    if len(arrived) != len(bodies):
        raise BenchError(f"{shape.name}: {len(arrived)} of {len(bodies)} messages arrived")
    cuts = quantiles(((arrived[seq] - moment) * 1000 for seq, moment in enumerate(written)), n=100)
    return {"p50_ms": cuts[49], "p99_ms": cuts[98]}


DEMANDS = (
    Demand(
        "R9", "p50 at 200 single messages a second / naive service", 0.8, (paced_ours, paced_naive),
        read(paced_ours, "p50_ms"), read(paced_naive, "p50_ms"), unit="ms",
    ),
    Demand(
        "R9", "p99 at 200 single messages a second / naive service", 1.0, (paced_ours, paced_naive),
        read(paced_ours, "p99_ms"), read(paced_naive, "p99_ms"), unit="ms",
    ),
    Demand("R9", "p50 itself (an aim)", 2.0, (paced_ours,), read(paced_ours, "p50_ms"), unit="ms", prototype="0.9"),
    Demand("R9", "p99 itself (an aim)", 6.0, (paced_ours,), read(paced_ours, "p99_ms"), unit="ms", prototype="3.4-4.9"),
)  # fmt: skip
