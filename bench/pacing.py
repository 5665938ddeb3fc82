"""`python -m bench.pacing`: four workers against a hard quota; how much of it is used, how much is refused.

Source of the demand: at least 95 % of the quota used, under 2 % of the calls refused, back at 95 % within 5 s when the
quota halves or doubles; the same for a quota of two broadcasts a second. Once the rate is found out by what the service
refuses, once it is configured, for the quota as it is at the start.
"""

import asyncio
import sys
import time

from bench.far_side import Counts, FarSide, far_side
from bench.rig import Rig

_QUOTA = 200
_PHASES = ((15, _QUOTA, "at the start"), (12, _QUOTA // 2, "halved"), (15, _QUOTA, "doubled"))
_SETTLING = 5  # seconds a phase is given before its goodput counts
_USERS = 400
_BROADCASTS = (40, 2)  # seconds, quota
_MODES = {"found": {}, "configured": {"FANOUT_SEND_RATE": str(_QUOTA), "FANOUT_BROADCAST_RATE": "2"}}


async def main(*modes: str) -> None:
    """Run the modes that are named, or both, and print a table."""
    print("rate        quota   phase          taken/s of quota   refused   back at 95 % after")
    for mode in modes or _MODES:
        async with Rig.open() as rig, far_side(rig, workers=4, **_MODES[mode]) as far:
            await sends(far, mode)
        async with Rig.open() as rig, far_side(rig, workers=4, **_MODES[mode]) as far:
            await broadcasts(far, mode)


async def sends(far: FarSide, mode: str) -> None:
    """Keep far more waiting than the quota allows, and change the quota twice."""
    seconds = sum(length for length, _, _ in _PHASES)
    wanted = seconds * _QUOTA * 2
    for start in range(0, wanted, 2000):
        await far.quota(_PHASES[0][1])
        items = [{"userId": f"u{n % _USERS}", "target": "t", "arguments": [n]} for n in range(start, start + 2000)]
        await far.post("pacing", items)
    for length, quota, name in _PHASES:
        await far.quota(quota)
        print_row(mode, quota, name, *await watch(far, length, quota))


async def broadcasts(far: FarSide, mode: str) -> None:
    """Two broadcasts a second from one hub, whose lane lives in one worker of the four."""
    length, quota = _BROADCASTS
    await far.quota(quota)
    await far.post("pacing", [{"target": "t", "arguments": [n]} for n in range(length * quota * 2)])
    print_row(mode, quota, "broadcasts", *await watch(far, length, quota))


async def watch(far: FarSide, length: int, quota: int) -> tuple[float, Counts, float | None]:
    """Look once a second; gives goodput after settling, all counts, and when 95 % was first reached again."""
    begin, first = time.monotonic(), await far.counts()
    settled: Counts | None = None
    last, back = first, None
    for second in range(1, length + 1):
        await asyncio.sleep(max(0.0, begin + second - time.monotonic()))
        now = await far.counts()
        if back is None and now.since(last).taken >= 0.95 * quota:
            back = float(second)
        if second == _SETTLING:
            settled = now
        last = now
    if settled is None:
        raise ValueError("a phase is longer than its settling")
    return last.since(settled).taken / (length - _SETTLING) / quota, last.since(first), back


def print_row(mode: str, quota: int, name: str, goodput: float, counts: Counts, back: float | None) -> None:
    """Print one phase."""
    calls = counts.taken + counts.refused
    refused = counts.refused / calls if calls else 0.0
    after = "never" if back is None else f"{back:.0f} s"
    print(f"{mode:<11} {quota:>3}/s   {name:<14} {goodput:>15.1%} {refused:>12.2%}   {after}", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
