"""`python -m bench.pacing`: workers against quotas and against refusals that are none; what is used, what is refused.

Source of the demand: at least 95 % of the quota used, under 2 % of the calls refused, back at 95 % within 5 s when the
quota halves or doubles; the same for a quota of two broadcasts a second. Once the rate is found out by what the service
refuses, once it is configured, for the quota as it is at the start.

With `Retry-After: 1` a quota is used to 95 % from the tenth second on, with under 2 % refused. What is no limit costs
nothing beside its pause: after one stray refusal 2,000 messages are through within the pause and 5 s of what a free
service takes; at refusals by chance, goodput from the fifth second on is at least 90 % of that of workers that only
repeat what was refused (bench/patient.py).

At refusals by chance the far side answers after a while, so that the calls in flight bound the goodput and not the
cores: a far side that answers at once takes all of a core, and then what is compared is how much of it other processes
leave to one run and to the other.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from bench.command import parser
from bench.far_side import Counts, FarSide, far_side
from bench.rig import Rig

_QUOTA = 200
_PHASES = ((15, _QUOTA, "at the start"), (12, _QUOTA // 2, "halved"), (15, _QUOTA, "doubled"))
_SETTLING = 5  # seconds a phase is given before its goodput counts
_USERS = 400
_BROADCASTS = (40, 2)  # seconds, quota
_MODES = {"found": {}, "configured": {"FANOUT_SEND_RATE": str(_QUOTA), "FANOUT_BROADCAST_RATE": "2"}}


_STRICT = ((1, 200), (4, 200), (1, 20), (4, 20), (1, 1000), (4, 1000))  # workers, quota
_FOUND = 10  # seconds after which a quota has to be known
_WATCHED = 20
_AFTER = 2000  # messages after a stray refusal
_TRICKLE, _STRAY = 50, 40  # messages before them, and which of these is refused
_WITHIN = 60.0
_SHARES = (0.01, 0.05, 0.1)
_ANSWERED = 0.2  # seconds until a call is answered: the 640 calls a second of a full window take less than a core
_ENOUGH = 20_000  # messages: a lane has 50, and can make no more calls until the end
_TESTED = 5  # seconds until refusals by chance have to be known as such
_MEASURED = 5
_OURS, _THEIRS = "service.cli", "bench.patient"
_TURNS = (_OURS, _THEIRS, _THEIRS, _OURS)  # what else the machine does meanwhile meets both

PARTS = (
    *_MODES,
    "strict",
    *(f"strict:{quota}:{workers}" for workers, quota in _STRICT),
    "stray",
    "random",
    *(f"random:{share * 100:.0f}" for share in _SHARES),
)


async def main(*parts: str) -> None:
    """Run the parts that are named (found, configured, strict, stray, random), or all, and print tables.

    `strict:1000:4` is the one row of 1000/s with four workers, `random:5` the one of 5 %.
    """
    wanted = parts or (*_MODES, "strict", "stray", "random")
    modes = [mode for mode in _MODES if mode in wanted]
    if modes:
        await quotas(modes)
    rows = [row for row in _STRICT if is_wanted(wanted, "strict", f"strict:{row[1]}:{row[0]}")]
    if rows:
        await strict(rows)
    if "stray" in wanted:
        await stray()
    shares = [share for share in _SHARES if is_wanted(wanted, "random", f"random:{share * 100:.0f}")]
    if shares:
        await by_chance(shares)


def is_wanted(wanted: Sequence[str], part: str, row: str) -> bool:
    """Return whether a row is asked for, by its own name or by that of its part."""
    return part in wanted or row in wanted


async def quotas(modes: Sequence[str]) -> None:
    """Run a quota that changes, without Retry-After."""
    print("rate        quota   phase          taken/s of quota   refused   back at 95 % after")
    for mode in modes:
        async with Rig.open() as rig, far_side(rig, workers=4, **_MODES[mode]) as far:
            await sends(far, mode)
        async with Rig.open() as rig, far_side(rig, workers=4, **_MODES[mode]) as far:
            await broadcasts(far, mode)


async def strict(rows: Sequence[tuple[int, int]]) -> None:
    """Run quotas that refuse with `Retry-After: 1`."""
    print("quota   workers   taken/s of quota from 10 s on   refused from 10 s on   refused before")
    for workers, quota in rows:
        async with Rig.open() as rig, far_side(rig, workers=workers) as far:
            await far.quota(quota, 1)
            await post(far, quota * (_FOUND + _WATCHED) * 2)
            begin = await far.counts()
            await asyncio.sleep(_FOUND)
            found, since = await far.counts(), time.monotonic()
            await asyncio.sleep(_WATCHED)
            last, seconds = await far.counts(), time.monotonic() - since
        used = last.since(found).taken / seconds / quota
        before, after = refused_of(found.since(begin)), refused_of(last.since(found))
        print(f"{quota:>4}/s   {workers:>7}   {used:>29.1%} {after:>22.2%} {before:>16.2%}", flush=True)


async def stray() -> None:
    """Refuse one call of a trickle, or the first one after a rest, and then send many."""
    print("a stray refusal   before     2,000 messages after   with no refusal")
    free = await after_stray(None, "trickle")
    for retry_after in (5, 1, 0):
        for before in ("trickle", "idle"):
            rule = {"kind": "status", "status": 429, "times": 1} | ({"retryAfter": retry_after} if retry_after else {})
            seconds = await after_stray(rule, before)
            name = f"Retry-After: {retry_after}" if retry_after else "no Retry-After"
            print(f"{name:<17} {before:<10} {seconds:>18.1f} s {free:>15.1f} s", flush=True)


async def after_stray(rule: dict[str, Any] | None, before: str) -> float:
    """Return how many seconds the messages after a stray refusal took."""
    async with Rig.open() as rig, far_side(rig, workers=1) as far:
        for number in range(_TRICKLE if before == "trickle" else 0):
            if rule and number == _STRAY:
                await far.faults([rule])
            await far.post("pacing", [{"userId": f"x{number}", "target": "t", "arguments": [number]}])
            await asyncio.sleep(0.1)
        if rule and before == "idle":
            await far.faults([rule])
        begin, first = time.monotonic(), await far.counts()
        await post(far, _AFTER)
        async with asyncio.timeout(_WITHIN):
            while (await far.counts()).since(first).taken < _AFTER:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.05)
        return time.monotonic() - begin


async def by_chance(shares: Sequence[float]) -> None:
    """Refuse a share of the calls whatever the rate, beside workers that only repeat what was refused."""
    print("refused   taken/s from 5 s on   only repeated   share of it")
    for share in shares:
        seen = [(program, await goodput(share, program)) for program in _TURNS]
        ours, theirs = (statistics.mean(each for name, each in seen if name == program) for program in (_OURS, _THEIRS))
        print(f"{share:>7.0%} {ours:>21.0f} {theirs:>15.0f} {ours / theirs:>13.1%}", flush=True)


async def goodput(share: float, program: str) -> float:
    """Return how many messages a second are taken from the fifth second on."""
    late = {"kind": "latency", "seconds": _ANSWERED}
    refused = {"kind": "status", "status": 429, "retryAfter": 1, "probability": share, "seed": 1}
    async with Rig.open() as rig, far_side(rig, workers=1, program=program) as far:
        await far.faults([late, refused])
        begin = time.monotonic()
        await post(far, _ENOUGH)
        await asyncio.sleep(max(0.0, begin + _TESTED - time.monotonic()))
        since, first = time.monotonic(), await far.counts()
        await asyncio.sleep(_MEASURED)
        last, seconds = await far.counts(), time.monotonic() - since
    return last.since(first).taken / seconds


async def post(far: FarSide, count: int) -> None:
    """Post messages to many users."""
    for start in range(0, count, 2000):
        numbers = range(start, min(count, start + 2000))
        await far.post("pacing", [{"userId": f"u{n % _USERS}", "target": "t", "arguments": [n]} for n in numbers])


def refused_of(counts: Counts) -> float:
    """Return which part of the calls was refused."""
    return counts.refused / max(1, counts.taken + counts.refused)


async def sends(far: FarSide, mode: str) -> None:
    """Keep far more waiting than the quota allows, and change the quota twice."""
    seconds = sum(length for length, _, _ in _PHASES)
    wanted = seconds * _QUOTA * 2
    await far.quota(_PHASES[0][1])
    begin = await far.counts()
    for start in range(0, wanted, 2000):
        items = [{"userId": f"u{n % _USERS}", "target": "t", "arguments": [n]} for n in range(start, start + 2000)]
        await far.post("pacing", items)
    length, quota, name = _PHASES[0]
    print_row(mode, quota, name, *await watch(far, length, quota, since=begin))
    for length, quota, name in _PHASES[1:]:
        await far.quota(quota)
        print_row(mode, quota, name, *await watch(far, length, quota))


async def broadcasts(far: FarSide, mode: str) -> None:
    """Two broadcasts a second from one hub, whose lane lives in one worker of the four."""
    length, quota = _BROADCASTS
    await far.quota(quota)
    await far.post("pacing", [{"target": "t", "arguments": [n]} for n in range(length * quota * 2)])
    print_row(mode, quota, "broadcasts", *await watch(far, length, quota))


async def watch(
    far: FarSide, length: int, quota: int, *, since: Counts | None = None
) -> tuple[float, Counts, float | None]:
    """Look once a second; gives goodput after settling, all counts, and when 95 % was first reached again.

    The counts are those since now, or since an earlier look: what was sent while the messages were posted.
    """
    begin, last = time.monotonic(), await far.counts()
    first = since or last
    settled: Counts | None = None
    back: float | None = None
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
    command = parser("pacing", __doc__)
    command.add_argument("parts", nargs="*", help=f"which to run, all without any: {', '.join(PARTS)}")
    named = command.parse_args().parts
    if not set(named) <= set(PARTS):
        command.error(f"there are these parts: {', '.join(PARTS)}")
    asyncio.run(main(*named))
