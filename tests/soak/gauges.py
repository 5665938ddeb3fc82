"""Memory over time, and whether it is flat. Pure.

Rule guarded: a process may warm up; after that the last third of its samples must not lie above the first one by more
than a tenth and some megabytes, which an allocator takes without leaking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression

MIB = 2**20
_WARM_UP = 0.15  # of the samples
_FEWEST = 9
_TENTH = 1.1
_SLACK = 6 * MIB


@dataclass(frozen=True, slots=True)
class Trend:
    """The mean of the first and the last third in bytes, and the slope in bytes a minute."""

    name: str
    first: float
    last: float
    slope: float

    @property
    def flat(self) -> bool:
        """Whether the last third is no larger than the first one, give or take."""
        return self.last <= self.first * _TENTH + _SLACK

    def __str__(self) -> str:
        word = "flat" if self.flat else "GROWS"
        means = f"{self.first / MIB:7.1f} -> {self.last / MIB:7.1f} MiB"
        return f"{self.name:<14} {means}, {self.slope / 1024:+8.1f} KiB/min, {word}"


def trend_of(name: str, samples: Sequence[tuple[float, int]]) -> Trend | None:
    """Judge samples of (seconds, bytes); None when there are too few to say anything."""
    warm = samples[int(len(samples) * _WARM_UP) :]
    if len(warm) < _FEWEST:
        return None
    third = len(warm) // 3
    slope = linear_regression([at / 60 for at, _ in warm], [size for _, size in warm]).slope
    first, last = fmean(size for _, size in warm[:third]), fmean(size for _, size in warm[-third:])
    return Trend(name, first, last, slope)


def drained(backlogs: Sequence[int]) -> bool:
    """Whether nothing was left waiting at the last look, however much waited before."""
    return not backlogs or backlogs[-1] == 0
