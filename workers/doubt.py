"""Whether refusals come from the rate at all. Pure.

A limit is what goes away when one goes slower. Refusals whose share stays the same are none: they hold back nothing but
what they refused.

    LIMIT  every refusal is taken for one of the rate
      | most calls under way beside a refusal were accepted, or refusals came after fewer calls than were taken before,
      | or the rate was cut again and again in vain
      v
    AS BEFORE  the share is measured at the former rate --- a run of refusals: LIMIT
      | enough refusals
      v
    SLOWER  the share is measured below what was accepted --- it is gone: LIMIT, at this rate; it is another: SLOWER
      | it is still there
      v
    RANDOM  refusals are expected --- none for a while: LIMIT
      ^ | more of them than chance explains
      +-+ the rate is cut, and they are expected still

More than chance explains is decided by Page's cumulative sum test (1954).
"""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf, log

from workers.limit import FAR_BELOW, LESS, REFUSED, REMEMBERED, SECOND

_SOME = 4  # outcomes: fewer may be chance
_ALIKE = 3  # refusals and nothing else: once in a thousand times where every tenth call is refused by chance
_TWICE = 2.0  # times as many: so much apart are numbers that so few calls tell apart
_ODD = 2  # refusals far below what was taken, none of them just after another
_EXPECTED = 15  # refusals expected at the lower rate before their absence says something
_MORE = 0.2  # added to the share: what the sum is to notice
_ALARM = 14.0  # of the sum: by chance once in a million calls
_NEARLY_ALL = 0.9  # the share that the sum is to notice while the share by chance is not measured
_EARLY_ALARM = 7.0  # of the sum meanwhile: seven refusals, one after the other


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
        return self.taken >= _TWICE * (1 + self.refused)

    @property
    def is_mostly_refused(self) -> bool:
        """Whether far more was refused than chance leads to."""
        return self.refused >= max(_ALIKE, _TWICE * (1 + self.taken))

    @property
    def count(self) -> int:
        return self.taken + self.refused

    @property
    def share(self) -> float:
        """Which part was refused."""
        return self.refused / max(1, self.count)


@dataclass(slots=True)
class Run:
    """Refusals one after the other, in no calls a second more than `first`, and no rate was taken for long since."""

    first: float = inf
    count: int = 0
    own: int = 0  # of them, of calls of this worker
    odd: int = 0  # of them, far below what was accepted before
    most: float = 0.0  # calls a second that were accepted before one of them, the first of all left out

    def is_odd(self, accepted: float, taken: float) -> bool:
        """Return whether a refusal after so many `accepted` calls in a second comes far below what was taken."""
        return accepted < max(FAR_BELOW * self.most, LESS * taken)

    def add(self, accepted: float, *, is_own: bool, is_odd: bool) -> None:
        """Count a refusal."""
        if self.count:
            self.most = max(self.most, accepted)
        self.count += 1
        self.own += is_own
        self.odd += is_odd

    def is_vain(self, rate: float) -> bool:
        """Return whether going slower did not help, down to this rate."""
        return self.own > _SOME and rate < FAR_BELOW * self.first

    @property
    def is_strange(self) -> bool:
        """Whether no limit by the second refuses like that."""
        return self.odd >= _ODD


class Doubt:
    """What one worker believes of the refusals of a class. `share` of the calls is expected to be refused."""

    def __init__(self) -> None:
        self.stage = Stage.LIMIT
        self.share = 0.0
        self.sample = Sample(0.0)
        self._before = self.sample  # the one before it, at a higher rate
        self.is_idle = True  # whether an accepted call says nothing
        self._is_settled = False  # whether no worker tests
        self._tests = False  # whether it is this worker that tests
        self._beside: Sample | None = None
        self._all: Sample | None = None
        self._under_way = 0  # calls of which the outcome is to be awaited
        self._is_unsure = False
        self._until = inf  # the end of the pause, while too few calls were under way to tell
        self._measured = 0.0
        self._sum = 0.0
        self._refused_at = 0.0
        self._shut_until = -inf

    def __repr__(self) -> str:
        return f"<Doubt {self.stage.name.lower()}, {self.share:.1%} expected>"

    @property
    def is_measured(self) -> bool:
        """Whether a share of refusals is known that is refused whatever the rate."""
        return self.stage is Stage.RANDOM and self._is_settled

    @property
    def is_testing(self) -> bool:
        """Whether it is not known yet where the refusals come from, here or at another worker."""
        return self.stage is not Stage.LIMIT and not self.is_measured

    @property
    def awaits(self) -> bool:
        """Whether calls are under way whose outcome shows whether a refusal comes from the rate."""
        return self._under_way > 0

    @property
    def is_vain(self) -> bool:
        """Whether most calls were accepted since the refusals began."""
        return self._all is not None and self._all.is_mostly_taken

    def is_watching(self, now: float) -> bool:
        """Return whether calls beside refusals of the last seconds are counted: not enough of them to tell yet."""
        return self._beside is not None and now - self._beside.since < REMEMBERED

    def count(self, now: float) -> None:
        """Count calls from a refusal on."""
        self._all = self._all or Sample(now)
        self.is_idle = False

    def recount(self, start: float) -> None:
        """Count calls anew: a limit was met for the first time, and too many calls were on their way to it."""
        self._all, self.is_idle = Sample(start), False

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
        self._expect(Stage.AS_BEFORE, 1 / (1 + _TWICE), start)
        self._tests = True
        self.sample = Sample(start)

    def follow(self, share: float, now: float, *, is_test: bool = False) -> None:
        """Expect what another worker told; of a test that goes on here as well only the end."""
        if self._tests and is_test:
            return
        self._is_settled = not is_test
        self._expect(Stage.RANDOM, share, now)
        self._measured = self.share
        self._tests = False

    def go_slower(self, now: float, share: float) -> float:
        """Measure the share again at a lower rate; return the part of the former rate that this is."""
        share = _possible(share)
        self._tests = True
        self._expect(Stage.SLOWER, share, now)
        self._measured = share
        self._before = self.sample
        self.sample = Sample(now + SECOND)  # services count by the second, and this one was faster
        return LESS * (1 - share)

    def end(self) -> None:
        """Take every refusal for one of the rate."""
        self.stage, self.share, self._tests = Stage.LIMIT, 0.0, False
        self.trust()

    def shut(self, until: float) -> None:
        """Take a run of refusals for those of a limit, beside the ones that are expected; `until` a pause lasts."""
        self._sum, self._shut_until = 0.0, until

    def taken(self, now: float) -> Finding:
        """Count an accepted call."""
        if self.stage is Stage.LIMIT:
            return self._ended_beside(now, refused=False)
        if self._all is not None:
            self._all.add(refused=False)
        self._sum = max(0.0, self._sum + log((1 - self._more) / (1 - self.share)))
        return self._counted(now, refused=False)

    def refused(self, now: float) -> Finding:
        """Count a refused call."""
        if self.stage is Stage.LIMIT:
            return self._ended_beside(now, refused=True)
        if self._all is not None:
            self._all.add(refused=True)
        self._refused_at = now
        if now < self._shut_until:
            return Finding.NOTHING
        self._sum += log(self._more / self.share)
        alarm = _EARLY_ALARM if self.stage is Stage.AS_BEFORE else _ALARM
        return Finding.SHUT if self._sum >= alarm else self._counted(now, refused=True)

    @property
    def _more(self) -> float:
        return _NEARLY_ALL if self.stage is Stage.AS_BEFORE else min(_NEARLY_ALL, self.share + _MORE)

    def _expect(self, stage: Stage, share: float, now: float) -> None:
        self.stage, self._sum, self._refused_at = stage, 0.0, now
        self.trust()
        self.share = _possible(share)

    def _settle(self, share: float, now: float) -> None:
        """Expect what was measured, here or at another worker."""
        self._expect(Stage.RANDOM, share, now)
        self._tests, self._is_settled = False, True

    def _ended_beside(self, now: float, *, refused: bool) -> Finding:
        if self._all is not None and now >= self._all.since:
            self._all.add(refused=refused)
        if self._beside is None:
            return Finding.NOTHING
        if not self._under_way:
            return Finding.OPEN if self._is_unsure and now >= self._until else Finding.NOTHING
        self._beside.add(refused=refused)
        self._under_way -= 1
        if self._under_way:
            return Finding.NOTHING
        if self._beside.is_mostly_refused:
            return Finding.SHUT
        self._is_unsure = self._beside.count < _SOME or self._beside.refused > self._beside.taken
        # Unless another worker knows better until the pause is over, it has to be tried.
        return Finding.NOTHING if self._is_unsure else Finding.OPEN

    def _counted(self, now: float, *, refused: bool) -> Finding:
        if now - self._refused_at > REMEMBERED:
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
            self._settle(sample.share, now)
            return Finding.RANDOM
        if sample.refused >= _SOME and self._measured / _TWICE <= sample.share <= self._measured * _TWICE:
            # Of both samples: the second ends as soon as it is like the first, which is at the least that is like it.
            both = Sample(now, self._before.taken + sample.taken, self._before.refused + sample.refused)
            self._settle(both.share, now)
            return Finding.RANDOM
        if max(sample.refused, sample.count * self._measured) >= _EXPECTED:
            return Finding.MEASURED if sample.refused >= _SOME else Finding.LIMIT
        return Finding.NOTHING


def _possible(share: float) -> float:
    """Return a share that can be told: of fewer one hears too seldom, of more than every other call it is shut."""
    return min(1 / _TWICE, max(REFUSED / 2, share))
