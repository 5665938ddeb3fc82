"""python -m tests.soak: load with random troubles against the real processes, and a verdict.

`--minutes 10 --seed 7 --rate 150` says how long, which troubles and how many messages a second. It prints one line
every few seconds, and at the end what became of what was accepted, every repeat with its reason, and memory over time.
The exit code is 0 only when nothing accepted was lost or changed, order was kept, each repeat has a reason, nothing is
left waiting, and memory is flat (a run under three minutes is too short to judge memory by).
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from tests.flow.waiting import until
from tests.soak.gauges import Trend, drained, trend_of
from tests.soak.load import Load
from tests.soak.plant import LASTING, Plant, running_plant
from tests.soak.troubles import Troublemaker
from tests.soak.watch import Watch

_LINE_EVERY = 5.0
_DRAIN_WITHIN = 120.0
_CATCH_UP = 2.0
_SHORTEST_FOR_MEMORY = 180.0
_PRODUCERS = 4
# The emulator's journal grows up to its bound by design: it is shown, not judged.
_JUDGED = (f"ingress {LASTING}", f"worker {LASTING}", "redis", "redis data")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long in seconds, which dice, how many messages a second."""

    seconds: float
    seed: int
    rate: float


async def soak(plan: Plan, directory: Path) -> bool:
    """Run it, report, and return whether all held."""
    async with running_plant(directory) as plant:
        started = monotonic()
        load = Load(plant, plan.rate, _PRODUCERS, plan.seed)
        trouble = Troublemaker(plant, random.Random(plan.seed))
        watch = Watch(plant, load, trouble)
        following = asyncio.ensure_future(watch.follow())
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(started + plan.seconds))
            group.create_task(trouble.run(started + plan.seconds))
            group.create_task(_tell(watch, started, plan.seconds))
        wrong = await _drained(plant, load)
        await asyncio.sleep(_CATCH_UP)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        watch.judge_all()
        watch.verdict.close(trouble.events)
        wrong += watch.verdict.wrong + plant.ended() + _too_few(watch, trouble)
        wrong += [f"dead letter: {letter!r}" for letter in await plant.dead_letters()]
        if not drained(watch.backlogs):
            wrong.append("something was left waiting")
        trends = [trend for name, at in sorted(watch.samples.items()) if (trend := trend_of(name, at))]
        return _report(watch, load, trouble, trends, wrong, judge_memory=plan.seconds >= _SHORTEST_FOR_MEMORY)


async def _tell(watch: Watch, started: float, seconds: float) -> None:
    while (now := monotonic() - started) < seconds:
        _say(watch.line(now))
        await asyncio.sleep(_LINE_EVERY)


async def _drained(plant: Plant, load: Load) -> list[str]:
    async def done() -> bool:
        return await plant.backlog() == 0 and all(stretch.whole for stretch in load.open.values())

    try:
        await until(done, within=_DRAIN_WITHIN, what="all is delivered")
    except AssertionError as error:
        return [str(error)]
    return []


def _too_few(watch: Watch, trouble: Troublemaker) -> list[str]:
    """A run in which nothing happened proves nothing."""
    if not trouble.events or not watch.verdict.accepted:
        return ["nothing happened"]
    return []


def _report(
    watch: Watch,
    load: Load,
    trouble: Troublemaker,
    trends: Sequence[Trend],
    wrong: Sequence[str],
    *,
    judge_memory: bool,
) -> bool:
    verdict = watch.verdict
    _say(f"\naccepted {verdict.accepted}, delivered {verdict.delivered}, calls {watch.arrived}")
    _say(f"requests repeated by producers: {load.repeats}; most waiting: {max(watch.backlogs, default=0)}")
    counts = sorted({event.name for event in trouble.events})
    _say("troubles: " + ", ".join(f"{name} x{sum(e.name == name for e in trouble.events)}" for name in counts))
    _say(f"delivered again: {verdict.repeats.total()}: " + ", ".join(f"{n} {c}" for n, c in verdict.repeats.items()))
    for trend in trends:
        judged = trend.name in _JUDGED and judge_memory
        _say(f"{trend}{'' if judged else ' (not judged)'}")
    grown = [str(trend) for trend in trends if trend.name in _JUDGED and not trend.flat] if judge_memory else []
    for text in [*wrong, *grown][:50]:
        _say(f"WRONG: {text}")
    _say("FAILED" if wrong or grown else "all held")
    return not (wrong or grown)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's answer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Load with random troubles.")
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--seed", type=int, default=1, help="which troubles (1)")
    parser.add_argument("--rate", type=float, default=150, help="messages a second (150)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fanout-soak-") as directory:
        held = asyncio.run(soak(Plan(options.minutes * 60, options.seed, options.rate), Path(directory)))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
