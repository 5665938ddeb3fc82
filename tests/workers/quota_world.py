"""A world of numbers: workers with a `Pace` each, and a far side that takes so many calls in each second of its clock.

Nothing waits: moments are numbers in a heap, delays are drawn from a seeded generator, so a run can be repeated.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from math import inf

from workers.pace import IDLE, Pace, Slowdown, share_of

_CALL = 0.0004  # seconds a worker, and the far side, are busy with one call
_WINDOW = 128  # calls one worker has in flight at most


@dataclass(frozen=True, slots=True)
class Phase:
    """From `start` to `end` seconds of the run the far side takes `quota` calls a second."""

    start: float
    end: float
    quota: int


@dataclass(slots=True)
class Worker:
    """Lanes with no end of messages, each with one call in flight at most."""

    pace: Pace
    idle: int
    started: bool = True
    flying: int = 0
    demand: float = 0.0
    busy_until: float = 0.0
    wakes_at: float = inf


class World:
    """`lanes` says how many lanes each worker has; `quota` what is taken in the second that begins at a moment."""

    def __init__(self, *, quota: Callable[[float], int], lanes: tuple[int, ...], seed: int) -> None:
        self._quota = quota
        self._random = random.Random(seed)
        self._shift = self._random.random()  # where in its second the far side is when the run begins
        self._workers = [Worker(Pace(), count) for count in lanes]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._second, self._used, self._free_at = -1, 0, 0.0
        self._log: list[tuple[float, int, bool]] = []

    def run(self, seconds: float, *, late: tuple[int, float] | None = None) -> None:
        """Let `seconds` pass; `late` names one worker that starts only then."""
        for number, worker in enumerate(self._workers):
            start = self._random.uniform(0.0, 0.005)
            if late is not None and late[0] == number:
                start, worker.started = late[1], False
            self._at(start, partial(self._start, worker))
        while self._events and self._events[0][0] < seconds:
            now, _count, happen = heappop(self._events)
            happen(now)

    def seen(self, phase: Phase) -> tuple[float, float]:
        """Return the goodput as a part of the quota, and the part of all calls that was refused."""
        ends = [taken for now, _worker, taken in self._log if phase.start <= now < phase.end]
        return sum(ends) / (phase.end - phase.start) / phase.quota, 1 - sum(ends) / len(ends)

    def seen_by(self, worker: int, phase: Phase) -> float:
        """Return one worker's part of what was taken."""
        taken = [number for now, number, taken in self._log if taken and phase.start <= now < phase.end]
        return taken.count(worker) / len(taken)

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        self._count += 1
        heappush(self._events, (when, self._count, happen))

    def _start(self, worker: Worker, now: float) -> None:
        worker.started = True
        self._at(now + self._random.uniform(0.0, 0.5), lambda now: self._share(worker, now))
        self._kick(worker, now)

    def _share(self, worker: Worker, now: float) -> None:
        worker.demand = max(IDLE, float(worker.idle + worker.flying))
        others = sum(other.demand for other in self._workers if other is not worker)
        worker.pace.take_share(share_of(worker.demand, others))
        self._at(now + 0.5, lambda now: self._share(worker, now))
        self._kick(worker, now)

    def _kick(self, worker: Worker, now: float) -> None:
        if not worker.started or not worker.idle:
            return
        when = max(now, worker.pace.opens_at, worker.busy_until)
        if when > now:
            when += self._random.expovariate(1000.0) + (0.02 * self._random.random() ** 50)
        if when < worker.wakes_at:
            worker.wakes_at = when
            self._at(when, lambda now: self._go(worker, now))

    def _go(self, worker: Worker, now: float) -> None:
        if worker.wakes_at != now:
            return
        worker.wakes_at = inf
        if worker.idle and worker.flying < _WINDOW and worker.pace.opens_at <= now:
            worker.pace.spend(now)
            worker.idle -= 1
            worker.flying += 1
            worker.busy_until = now + _CALL
            self._at(now + self._random.uniform(0.0005, 0.0015), lambda now: self._arrive(worker, now))
        self._kick(worker, now)

    def _arrive(self, worker: Worker, now: float) -> None:
        self._free_at = max(now, self._free_at) + _CALL
        self._at(self._free_at, lambda now: self._serve(worker, now))

    def _serve(self, worker: Worker, now: float) -> None:
        second = int(now + self._shift)
        if second != self._second:
            self._second, self._used = second, 0
        self._used += 1
        taken = self._used <= self._quota(now)
        self._log.append((now, self._workers.index(worker), taken))
        self._at(now + self._random.uniform(0.0005, 0.002), lambda now: self._end(worker, now, taken=taken))

    def _end(self, worker: Worker, now: float, *, taken: bool) -> None:
        worker.flying -= 1
        worker.idle += 1
        if taken:
            worker.pace.accepted(now)
        elif (told := worker.pace.refused(now, None)) is not None:
            for other in self._workers:
                if other is not worker and other.started:
                    self._at(now + self._random.uniform(0.001, 0.004), partial(self._hear, other, told))
        self._kick(worker, now)

    def _hear(self, worker: Worker, told: Slowdown, now: float) -> None:
        worker.pace.heard(told, now)
        self._kick(worker, now)
