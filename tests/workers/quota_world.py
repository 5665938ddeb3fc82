"""A world of numbers: workers with a `Pace` each, and a far side that takes so many calls, by one rule or another.

Nothing waits: moments are numbers in a heap, delays are drawn from a seeded generator, so a run can be repeated.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from heapq import heappop, heappush
from math import inf

from workers.gate import Window
from workers.pace import Pace
from workers.slowdown import IDLE, Slowdown, share_of

_CALL = 0.0004  # seconds a worker, and the far side, are busy with one call
_SOON = 0.005  # seconds within which those start that are there from the beginning
_WINDOW = 128  # calls one worker has in flight at most


@dataclass(frozen=True, slots=True)
class Phase:
    """From `start` to `end` seconds of the run the far side takes `quota` calls a second."""

    start: float
    end: float
    quota: int


@dataclass(frozen=True, slots=True)
class Service:
    """What the far side does.

    `quota`: calls taken in the second that begins at a moment, or with `bucket` calls saved up at most, as a bucket
    that fills evenly. `random`: the part refused whatever the rate. `strays`: moments after which one call is refused.
    """

    quota: Callable[[float], float] = lambda _now: inf
    bucket: float = 0.0
    retry_after: float | None = None
    random: float = 0.0
    strays: tuple[float, ...] = ()
    latency: float = 0.0


@dataclass(slots=True)
class Worker:
    """Lanes with one call in flight at most, and `waiting` messages for them."""

    pace: Pace
    window: Window
    idle: int
    waiting: float = inf
    started: bool = True
    flying: int = 0
    demand: float = 0.0
    part: int = 0
    busy_until: float = 0.0
    wakes_at: float = inf


class World:
    """`lanes` says how many lanes each worker has, `starts` when it starts.

    Every message that is refused is repeated until it is taken.
    """

    def __init__(
        self,
        service: Service,
        *,
        lanes: tuple[int, ...],
        seed: int,
        pace: Callable[[], Pace] = Pace,
        waiting: float = inf,
        call: float = _CALL,
        starts: tuple[float, ...] = (),
    ) -> None:
        self._service = service
        self._starts = starts or (0.0,) * len(lanes)
        self._call = call
        self._random = random.Random(seed)
        self._shift = self._random.random()  # where in its second the far side is when the run begins
        self.workers = [Worker(pace(), Window(_WINDOW), count, waiting) for count in lanes]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._second, self._used, self._free_at = -1, 0, 0.0
        self._saved, self._filled_at = service.bucket, 0.0
        self._strays = list(service.strays)
        self._log: list[tuple[float, int, bool]] = []
        self._told: list[tuple[float, Slowdown]] = []

    def run(self, seconds: float) -> None:
        """Let `seconds` pass."""
        for worker, start in zip(self.workers, self._starts, strict=True):
            worker.started = start == 0.0
            self._at(start + self._random.uniform(0.0, _SOON), partial(self._start, worker))
        while self._events and self._events[0][0] < seconds:
            now, _count, happen = heappop(self._events)
            happen(now)

    def post(self, when: float, messages: int) -> None:
        """Have the workers get messages at a moment, each its part."""

        def arrive(now: float) -> None:
            for number, worker in enumerate(self.workers):
                worker.waiting += messages // len(self.workers) + (number < messages % len(self.workers))
                self._kick(worker, now)

        self._at(when, arrive)

    def move(self, when: float, source: int, target: int) -> None:
        """Hand a lane over at a moment, or when it has no call in flight, as the partitions of a fleet that starts."""

        def give(now: float) -> None:
            giver, taker = self.workers[source], self.workers[target]
            if not giver.idle:
                self._at(now + _SOON, give)
                return
            giver.idle -= 1
            taker.idle += 1
            self._kick(taker, now)

        self._at(when, give)

    def seen(self, phase: Phase) -> tuple[float, float]:
        """Return the goodput as a part of the quota, and the part of all calls that was refused."""
        ends = [taken for now, _worker, taken in self._log if phase.start <= now < phase.end]
        return sum(ends) / (phase.end - phase.start) / phase.quota, 1 - sum(ends) / max(1, len(ends))

    def seen_by(self, worker: int, phase: Phase) -> float:
        """Return one worker's part of what was taken."""
        taken = [number for now, number, taken in self._log if taken and phase.start <= now < phase.end]
        return taken.count(worker) / len(taken)

    def taken_at(self, count: int) -> float:
        """Return when so many messages had been taken, infinity if they were not."""
        moments = [now for now, _worker, taken in self._log if taken]
        return moments[count - 1] if len(moments) >= count else inf

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        self._count += 1
        heappush(self._events, (when, self._count, happen))

    def _start(self, worker: Worker, now: float) -> None:
        worker.started = True
        if now > _SOON:  # who comes later has no share until it has asked for one twice, as with real workers
            worker.pace.take_share(0.0)
        self._at(now + self._random.uniform(0.0, 0.5), lambda now: self._share(worker, now))
        for when, told in self._told:
            if now < when + told.pause:  # a worker that starts looks for pauses that go on
                worker.pace.heard(replace(told, pause=when + told.pause - now), now)
        self._kick(worker, now)

    def _share(self, worker: Worker, now: float) -> None:
        worker.demand = max(IDLE, min(worker.waiting, float(worker.idle)) + worker.flying)
        others = sum(other.demand for other in self.workers if other is not worker and other.started)
        worker.part = worker.pace.part
        worker.pace.take_share(share_of(worker.demand, others))
        worker.pace.take_parts(sum(other.part for other in self.workers if other is not worker), now)
        self._at(now + 0.5, lambda now: self._share(worker, now))
        self._kick(worker, now)

    def _kick(self, worker: Worker, now: float) -> None:
        if not worker.started or not worker.idle or not worker.waiting:
            return
        when = max(now, worker.pace.opens_at, worker.busy_until)
        if worker.flying >= worker.window.limit and not worker.window.widen(now):
            when = max(when, worker.window.widens_at)
        if when > now:
            when += self._random.expovariate(1000.0) + (0.02 * self._random.random() ** 50)
        if when < worker.wakes_at:
            worker.wakes_at = when
            self._at(when, lambda now: self._go(worker, now))

    def _go(self, worker: Worker, now: float) -> None:
        if worker.wakes_at != now:
            return
        worker.wakes_at = inf
        if worker.idle and worker.waiting and worker.flying < worker.window.limit and worker.pace.opens_at <= now:
            worker.pace.spend(now)
            worker.idle -= 1
            worker.waiting -= 1
            worker.flying += 1
            worker.busy_until = now + self._call
            way = self._random.uniform(0.0005, 0.0015) + self._service.latency
            self._at(now + way, lambda arrived: self._arrive(worker, arrived, now))
        self._kick(worker, now)

    def _arrive(self, worker: Worker, now: float, began: float) -> None:
        self._free_at = max(now, self._free_at) + self._call
        self._at(self._free_at, lambda now: self._serve(worker, now, began))

    def _serve(self, worker: Worker, now: float, began: float) -> None:
        taken = self._takes(now)
        self._log.append((now, self.workers.index(worker), taken))
        self._at(now + self._random.uniform(0.0005, 0.002), lambda now: self._end(worker, now, began, taken=taken))

    def _takes(self, now: float) -> bool:
        if self._strays and now >= self._strays[0]:
            del self._strays[0]
            return False
        if self._service.random and self._random.random() < self._service.random:
            return False
        quota = self._service.quota(now)
        if self._service.bucket:
            self._saved = min(self._service.bucket, self._saved + (now - self._filled_at) * quota)
            self._filled_at = now
            taken = self._saved >= 1.0
            self._saved -= taken
            return taken
        second = int(now + self._shift)
        if second != self._second:
            self._second, self._used = second, 0
        self._used += 1
        return self._used <= quota

    def _end(self, worker: Worker, now: float, began: float, *, taken: bool) -> None:
        worker.flying -= 1
        if taken:
            worker.idle += 1
            worker.window.succeeded(worker.flying)
            told = worker.pace.accepted(now, took=now - began)
        else:
            worker.waiting += 1
            wait = self._service.retry_after
            if not worker.pace.expects_refusals:
                worker.window.overloaded(now, now - began, is_throttled=True)
            told = worker.pace.refused(now, wait, took=now - began, pressed=worker.waiting > 1, beside=worker.flying)
            self._at(now + (wait or 0.0), lambda now: self._again(worker, now))
        if told is not None and worker.pace.expects_refusals:
            worker.window.forgive()
        self._tell(worker, told, now)
        self._kick(worker, now)

    def _tell(self, worker: Worker, told: Slowdown | None, now: float) -> None:
        if told is None:
            return
        self._told.append((now, told))
        for other in self.workers:
            if other is not worker and other.started:
                self._at(now + self._random.uniform(0.001, 0.004), partial(self._hear, other, told))

    def _again(self, worker: Worker, now: float) -> None:
        worker.idle += 1
        self._kick(worker, now)

    def _hear(self, worker: Worker, told: Slowdown, now: float) -> None:
        worker.pace.heard(told, now)
        if worker.pace.expects_refusals:
            worker.window.forgive()
        self._kick(worker, now)
