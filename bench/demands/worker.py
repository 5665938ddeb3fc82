"""R1 and R2: what one delivered message costs the worker process, and what TLS adds to it.

Measured in steady flow, with ingress, Redis and sink at work beside it, because that is how a worker lives: reads are
as full as the load makes them and nothing is preloaded. Leases, lanes, verdicts, metrics, logs and settling are in it.
"""

from bench.demand import Demand, read
from bench.front import is_available
from bench.probes import aiohttp_loop, pool_loop, service, service_front, service_tls

DEMANDS: tuple[Demand, ...] = (
    Demand(
        "R1", "worker CPU per message / bare aiohttp POST loop", 0.40, (service, aiohttp_loop),
        read(service, "worker_us"), read(aiohttp_loop, "us"), prototype="0.18",
    ),
    Demand(
        "R2", "worker CPU per message / bare loop of our own sender", 3.0, (service, pool_loop),
        read(service, "worker_us"), read(pool_loop, "us"), prototype="1.8",
    ),
)  # fmt: skip
if is_available():
    DEMANDS += (
        Demand(
            "R1", "worker CPU per message, TLS / plain, both through nginx", 1.3, (service_tls, service_front),
            read(service_tls, "worker_us"), read(service_front, "worker_us"),
        ),
    )  # fmt: skip
