"""R8: the cost of a message must not grow with the calls in flight, nor with the number of destinations.

Concurrency is measured against a sink that takes 10 ms, so that the calls really are in flight at once. Destinations
are drawn at random from 100,000, after each was sent to once.
"""

import random
from collections.abc import Iterator

from bench.demand import Bench, Demand, read
from bench.messages import item
from bench.probes import OURS
from bench.stacks import BATCH, Sample, Shape

SLOW = 10.0  # milliseconds
SLOW_32 = Shape("ours-32", latency=SLOW, environ=(("FANOUT_CONCURRENCY", "32"),))
SLOW_256 = Shape("ours-256", latency=SLOW, environ=(("FANOUT_CONCURRENCY", "256"),))
DESTINATIONS = 100_000
MANY = Shape("ours-100k", users=DESTINATIONS)


async def in_flight_32(bench: Bench) -> Sample:
    """32 calls in flight, 10 ms each."""
    return await (await bench.stack(SLOW_32)).flow(bench.scale.count(10_000))


async def in_flight_256(bench: Bench) -> Sample:
    """256 calls in flight, 10 ms each."""
    return await (await bench.stack(SLOW_256)).flow(bench.scale.count(10_000))


async def destinations_100k(bench: Bench) -> Sample:
    """Messages to users drawn from 100,000."""
    count = bench.scale.count(20_000)
    return await (await bench.stack(MANY)).flow_of(iter(list(_drawn(count))), count)


async def destinations_1k(bench: Bench) -> Sample:
    """Messages to 1,000 users, right after."""
    return await (await bench.stack(OURS)).flow(bench.scale.count(20_000))


def _drawn(count: int) -> Iterator[bytes]:
    draw = random.Random(count)  # noqa: S311 - the same users in every run
    for start in range(0, count, BATCH):
        items = [item(seq, draw.randrange(DESTINATIONS)) for seq in range(start, start + BATCH)]
        yield f"[{','.join(items)}]".encode()


DEMANDS = (
    Demand(
        "R8", "worker CPU per message at 256 in flight / at 32 (10 ms sink)", 1.5, (in_flight_256, in_flight_32),
        read(in_flight_256, "worker_us"), read(in_flight_32, "worker_us"), prototype="0.6-1.0",
    ),
    Demand(
        "R8", "worker CPU per message at 100,000 destinations / at 1,000", 1.3, (destinations_100k, destinations_1k),
        read(destinations_100k, "worker_us"), read(destinations_1k, "worker_us"),
    ),
)  # fmt: skip
