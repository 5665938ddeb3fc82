"""The values of a run: what is measured (probe), what is asked of it (demand), how much work it is (scale).

Rule guarded: a figure is made of samples of one and the same round, so that a slow moment of the machine hits both
sides of a ratio; probes that several demands need run once a round. Pure but for `Bench`, which starts what probes ask
for at the first time and keeps it for the next round.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from bench.rig import Redis, Rig
from bench.sink import Sink
from bench.stacks import Sample, Shape, Stack

T = TypeVar("T")
Samples = Mapping[str, Sample]  # of one round, by the name of the probe


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work a run is. `share` scales the counts of a full run; `backlog` is R13's, 0 leaves it out."""

    rounds: int
    share: float
    backlog: int
    quick: bool = False

    def count(self, full: int, step: int = 100) -> int:
        """Scale a count, rounded up to whole batches."""
        return max(step, -int(-full * self.share // step) * step)

    def seconds(self, full: float) -> float:
        """Scale a duration."""
        return full * self.share


FULL = Scale(rounds=5, share=1.0, backlog=1_000_000)
QUICK = Scale(rounds=3, share=0.25, backlog=0, quick=True)


@dataclass(slots=True)
class Bench:
    """What probes work with; processes are started when first asked for and kept."""

    rig: Rig
    scale: Scale
    server: str | None = None  # the Redis binary all stacks use
    version: str = ""
    sink_kind: str = ""
    _kept: dict[object, Any] = field(default_factory=dict)

    async def keep(self, name: object, start: Callable[[], Awaitable[T]]) -> T:
        """Return what `start` gave the first time it was asked for under this name."""
        if name not in self._kept:
            self._kept[name] = await start()
        kept: T = self._kept[name]
        return kept

    async def stack(self, shape: Shape) -> Stack:
        """Return the stack of this shape, started and warm."""
        stack = await self.keep(shape, lambda: Stack.start(self.rig, shape, self.server))
        self.version, self.sink_kind = stack.redis.version, stack.sink.kind
        return stack

    async def sink(self) -> Sink:
        """Return the sink of the bare loops."""
        sink = await self.keep("sink", lambda: Sink.start(self.rig))
        self.sink_kind = sink.kind
        return sink

    async def redis(self) -> Redis:
        """Start another private Redis."""
        redis = await self.rig.redis(binary=self.server)
        self.version = redis.version
        return redis


Probe = Callable[[Bench], Awaitable[Sample]]


@dataclass(frozen=True, slots=True)
class Demand:
    """One row: `ours` over `reference` must be at most (at least) `limit`; without a reference `ours` itself is.

    `unit` is that of `ours`; `prototype` is what the reference figures of the project's goals say.
    """

    key: str
    text: str
    limit: float | None
    probes: tuple[Probe, ...]
    ours: Callable[[Samples], float]
    reference: Callable[[Samples], float] | None = None
    at_least: bool = False
    unit: str = "us"
    prototype: str = ""
    once: bool = False
    aside: bool = False  # once in a quick run

    def wanted(self, number: int, scale: Scale) -> bool:
        """Return whether round `number`, from 0, measures it."""
        if self.once:
            return number == 0 and scale.backlog > 0
        return number == 0 or not (self.aside and scale.quick)

    @property
    def needs(self) -> frozenset[str]:
        """The names of its probes."""
        return frozenset(name_of(probe) for probe in self.probes)


def name_of(probe: Probe) -> str:
    """Name a probe."""
    return str(getattr(probe, "__name__", probe))


def read(probe: Probe, key: str, factor: float = 1.0) -> Callable[[Samples], float]:
    """Make what reads one number of one probe."""
    name = name_of(probe)

    def reading(samples: Samples) -> float:
        return samples[name][key] * factor

    return reading


def scaled(scale: Scale, **changes: Any) -> Scale:
    """Return `scale` with what the command line asks for."""
    return replace(scale, **{name: value for name, value in changes.items() if value is not None})


def chosen(demands: Sequence[Demand], only: Sequence[str]) -> list[Demand]:
    """Return the demands named in `only` (R8 means all rows of R8), all of them without names."""
    wanted = {name.strip().upper() for name in only if name.strip()}
    unknown = wanted - {demand.key for demand in demands}
    if unknown:
        raise ValueError(f"no such demand: {', '.join(sorted(unknown))}")
    return [demand for demand in demands if not wanted or demand.key in wanted]
