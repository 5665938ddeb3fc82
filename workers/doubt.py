"""Whether refusals come from the rate at all. Pure.

A limit is what goes away when one goes slower. Refusals whose share stays the same are none: they hold back nothing but
what they refused.

    LIMIT  every refusal is taken for one of the rate
      | most calls that were under way beside a refusal were accepted, or the rate was cut again and again in vain
      v
    AS BEFORE  the share is measured at the former rate --- a run of refusals: LIMIT
      | enough refusals
      v
    SLOWER  the share is measured below what was accepted --- it is gone: LIMIT, at this rate
      | it is still there
      v
    RANDOM  refusals are expected --- more of them than chance explains: LIMIT; none for a while: LIMIT

More than chance explains is decided by Page's cumulative sum test (1954).
"""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf, log

from workers.limit import REFUSED, SECOND

_SOME = 4  # outcomes: fewer may be chance
_OPEN = 2  # accepted for each refused of the calls under way: of what is far beyond a limit hardly any is
_SLOWER = 0.8  # of the rate that was accepted
_EXPECTED = 15  # refusals expected at the lower rate before their absence says something
_OVER = 10.0  # seconds without a refusal: what refused has ended; also of a test with too little to send
_LEAST_SHARE = 0.005
_MOST_SHARE = 0.5
_MORE = 0.2  # added to the share: what the sum is to notice
_ALARM = 14.0  # of the sum: by chance once in a million calls


class Stage(Enum):
    """What is believed of refusals."""

    LIMIT = auto()
    AS_BEFORE = auto()
    SLOWER = auto()
    RANDOM = auto()


class Finding(Enum):
    """What an outcome leads to."""

    NOTHING = auto()
    OPEN = auto()  # most calls beside a refusal are accepted: begin a test
    MEASURED = auto()  # go slower
    RANDOM = auto()  # the share is the same: go on as before
    LIMIT = auto()  # it is gone: keep to the lower rate
    SHUT = auto()  # nothing but refusals
    OVER = auto()  # no refusals any more


@dataclass(slots=True)
class Sample:
    """Outcomes of calls since a moment."""

    since: float
    taken: int = 0
    refused: int = 0

    def add(self, *, refused: bool) -> None:
        """Count one call."""
        self.refused += refused
        self.taken += not refused

    @property
    def is_mostly_taken(self) -> bool:
        """Whether far more was taken than a rate that is much too high leads to."""
        return self.taken >= _OPEN * (1 + self.refused)

    @property
    def count(self) -> int:
        return self.taken + self.refused

    @property
    def share(self) -> float:
        """Which part was refused."""
        return self.refused / max(1, self.count)


class Doubt:
    """What one worker believes of the refusals of a class. `share` of the calls is expected to be refused."""

    def __init__(self) -> None:
        self.stage = Stage.LIMIT
        self.share = 0.0
        self.sample = Sample(0.0)
        self.is_idle = True  # whether an accepted call says nothing
        self._tests = False  # whether it is this worker that tests
        self._beside: Sample | None = None
        self._all: Sample | None = None
        self._under_way = 0  # calls of which the outcome is to be awaited
        self._is_unsure = False
        self._until = inf  # the end of the pause, while too few calls were under way to tell
        self._measured = 0.0
        self._sum = 0.0
        self._refused_at = 0.0

    def __repr__(self) -> str:
        return f"<Doubt {self.stage.name.lower()}, {self.share:.1%} expected>"

    @property
    def awaits(self) -> bool:
        """Whether calls are under way whose outcome shows whether a refusal comes from the rate."""
        return self._under_way > 0

    @property
    def is_vain(self) -> bool:
        """Whether most calls were accepted since the refusals began."""
        return self._all is not None and self._all.is_mostly_taken

    def watch(self, now: float, until: float, under_way: int) -> None:
        """Count the calls that are under way beside a refusal, whose pause ends at `until`."""
        self._beside = self._beside or Sample(now)
        self._all = self._all or Sample(now)
        self._under_way, self._until = under_way, until
        self.is_idle = False

    def trust(self) -> None:
        """Take the refusals for those of a limit: it was found."""
        self._beside = self._all = None
        self._under_way, self._is_unsure = 0, False
        self.is_idle = self.stage is Stage.LIMIT

    def begin(self, start: float) -> None:
        """Test from `start` on; until the share is measured it is taken for as large as it may be."""
        self._expect(Stage.AS_BEFORE, 1 / (1 + _OPEN), start)
        self._tests = True
        self.sample = Sample(start)

    def follow(self, share: float, now: float) -> None:
        """Expect what another worker told."""
        self._expect(Stage.RANDOM, share, now)
        self._measured = self.share
        self._tests = False

    def go_slower(self, now: float) -> float:
        """Measure the share again at a lower rate; return the part of the former rate that this is."""
        share = self.sample.share
        self._expect(Stage.SLOWER, share, now)
        self._measured = share
        self.sample = Sample(now + SECOND)  # services count by the second, and this one was faster
        return _SLOWER * (1 - share)

    def end(self) -> None:
        """Take every refusal for one of the rate."""
        self.stage, self.share, self._tests = Stage.LIMIT, 0.0, False
        self.trust()

    def taken(self, now: float) -> Finding:
        """Count an accepted call."""
        if self.stage is Stage.LIMIT:
            return self._ended_beside(now, refused=False)
        self._sum = max(0.0, self._sum + log((1 - self._more) / (1 - self.share)))
        return self._counted(now, refused=False)

    def refused(self, now: float) -> Finding:
        """Count a refused call."""
        if self.stage is Stage.LIMIT:
            return self._ended_beside(now, refused=True)
        self._sum += log(self._more / self.share)
        self._refused_at = now
        return Finding.SHUT if self._sum >= _ALARM else self._counted(now, refused=True)

    @property
    def _more(self) -> float:
        return min(0.9, self.share + _MORE)

    def _expect(self, stage: Stage, share: float, now: float) -> None:
        self.stage, self._sum, self._refused_at = stage, 0.0, now
        self.trust()
        self.share = min(_MOST_SHARE, max(_LEAST_SHARE, share))

    def _ended_beside(self, now: float, *, refused: bool) -> Finding:
        if self._beside is None or self._all is None:
            return Finding.NOTHING
        self._all.add(refused=refused)
        if not self._under_way:
            return Finding.OPEN if self._is_unsure and now >= self._until else Finding.NOTHING
        self._beside.add(refused=refused)
        self._under_way -= 1
        if self._under_way:
            return Finding.NOTHING
        self._is_unsure = self._beside.count < _SOME
        if self._is_unsure:
            return Finding.NOTHING  # unless another worker knows better until the pause is over, it has to be tried
        return Finding.SHUT if self._beside.refused > self._beside.taken else Finding.OPEN

    def _counted(self, now: float, *, refused: bool) -> Finding:
        if now - self._refused_at > _OVER:
            return Finding.OVER
        if not self._tests or self.stage is Stage.RANDOM or now < self.sample.since:
            return Finding.NOTHING
        self.sample.add(refused=refused)
        return self._judged(now)

    def _judged(self, now: float) -> Finding:
        sample = self.sample
        if self.stage is Stage.AS_BEFORE:
            if sample.refused < _SOME or now - sample.since < SECOND:
                return Finding.NOTHING
            if sample.share > REFUSED:
                return Finding.MEASURED
            self._measured = sample.share
            self._expect(Stage.RANDOM, sample.share, now)
            return Finding.RANDOM
        if sample.refused >= _SOME:
            self.stage = Stage.RANDOM
            return Finding.RANDOM
        if sample.count * self._measured >= _EXPECTED:
            return Finding.LIMIT
        return Finding.OVER if now - sample.since > _OVER else Finding.NOTHING
