"""`python -m bench.fairness`: what a noisy neighbour does to a quiet hub.

Source of the demand: a lane with 100,000 waiting messages, or a hub whose destination is dead, leaves the p99 of a
quiet hub within twice its p99 alone. Latency is from the POST to the far side's arrival, for one message every 20 ms.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from bench.far_side import FarSide, far_side
from bench.rig import Rig

_PROBES = 400
_EVERY = 0.02
_NEIGHBOUR = 100_000


async def main(neighbour: int = _NEIGHBOUR) -> None:
    """Measure alone, beside one long lane, and beside a dead hub."""
    print("quiet hub              p50 ms    p99 ms   p99 / alone")
    async with Rig.open() as rig, far_side(rig, workers=1) as far:
        await far.latency(0.005)
        alone = await probe(far, "alone")
        row("alone", alone, alone)
        await fill(far, neighbour, {"userId": "hot"})
        row(f"beside {neighbour:,} waiting", await probe(far, "hot"), alone)
    async with Rig.open() as rig, far_side(rig, workers=1) as far:
        rules = [{"kind": "latency", "seconds": 0.005}]
        await far.faults([{"kind": "status", "status": 503, "match": {"path": "/hubs/noisy/"}}, *rules])
        await fill(far, neighbour // 10, {})
        row("beside a dead hub", await probe(far, "dead"), alone)


async def fill(far: FarSide, count: int, to: dict[str, str]) -> None:
    """Put the neighbour's messages into the queue; without a user each goes to one of a thousand."""
    for start in range(0, count, 5000):
        numbers = range(start, min(start + 5000, count))
        items = [{**(to or {"userId": f"u{n % 1000}"}), "target": "t", "arguments": [n]} for n in numbers]
        await far.post("noisy", items)


async def probe(far: FarSide, name: str) -> list[float]:
    """Send one message at a time to the quiet hub and give the latencies in seconds, sorted."""
    sent: dict[str, float] = {}
    since = (await far.journal())[-1:]
    async with asyncio.TaskGroup() as group:
        begin = time.monotonic()
        for number in range(_PROBES):
            await asyncio.sleep(max(0.0, begin + number * _EVERY - time.monotonic()))
            mark = f"{name}-{number}"
            sent[mark] = time.time()
            group.create_task(far.post("quiet", [{"userId": f"q{number % 50}", "target": "t", "arguments": [mark]}]))
    await asyncio.sleep(3)
    last = since[0]["sequence"] if since else 0
    arrived = {e["body"].split('"')[-2]: e["wall"] for e in await far.journal(last) if "/hubs/quiet/" in e["path"]}
    return sorted(arrived[mark] - at for mark, at in sent.items() if mark in arrived)


def row(name: str, found: Sequence[float], alone: Sequence[float]) -> None:
    """Print one line; what did not arrive in time is said."""
    p99 = quantile(found, 0.99)
    missing = "" if len(found) == _PROBES else f"   {_PROBES - len(found)} not within 3 s"
    ratio = p99 / quantile(alone, 0.99)
    print(f"{name:<22} {quantile(found, 0.5) * 1e3:>6.1f} {p99 * 1e3:>9.1f} {ratio:>13.2f}{missing}", flush=True)


def quantile(found: Sequence[float], share: float) -> float:
    """Give a quantile of sorted numbers; infinity when there are none."""
    return found[min(len(found) - 1, int(len(found) * share))] if found else float("inf")


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*(int(argument) for argument in sys.argv[1:]))))
