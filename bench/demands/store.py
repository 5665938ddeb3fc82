"""R5 and R12: what a message costs Redis, and what durability of every write costs the service."""

from bench.demand import Bench, Demand, read
from bench.probes import OURS, service
from bench.stacks import Sample, Shape

ALWAYS = Shape("ours-always", redis=("--appendfsync", "always"))


async def resp_pipeline(bench: Bench) -> Sample:
    """XADD, XREADGROUP, XACK and XDEL by hand; the server's CPU, seen from outside."""
    redis, count = await bench.keep("pipeline-redis", bench.redis), bench.scale.count(40_000)
    before = redis.cpu()
    sample: dict[str, float] = await bench.rig.result(
        "bench.references.resp_pipeline", "--redis", redis.url, "--count", count
    )
    return sample | {"us": (redis.cpu() - before) * 1e6 / count}


async def service_always(bench: Bench) -> Sample:
    """Ours, with every write of Redis on disk before it is answered."""
    return await (await bench.stack(ALWAYS)).flow(bench.scale.count(20_000))


async def service_everysec(bench: Bench) -> Sample:
    """Ours as Redis is used everywhere else here, right after."""
    return await (await bench.stack(OURS)).flow(bench.scale.count(20_000))


DEMANDS = (
    Demand(
        "R5", "Redis CPU per message / hand-written RESP pipeline", 2.0, (service, resp_pipeline),
        read(service, "redis_us"), read(resp_pipeline, "us"), prototype="1.0-1.4",
    ),
    Demand(
        "R12", "messages/s with AOF always / everysec", 0.4, (service_always, service_everysec),
        read(service_always, "rate"), read(service_everysec, "rate"), at_least=True, unit="/s", prototype="0.54",
    ),
)  # fmt: skip
