"""R11: a service with nothing to do costs next to nothing. Measured on the stack that has just worked."""

import asyncio
import time

from bench.demand import Bench, Demand, read
from bench.probes import OURS
from bench.stacks import Sample

_REST = 1.0  # seconds before it counts: what the last flow left is done


async def idle(bench: Bench) -> Sample:
    """Nothing at all, for a while; the share of one core each process takes, in percent."""
    stack = await bench.stack(OURS)
    await asyncio.sleep(_REST)
    before, begin = stack.cpu(), time.monotonic()
    await asyncio.sleep(bench.scale.seconds(10.0))
    wall = time.monotonic() - begin
    return {name: (cpu - before[name]) * 100 / wall for name, cpu in stack.cpu().items()}


DEMANDS = tuple(
    Demand(
        "R11", f"{name} without traffic, share of a core", 1.0, (idle,), read(idle, name), unit="%", prototype="0.15"
    )
    for name in ("ingress", "worker", "redis")
)
