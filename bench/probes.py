"""What several demands measure: the service under load, its peers, and the bare loops.

Rule guarded: each probe is one measurement of one round, long enough to mean something and no longer.
"""

from bench.demand import Bench
from bench.stacks import BATCH, Sample, Shape

OURS = Shape("ours")
NAIVE = Shape("naive", naive=True)
WITH_AIOHTTP = Shape("ours-aiohttp", sender="aiohttp")
FRONT = Shape("ours-front", front="plain")
FRONT_TLS = Shape("ours-tls", front="tls")
DOOR = Shape("door", has_worker=False)
SENDERS = "bench.references.senders"


async def service(bench: Bench) -> Sample:
    """Ours, whole: batches of 100 in, calls out, steady flow with the queue never empty."""
    return await (await bench.stack(OURS)).flow(bench.scale.count(20_000))


async def service_front(bench: Bench) -> Sample:
    """Ours, whole, with nginx in front of the sink."""
    return await (await bench.stack(FRONT)).flow(bench.scale.count(20_000))


async def service_tls(bench: Bench) -> Sample:
    """Ours, whole, with nginx in front of the sink and TLS between worker and nginx."""
    return await (await bench.stack(FRONT_TLS)).flow(bench.scale.count(20_000))


async def naive_service(bench: Bench) -> Sample:
    """Put the naive service under the same load."""
    return await (await bench.stack(NAIVE)).flow(bench.scale.count(1_500))


async def aiohttp_service(bench: Bench) -> Sample:
    """Ours with aiohttp as its sender."""
    return await (await bench.stack(WITH_AIOHTTP)).flow(bench.scale.count(8_000))


async def aiohttp_loop(bench: Bench) -> Sample:
    """Nothing but POSTs with aiohttp."""
    return await bare_loop(bench, "aiohttp", bench.scale.count(10_000))


async def pool_loop(bench: Bench) -> Sample:
    """Nothing but POSTs with our own sender."""
    return await bare_loop(bench, "pool", bench.scale.count(40_000))


async def bare_loop(bench: Bench, client: str, count: int, concurrency: int = 128) -> Sample:
    """POST with one client; also what the sink paid for it."""
    sink = await bench.sink()
    cpu, answered = sink.child.cpu(), await sink.answered()
    sample: dict[str, float] = await bench.rig.result(
        SENDERS, "--client", client, "--port", sink.port, "--count", count, "--concurrency", concurrency
    )
    sink_us = (sink.child.cpu() - cpu) * 1e6 / (await sink.answered() - answered)
    return {**sample, "sink_us": sink_us, "sink_share": sink_us * sample["rate"] / 1e6}


async def ingress_100(bench: Bench) -> Sample:
    """Our ingress alone, 100 messages a request, without a worker."""
    return await (await bench.stack(DOOR)).append(bench.scale.count(30_000), BATCH)


async def ingress_1(bench: Bench) -> Sample:
    """Our ingress alone, one message a request, 32 callers."""
    return await (await bench.stack(DOOR)).append(bench.scale.count(6_000), 1)
