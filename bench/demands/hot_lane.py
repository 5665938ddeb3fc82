"""R14: everything to one user. Order allows one call at a time, so the rate is 1/latency; nothing may be lost to it.

Counted from the first arrival at the sink to the last. Two users are two lanes and run at twice the rate.
"""

from bench.demand import Bench, Demand, read
from bench.demands.scaling import SLOW, SLOW_32
from bench.messages import batches
from bench.probes import bare_loop
from bench.stacks import BATCH, Sample

IDEAL = 1000.0 / SLOW  # messages a second in one lane


async def one_lane(bench: Bench) -> Sample:
    """All messages to one user, 10 ms a call."""
    return await _lanes(bench, 1)


async def one_connection(bench: Bench) -> Sample:
    """Nothing but POSTs of our own sender over one connection: what this machine makes of 10 ms."""
    sink = await bench.sink()
    await sink.set_latency(SLOW)
    try:
        return {**await bare_loop(bench, "pool", bench.scale.count(300), concurrency=1), "ideal": IDEAL}
    finally:
        await sink.set_latency(0)


async def two_lanes(bench: Bench) -> Sample:
    """All messages to two users."""
    return await _lanes(bench, 2)


async def _lanes(bench: Bench, lanes: int) -> Sample:
    stack = await bench.stack(SLOW_32)
    count = lanes * bench.scale.count(300)
    await stack.sink.record(on=True)
    sample = await stack.flow_of(batches(count, BATCH, users=lanes), count)
    moments = sorted((await stack.sink.arrivals()).values())
    await stack.sink.record(on=False)
    rate = (len(moments) - lanes) / (moments[-1] - moments[0])
    return {"rate": rate, "ideal": lanes * IDEAL, "worker_percent": sample["worker_us"] * rate / 1e4}


DEMANDS = (
    Demand(
        "R14", "rate of one hot lane / what 10 ms allow", 0.95, (one_lane,),
        read(one_lane, "rate"), read(one_lane, "ideal"), at_least=True, unit="/s",
    ),
    Demand(
        "R14", "rate of two hot lanes / what 10 ms allow", 0.95, (two_lanes,),
        read(two_lanes, "rate"), read(two_lanes, "ideal"), at_least=True, unit="/s",
    ),
    Demand(
        "R14", "rate of our own sender alone, one connection / what 10 ms allow", None, (one_connection,),
        read(one_connection, "rate"), read(one_connection, "ideal"), unit="/s",
    ),
    Demand(
        "R14", "worker with one hot lane, share of a core", None, (one_lane,), read(one_lane, "worker_percent"),
        unit="%",
    ),
)  # fmt: skip
