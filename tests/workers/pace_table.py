"""`python -m tests.workers.pace_table [group ...] [--seeds N]`: the pace and services of many kinds, in virtual time.

A change of the pace is judged by this table and not by one seed: each row is run with several seeds, and shows the
median and the worst. Rows that are named are those of `bench.pacing`, and what was seen to go wrong.

`goodput` is what was taken, as a part of what the service takes, or of what workers get that only repeat what was
refused, or for a stray refusal the seconds that it cost beside its pause. `refused` is the part of the calls, from
when the goodput counts; `early` is that part before.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool

from tests.workers.quota_world import Phase, Service, World
from workers.pace import Pace

_FOUND, _END = 10.0, 30.0  # seconds: a quota is known, and the run ends
_CHANGED = 15.0  # seconds: a quota changes
_SETTLED = 5.0  # seconds after a change until goodput counts
_STARTED, _BROADCASTS = 15.0, 40.0  # seconds from the start on, as in bench.pacing
_MOVED = 1.2  # seconds until a lane has another owner: those who have joined meanwhile get their partitions
_LANES = 400
_MESSAGES = 2000  # after a stray refusal
SHARES = (0.01, 0.05, 0.1)
_FAST = 0.0002  # seconds of a call, where 2,000 a second have to be made


@dataclass(frozen=True, slots=True)
class Result:
    """What one run shows."""

    goodput: float
    refused: float
    early: float


@dataclass(frozen=True, slots=True)
class Row:
    """One service, and the workers that meet it."""

    name: str
    run: Callable[[int], Result]
    group: str
    cost: int = 1  # of a run: dear rows get fewer seeds
    less_is_better: bool = False


class Patient(Pace):
    """Holds back nothing: each refused message is repeated when its own time has come."""

    @property
    def expects_refusals(self) -> bool:
        """So that the window does not shrink either."""
        return True

    def accepted(self, now: float, *, took: float = 0.0) -> None:
        pass

    def refused(self, now: float, retry_after: float | None, **kwargs: object) -> None:
        pass


def world(
    service: Service, seed: int, *, starts: Sequence[float] = (0.0,), rate: float | None = None, fast: bool = False
) -> World:
    """Return a world with one worker for each start."""
    return World(
        service,
        lanes=(_LANES // len(starts),) * len(starts),
        seed=seed,
        pace=partial(Pace, rate),
        starts=tuple(starts),
        call=_FAST if fast else 0.0004,
    )


def watched(run: World, phase: Phase, early: Phase) -> Result:
    """Return what a phase shows, beside an earlier one."""
    goodput, refused = run.seen(phase)
    return Result(goodput, refused, run.seen(early)[1])


def strict(
    quota: int,
    retry_after: float | None,
    starts: Sequence[float],
    share: float,
    rate: float | None,
    seed: int,
    *,
    bucket: float = 0.0,
    latency: float = 0.0,
) -> Result:
    """Run a quota that stays as it is."""
    service = Service(quota=lambda _now: quota, retry_after=retry_after, random=share, bucket=bucket, latency=latency)
    run = world(service, seed, starts=starts, fast=quota >= 1000, rate=rate)
    end = 20.0 if quota >= 1000 else _END
    run.run(end)
    taken = quota if rate is None else min(quota, rate)
    return watched(run, Phase(_FOUND, end, int(taken)), Phase(0.0, _FOUND, quota))


def start(quota: int, retry_after: float | None, latency: float, seed: int) -> Result:
    """Run a fleet that starts with more than the quota waiting; what is refused counts from the start on."""
    service = Service(quota=lambda _now: quota, retry_after=retry_after, latency=latency)
    return started(World(service, lanes=(_LANES // 4,) * 4, seed=seed), quota, _STARTED)


def lane(quota: int, retry_after: float | None, moved: float | None, seed: int) -> Result:
    """Run a fleet that starts with one lane, which may get another owner soon after."""
    run = World(Service(quota=lambda _now: quota, retry_after=retry_after), lanes=(1, 0, 0, 0), seed=seed)
    if moved is not None:
        run.move(moved, 0, 1)
    return started(run, quota, _BROADCASTS)


def started(run: World, quota: int, end: float) -> Result:
    """Return what is seen from the start on."""
    run.run(end)
    return Result(run.seen(Phase(_SETTLED, end, quota))[0], run.seen(Phase(0.0, end, quota))[1], 0.0)


def changed(before: int, after: int, retry_after: float | None, rate: float | None, seed: int) -> Result:
    """Run a quota that changes."""
    service = Service(quota=lambda now: before if now < _CHANGED else after, retry_after=retry_after)
    run = world(service, seed, starts=(0.0,) * 4, rate=rate)
    run.run(_END)
    return watched(run, Phase(_CHANGED + _SETTLED, _END, after), Phase(_CHANGED, _CHANGED + _SETTLED, after))


def newcomer(retry_after: float | None, seed: int) -> Result:
    """Run a fleet that knows its limit, and have a worker start that does not."""
    run = world(Service(quota=lambda _now: 200, retry_after=retry_after), seed, starts=(0.0, 0.0, 0.0, 12.0))
    run.run(_END)
    return watched(run, Phase(12.0, _END, 200), Phase(0.0, 12.0, 200))


def stray(messages: int, retry_after: float | None, workers: int, seed: int) -> Result:
    """Run a stray refusal while little is sent, then many messages."""
    service = Service(strays=(4.05,), retry_after=retry_after)
    run = World(service, lanes=(_LANES // workers,) * workers, seed=seed, waiting=0)
    for number in range(messages):
        run.post(number / 10, 1)
    run.post(5.0, _MESSAGES)
    run.run(30.0)
    seconds = min(25.0, run.taken_at(messages + _MESSAGES) - 5.0)
    return Result(seconds - (retry_after or 0.0), run.seen(Phase(5.0, _END, 1))[1], 0.0)


def by_chance(share: float, retry_after: float | None, workers: int, latency: float, seed: int) -> Result:
    """Run refusals by chance beside workers that only repeat."""
    service = Service(random=share, retry_after=retry_after, latency=latency)
    seen = list[tuple[float, float]]()
    for pace in (Pace, Patient):
        run = World(service, lanes=(_LANES // workers,) * workers, seed=seed, pace=pace)
        run.run(8.0)
        seen.append(run.seen(Phase(5.0, 8.0, 1)))
    return Result(seen[0][0] / seen[1][0], seen[0][1], 0.0)


def _said(retry_after: float | None) -> str:
    return "Retry-After none" if retry_after is None else f"Retry-After {retry_after:g}"


STARTS: Mapping[str, Sequence[float]] = {
    "1 worker": (0.0,),
    "4 together": (0.0, 0.0, 0.0, 0.0),
    "4, 0.3 s apart": (0.0, 0.3, 0.6, 0.9),
    "4, 0.6 s apart": (0.0, 0.6, 1.2, 1.8),
}


def rows() -> Sequence[Row]:
    """Return the table."""
    table = list[Row]()
    for retry_after in (1.0, None):
        kinds = (_strict, _start, _changed, _mixed, _others)
        table += [row for kind in kinds for row in kind(retry_after)]
    return [*table, *_stray()]


def _strict(retry_after: float | None) -> Iterator[Row]:
    for quota, (name, starts) in itertools.product((20, 200, 2000), STARTS.items()):
        run = partial(strict, quota, retry_after, starts, 0.0, None)
        yield Row(f"{quota}/s, {_said(retry_after)}, {name}", run, f"strict{quota}", 6 if quota > 1000 else 1)


def _changed(retry_after: float | None) -> Iterator[Row]:
    said = _said(retry_after)
    for before, after in ((200, 100), (100, 200), (200, 20), (20, 200)):
        yield Row(f"{before} to {after}/s, {said}", partial(changed, before, after, retry_after, None), "changed")
    for rate, before, after in ((200, 200, 100), (200, 100, 200), (100, 50, 200)):
        run = partial(changed, before, after, retry_after, rate)
        yield Row(f"{rate} configured, {before} to {after}/s, {said}", run, "configured")
    for rate, quota in ((200, 200), (100, 200), (300, 200)):
        run = partial(strict, quota, retry_after, STARTS["4 together"], 0.0, rate)
        yield Row(f"{rate} configured, {quota}/s, {said}", run, "configured")


def _start(retry_after: float | None) -> Iterator[Row]:
    said = _said(retry_after)
    for quota, latency in itertools.product((20, 200, 1000), (0.0, 0.05, 0.2)):
        run = partial(start, quota, retry_after, latency)
        yield Row(f"{quota}/s from the start, answers after {latency:g} s, {said}", run, "start")
    for quota, moved in itertools.product((2, 3, 4, 10), (None, _MOVED)):
        name = "one lane" if moved is None else "a lane that moves"
        yield Row(f"{quota}/s in {name}, {said}", partial(lane, quota, retry_after, moved), "lane")


def _mixed(retry_after: float | None) -> Iterator[Row]:
    for name, share in itertools.product(("1 worker", "4 together", "4, 0.6 s apart"), SHARES):
        run = partial(strict, 200, retry_after, STARTS[name], share, None)
        yield Row(f"{share:.0%} by chance and 200/s, {_said(retry_after)}, {name}", run, "mixed")
    for workers, share in itertools.product((1, 4), SHARES):
        for latency in (0.0, 0.2):
            name = f"{share:.0%} by chance, {_said(retry_after)}, after {latency:g} s, {workers} workers"
            yield Row(name, partial(by_chance, share, retry_after, workers, latency), "chance", 4)


def _others(retry_after: float | None) -> Iterator[Row]:
    said, starts = _said(retry_after), STARTS["4 together"]
    yield Row(f"a worker joins at 200/s, {said}", partial(newcomer, retry_after), "joins")
    for bucket in (20.0, 200.0):
        run = partial(strict, 200, retry_after, starts, 0.0, None, bucket=bucket)
        yield Row(f"200/s, a bucket of {bucket:g}, {said}", run, "kinds")
    run = partial(strict, 200, retry_after, starts, 0.0, None, latency=0.2)
    yield Row(f"200/s, answers after 0.2 s, {said}", run, "kinds")


def _stray() -> Iterator[Row]:
    for retry_after, (messages, before), workers in itertools.product(
        (5.0, 1.0, None), ((50, "10/s"), (0, "a rest")), (1, 4)
    ):
        name = f"stray, {_said(retry_after)}, {before}, {workers} workers"
        yield Row(name, partial(stray, messages, retry_after, workers), "stray", less_is_better=True)


def _job(job: tuple[int, int]) -> tuple[int, Result]:
    row, seed = job
    return row, rows()[row].run(seed)


def main(*arguments: str) -> None:
    """Run the groups that are named, or all, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    table = rows()
    chosen = [n for n, row in enumerate(table) if not options.groups or row.group in options.groups]
    jobs = [(n, seed) for n in chosen for seed in range(max(2, -(-options.seeds // table[n].cost)))]
    results: dict[int, list[Result]] = {n: [] for n in chosen}
    with Pool(options.processes) as pool:
        for n, result in pool.imap_unordered(_job, jobs):
            results[n].append(result)
    sys.stdout.write(f"{'row':<55} {'goodput':>8} {'worst':>7} {'refused':>8} {'worst':>7} {'early':>7}\n")
    for n in chosen:
        print_row(table[n], results[n])


def print_row(row: Row, results: Sequence[Result]) -> None:
    """Print the medians and the worst of a row."""
    goodputs, refused = [result.goodput for result in results], [result.refused for result in results]
    worst = max(goodputs) if row.less_is_better else min(goodputs)
    early = statistics.median(result.early for result in results)
    sys.stdout.write(
        f"{row.name:<55} {statistics.median(goodputs):>8.3f} {worst:>7.3f}"
        f" {statistics.median(refused):>8.4f} {max(refused):>7.4f} {early:>7.3f}\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
