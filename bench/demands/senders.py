"""S: our HTTP client beside the others, plain and TLS: bare loops, 128 calls in flight, same sink. Nothing is demanded.

The TLS sink is a Python program (see slow_sink), the same for all four.
"""

from bench.demand import Bench, Demand, Probe, read
from bench.probes import SENDERS, aiohttp_loop, bare_loop, pool_loop
from bench.sink import CA_FILE, Sink
from bench.stacks import Sample


async def pyreqwest_loop(bench: Bench) -> Sample:
    """Nothing but POSTs with pyreqwest."""
    return await bare_loop(bench, "pyreqwest", bench.scale.count(20_000))


async def httpx_loop(bench: Bench) -> Sample:
    """Nothing but POSTs with httpx."""
    return await bare_loop(bench, "httpx", bench.scale.count(1_000))


async def pool_tls(bench: Bench) -> Sample:
    """Loop our own sender over TLS."""
    return await _over_tls(bench, "pool", 20_000)


async def aiohttp_tls(bench: Bench) -> Sample:
    """Loop aiohttp over TLS."""
    return await _over_tls(bench, "aiohttp", 8_000)


async def pyreqwest_tls(bench: Bench) -> Sample:
    """Loop pyreqwest over TLS."""
    return await _over_tls(bench, "pyreqwest", 16_000)


async def httpx_tls(bench: Bench) -> Sample:
    """Loop httpx over TLS."""
    return await _over_tls(bench, "httpx", 1_000)


async def _over_tls(bench: Bench, client: str, count: int) -> Sample:
    sink = await bench.keep("tls-sink", lambda: Sink.start_tls(bench.rig))
    authority = bench.rig.directory / CA_FILE
    sample: dict[str, float] = await bench.rig.result(
        SENDERS, "--client", client, "--port", sink.port, "--count", bench.scale.count(count), "--authority", authority
    )
    return sample


def _row(text: str, loop: Probe, floor: Probe) -> Demand:
    return Demand("S", text, None, (loop, floor), read(loop, "us"), read(floor, "us"), aside=True)


DEMANDS = (
    _row("own sender, bare loop / aiohttp", pool_loop, aiohttp_loop),
    _row("pyreqwest, bare loop / aiohttp", pyreqwest_loop, aiohttp_loop),
    _row("httpx, bare loop / aiohttp", httpx_loop, aiohttp_loop),
    _row("own sender, TLS / aiohttp, TLS", pool_tls, aiohttp_tls),
    _row("pyreqwest, TLS / aiohttp, TLS", pyreqwest_tls, aiohttp_tls),
    _row("httpx, TLS / aiohttp, TLS", httpx_tls, aiohttp_tls),
)
