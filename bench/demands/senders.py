"""S: our HTTP client beside the others, plain and TLS: bare loops, 128 calls in flight, same sink.

One thing is demanded: what TLS may cost our own client. The far side of all TLS rows, and of the plain loop that row
compares with, is nginx; where it is not installed a Python program takes its place (see slow_sink) and that row is left
out.
"""

from bench.demand import Bench, Demand, Probe, read
from bench.front import Front, is_available
from bench.probes import SENDERS, aiohttp_loop, bare_loop, pool_loop
from bench.sink import CA_FILE, Sink
from bench.stacks import Sample


async def pyreqwest_loop(bench: Bench) -> Sample:
    """Nothing but POSTs with pyreqwest."""
    return await bare_loop(bench, "pyreqwest", bench.scale.count(20_000))


async def httpx_loop(bench: Bench) -> Sample:
    """Nothing but POSTs with httpx."""
    return await bare_loop(bench, "httpx", bench.scale.count(1_000))


async def pool_front(bench: Bench) -> Sample:
    """Loop our own sender against the far side of the TLS rows, without TLS."""
    front = await _front(bench)
    sample: dict[str, float] = await bench.rig.result(
        SENDERS, "--client", "pool", "--port", front.plain, "--count", bench.scale.count(40_000)
    )
    return sample


async def pool_tls(bench: Bench) -> Sample:
    """Loop our own sender over TLS."""
    return await _over_tls(bench, "pool", 40_000)


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
    if is_available():
        front = await _front(bench)
        port, authority = front.tls, front.authority
    else:
        sink = await bench.keep("tls-sink", lambda: Sink.start_tls(bench.rig))
        port, authority = sink.port, bench.rig.directory / CA_FILE
    sample: dict[str, float] = await bench.rig.result(
        SENDERS, "--client", client, "--port", port, "--count", bench.scale.count(count), "--authority", authority
    )
    return sample


async def _front(bench: Bench) -> Front:
    sink = await bench.sink()
    return await bench.keep("front", lambda: Front.start(bench.rig, sink.port))


def _row(text: str, loop: Probe, floor: Probe) -> Demand:
    return Demand("S", text, None, (loop, floor), read(loop, "us"), read(floor, "us"), aside=True)


_OWN = (
    (
        Demand(
            "S", "own sender, TLS / plain, both to nginx", 1.4, (pool_tls, pool_front),
            read(pool_tls, "us"), read(pool_front, "us"),
        ),
    )
    if is_available()
    else ()
)  # fmt: skip
DEMANDS = (
    _row("own sender, bare loop / aiohttp", pool_loop, aiohttp_loop),
    _row("pyreqwest, bare loop / aiohttp", pyreqwest_loop, aiohttp_loop),
    _row("httpx, bare loop / aiohttp", httpx_loop, aiohttp_loop),
    *_OWN,
    _row("own sender, TLS / aiohttp, TLS", pool_tls, aiohttp_tls),
    _row("pyreqwest, TLS / aiohttp, TLS", pyreqwest_tls, aiohttp_tls),
    _row("httpx, TLS / aiohttp, TLS", httpx_tls, aiohttp_tls),
)
