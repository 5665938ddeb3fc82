"""`python -m bench.fairness`: what a noisy neighbour does to a quiet hub.

Source of the demand: a lane with 100,000 waiting messages, or a hub whose destinations are dead, leaves the p99 of a
quiet hub within twice its p99 alone. Latency is from the POST to the far side's arrival, for one message every 20 ms.
Rounds are interleaved and the median over them counts, because p99 on a shared machine is mostly the machine's.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from math import inf
from statistics import median

from bench.far_side import FarSide, far_side
from bench.rig import Rig

_PROBES = 600
_EVERY = 0.02
_NEIGHBOUR = 100_000
_ROUNDS = 3
_LATENCY = 0.005
_DEAD = 3_000  # destinations, more than a worker reads ahead
_PER_DEAD = 10  # messages for each
_READ_WITHIN = 60.0
_MARKS = 200


async def main(neighbour: int = _NEIGHBOUR, rounds: int = _ROUNDS) -> None:
    """Measure alone, beside one long lane, and beside a dead hub, `rounds` times; print the medians at the end."""
    print("quiet hub                       p50 ms    p99 ms")
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, run in (
            ("alone", alone),
            (f"beside {neighbour:,} in one lane", long_lane),
            ("beside a dead hub", dead),
        ):
            async with Rig.open() as rig, far_side(rig, workers=1) as far:
                found.setdefault(name, []).append(row(name, await run(far, neighbour)))
    reference, *others = found
    for name in others:
        print(f"{name}: p99 is {median(found[name]) / median(found[reference]):.2f} times that alone (medians)")


async def alone(far: FarSide, _neighbour: int) -> list[float]:
    """Return the latencies without a neighbour."""
    await far.latency(_LATENCY)
    return await probe(far)


async def long_lane(far: FarSide, neighbour: int) -> list[float]:
    """Beside one user with `neighbour` messages, once the worker has read past them."""
    await far.latency(_LATENCY)
    await fill(far, neighbour, ["hot"])
    begin = time.monotonic()
    await read_past(far)
    print(
        f"  ({neighbour:,} stored messages were read past {time.monotonic() - begin:.1f} s after the last was stored)"
    )
    return await probe(far)


async def dead(far: FarSide, neighbour: int) -> list[float]:
    """Beside a hub all of whose destinations are dead: they are more than a worker reads ahead."""
    rules = [{"kind": "latency", "seconds": _LATENCY}]
    await far.faults([{"kind": "status", "status": 503, "match": {"path": "/hubs/noisy/"}}, *rules])
    await fill(far, min(neighbour, _PER_DEAD * _DEAD), [f"u{number}" for number in range(_DEAD)])
    return await probe(far)


async def read_past(far: FarSide) -> None:
    """Return when quiet messages that were stored last, in every partition, have arrived: all before them was read."""
    await far.post("quiet", [{"userId": f"s{n}", "target": "t", "arguments": ["read"]} for n in range(_MARKS)])
    begin = time.monotonic()
    while sum("/hubs/quiet/" in call["path"] for call in await far.journal()) < _MARKS:
        if time.monotonic() - begin > _READ_WITHIN:
            raise SystemExit("the worker did not read past the long lane")
        await asyncio.sleep(0.2)


async def fill(far: FarSide, count: int, users: Sequence[str]) -> None:
    """Put the neighbour's messages into the queue, to these users in turn."""
    for start in range(0, count, 5000):
        numbers = range(start, min(start + 5000, count))
        await far.post("noisy", [{"userId": users[n % len(users)], "target": "t", "arguments": [n]} for n in numbers])


async def probe(far: FarSide) -> list[float]:
    """Send one message at a time to the quiet hub and give the latencies in seconds, sorted."""
    sent: dict[str, float] = {}
    since = (await far.journal())[-1:]
    async with asyncio.TaskGroup() as group:
        begin = time.monotonic()
        for number in range(_PROBES):
            await asyncio.sleep(max(0.0, begin + number * _EVERY - time.monotonic()))
            mark = f"probe-{number}"
            sent[mark] = time.time()
            group.create_task(far.post("quiet", [{"userId": f"q{number % 50}", "target": "t", "arguments": [mark]}]))
    await asyncio.sleep(3)
    last = since[0]["sequence"] if since else 0
    arrived = {e["body"].split('"')[-2]: e["wall"] for e in await far.journal(last) if "/hubs/quiet/" in e["path"]}
    return sorted(arrived.get(mark, inf) - at for mark, at in sent.items())


def row(name: str, found: Sequence[float]) -> float:
    """Print one line and give the p99; what did not arrive in time is said."""
    p50, p99 = (found[int(len(found) * share)] for share in (0.5, 0.99))
    missing = found.count(inf)
    late = f"   {missing} not within 3 s" if missing else ""
    print(f"{name:<30} {p50 * 1e3:>7.1f} {p99 * 1e3:>9.1f}{late}", flush=True)
    return p99


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*(int(argument) for argument in sys.argv[1:]))))
