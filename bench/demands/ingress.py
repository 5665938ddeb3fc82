"""R3 and R4: what a batch and what a single message cost the ingress process, beside a FastAPI route that does nothing.

Ours parses, checks and stores; the route only reads the body. Both get the same requests from the same callers.
"""

from itertools import chain, repeat

from bench.demand import Bench, Demand, read
from bench.load import post_all
from bench.messages import PATH, batches
from bench.probes import ingress_1, ingress_100
from bench.rig import Child, answering, free_port
from bench.stacks import BATCH, Sample

# glibc gives the end of the heap back after each body or never, as it happens to lie: 1.9 or 1.3 us a message.
_KEEPS_MEMORY = {"MALLOC_TOP_PAD_": str(64 << 20)}


async def noop_100(bench: Bench) -> Sample:
    """Send batches of 100 to the route that does nothing; a batch costs it little, so there are more of them."""
    return await _noop(bench, bench.scale.count(150_000), BATCH, 8)


async def noop_1(bench: Bench) -> Sample:
    """Send single messages to it."""
    return await _noop(bench, bench.scale.count(6_000), 1, 32)


async def _noop(bench: Bench, count: int, size: int, connections: int) -> Sample:
    child, port = await bench.keep("noop-route", lambda: _start(bench))
    bodies = list(batches(count, size))
    before = child.cpu()
    await post_all(port, PATH, iter(bodies), connections=connections)
    return {"us": (child.cpu() - before) * 1e6 / count}


async def _start(bench: Bench) -> tuple[Child, int]:
    port = free_port()
    child = await bench.rig.python("noop-route", "bench.references.noop_route", str(port), **_KEEPS_MEMORY)
    await answering(child, port)
    warm = chain(repeat(next(batches(BATCH, BATCH)), 20), repeat(next(batches(1, 1)), 500))
    await post_all(port, PATH, warm, connections=32)
    return child, port


DEMANDS = (
    Demand(
        "R3", "ingress CPU per message, batch 100 / FastAPI route that only reads", 4.0, (ingress_100, noop_100),
        read(ingress_100, "ingress_us"), read(noop_100, "us"), prototype="2.3-3.5",
    ),
    Demand(
        "R4", "ingress CPU per request, batch 1 / the same route", 1.4, (ingress_1, noop_1),
        read(ingress_1, "ingress_us"), read(noop_1, "us"), prototype="0.41-1.18",
    ),
)  # fmt: skip
