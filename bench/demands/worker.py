"""R1 and R2: what one delivered message costs the worker process.

Measured in steady flow, with ingress, Redis and sink at work beside it, because that is how a worker lives: reads are
as full as the load makes them and nothing is preloaded. Leases, lanes, verdicts, metrics, logs and settling are in it.
"""

from bench.demand import Demand, read
from bench.probes import aiohttp_loop, pool_loop, service

DEMANDS = (
    Demand(
        "R1", "worker CPU per message / bare aiohttp POST loop", 0.40, (service, aiohttp_loop),
        read(service, "worker_us"), read(aiohttp_loop, "us"), prototype="0.18",
    ),
    Demand(
        "R2", "worker CPU per message / bare loop of our own sender", 3.0, (service, pool_loop),
        read(service, "worker_us"), read(pool_loop, "us"), prototype="1.8",
    ),
)  # fmt: skip
