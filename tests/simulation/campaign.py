"""Runs seeds, one or thousands, and reports what is needed to see why one failed.

Rule guarded: the result of a seed depends on the seed and the code alone, never on the seeds run before or beside it.
Its digest is over everything that happened, so that two runs can be compared.
"""

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from multiprocessing import get_context
from typing import Any

from tests.simulation.observer import Observer
from tests.simulation.plan import Plan
from tests.simulation.scenes import plan_of
from tests.simulation.world import World

_CHUNK = 25
_LAST_EVENTS = 40


@dataclass(frozen=True)
class Result:
    """The result of one seed; `report` is empty when nothing was violated."""

    seed: int
    digest: str
    violations: tuple[str, ...]
    calls: int
    report: str
    coverage: Mapping[str, int]  # what it met, how often


def run_plan(plan: Plan, *, whole: bool = False, stations: Mapping[str, Any] | None = None) -> Result:
    """Run one plan. `whole`: report every event. `stations` replace parts of the product."""
    world = World(plan, stations)
    world.run()
    observer = world.observer
    digest = blake2b("\n".join(map(repr, observer.events)).encode(), digest_size=16).hexdigest()
    calls = sum(len(tracked.calls) for tracked in observer.all_tracked.values())
    report = _report(plan, observer, whole=whole) if observer.violations or whole else ""
    return Result(plan.seed, digest, tuple(observer.violations), calls, report, dict(observer.coverage))


def run_seed(seed: int, scene: str | None = None) -> Result:
    """Run one seed in the scene it draws, or in a given one."""
    return run_plan(plan_of(seed, scene))


def run_seeds(seeds: Iterable[int], *, processes: int | None = None) -> Iterator[Result]:
    """Run seeds on `processes` (by default one for each core) and yield the results in the order of the seeds."""
    count = processes or len(os.sched_getaffinity(0))
    if count == 1:
        yield from map(run_seed, seeds)
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_keep_imports) as pool:
        yield from pool.map(run_seed, seeds, chunksize=_CHUNK)


def _keep_imports() -> None:
    """Leave what was imported out of the collections of garbage, of which there is one after each seed."""
    gc.freeze()


def _report(plan: Plan, observer: Observer, *, whole: bool) -> str:
    events = observer.events if whole else observer.events[-_LAST_EVENTS:]
    lines = [
        f"seed {plan.seed}: {plan}",
        *(f"  fault at {fault.at:.3f} s: {fault}" for fault in plan.faults),
        *(f"  VIOLATED {text}" for text in observer.violations),
        f"  {'all' if whole else f'the last {len(events)} of {len(observer.events)}'} events:",
        *(f"  {event[0]:10.6f} {' '.join(map(str, event[1:]))}" for event in events),
        f"  replay: python -m tests.simulation --seed {plan.seed} --scene {plan.scene} -v",
    ]
    return "\n".join(lines)
