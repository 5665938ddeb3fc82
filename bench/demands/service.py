"""R6 and R7: the whole service beside the naive one and beside itself with another sender."""

from bench.demand import Demand, read
from bench.probes import aiohttp_service, naive_service, service

DEMANDS = (
    Demand(
        "R6", "ingress + worker + Redis CPU per message / naive service", 1 / 25, (service, naive_service),
        read(service, "total_us"), read(naive_service, "total_us"), prototype="1/51 = 0.0196",
    ),
    Demand(
        "R7", "messages/s end to end / naive service", 25.0, (service, naive_service),
        read(service, "rate"), read(naive_service, "rate"), at_least=True, unit="/s", prototype="40",
    ),
    Demand(
        "R7", "messages/s end to end / same service with an aiohttp sender", 2.5, (service, aiohttp_service),
        read(service, "rate"), read(aiohttp_service, "rate"), at_least=True, unit="/s", prototype="4",
    ),
)  # fmt: skip
