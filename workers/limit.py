"""The search for the rate that a service takes: cut when it is refused, and halve what is unknown. Pure.

The search is that of BIC (Xu, Harfoush, Rhee, "Binary Increase Congestion Control", 2004), and a cut goes to what was
accepted, as in TCP Westwood. Known are a rate that was taken for a while and one that was refused:

           refused                      a trial: half way to `refused`
    FREE ----------> SEARCHING <---------------------------------------+
                      |  ^   | refused: half way to `taken`, or deeper -+
                      |  |   | without one
      nothing between |  |
                      v  | refused: the limit fell
                   HOLDING <------ refused -------- BEYOND --+
                      |                              ^   ^   | a trial: a wider step
                      +-- the last refusal is earned +   +---+

A step beyond costs a pause and refused calls when it fails, so that both have to be earned first.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto
from math import floor, inf

LEAST = 2.0  # calls a second: the service lists no lower limit (docs/sources.md, limits)
REMEMBERED = 10.0  # seconds, as in BBR: what was taken or refused before that says nothing of now
FAR_BELOW = 0.5  # share of what was taken: no limit by the second refuses below half of it, nor does a cut go there
LESS = 0.8  # share of a rate: a worker that knows its part about is sure that this is less, and that less was not used
_MOST_KEPT = 16_384  # times of accepted calls, half a megabyte: more than a worker makes between two looks at them
_LOWEST = 0.5  # calls a second: a class is never stopped altogether
_FINE = 0.03  # share of the rate: how close a limit is told, the first cut and the first step beyond
_WIDER = 4.0  # times the step before: four of them double the rate
_WIDEST = 0.36  # share of the rate: of what lies further beyond too many calls are refused before it is noticed
PAUSE = 0.05  # seconds after a refusal without Retry-After, doubled while refusals follow each other, up to a second
SECOND = 1.0  # what services count calls by; a rate counts as taken after one, and where a pause is dear after two
_UNSURE = 2  # times as long, where refusals are expected whatever the rate
_PAUSED = 0.03  # share of the time that the pauses after steps beyond may take
REFUSED = 0.01  # share of the calls that steps beyond may have refused; it is kept off a limit, for they go unevenly
_APART = 1.2  # times a rate: what was refused is far from it
_LONGEST = 60.0  # seconds between two steps beyond and of one of them, however long the pause was


class Phase(Enum):
    """Where the search stands."""

    FREE = auto()
    SEARCHING = auto()
    HOLDING = auto()
    BEYOND = auto()


@dataclass(frozen=True, slots=True)
class Found:
    """What the search knows, in calls a second: the rate to keep, one that was taken (0: none), one that was refused.

    `refused` is infinity while none is known.
    """

    rate: float
    taken: float = 0.0
    refused: float = inf

    def is_within(self, share: float) -> bool:
        """Return whether what was refused is more than what was taken by no more than a share."""
        return self.refused - self.taken <= self.taken * share * 1.01

    def between(self, close: float = _FINE) -> "Found":
        """Return the next rate to try: half way, or just below the one that was taken when that is close enough."""
        if self.is_within(close):
            return replace(self, rate=self.taken * (1 - REFUSED))
        return replace(self, rate=(self.taken + self.refused) / 2)


class Limit:
    """The rate of one class for all workers together. `ceiling` is the configured one, None without one."""

    def __init__(self, ceiling: float | None = None) -> None:
        self.ceiling = inf if ceiling is None else ceiling
        self.found = Found(self.ceiling)
        self.phase = Phase.FREE
        self._cuts = 0  # one after the other, none of them followed by a trial
        self._step = _FINE
        self._last_stride = 0.0  # the rate of the step before
        self.tried_at = -inf  # when the trial of the rate began
        self._trial = 0.0
        self._is_sure = True
        self._cost = 0.0  # seconds that the last refusal cost
        self._beyond_at = -inf  # no step beyond before
        self._earned = 0.0  # calls made since the last refusal, of all workers

    def __repr__(self) -> str:
        rate = "unlimited" if self.rate == inf else f"{self.rate:.1f}/s"
        return f"<Limit {rate} {self.phase.name.lower()}>"

    @property
    def rate(self) -> float:
        """Calls a second of all workers together."""
        return self.found.rate

    @property
    def _close(self) -> float:
        """How close a limit is told: every step of the search may cost a pause."""
        return _FINE * (1 + min(SECOND, self._cost) / 2)

    def is_due(self, now: float) -> bool:
        """Return whether the trial of the rate is over."""
        is_tried = self.phase is not Phase.FREE and now >= self.tried_at + self._trial
        return is_tried and (self.phase is not Phase.HOLDING or now >= self._beyond_at)

    @property
    def is_first(self) -> bool:
        """Whether it is the first rate that was found, and no other was refused."""
        return self.phase is Phase.SEARCHING and self.found.refused == inf and self.found.taken > 0.0

    def cut(self, accepted: float | None, quota: tuple[float, float] | None = None) -> Found:
        """Return what is known after a refusal; `accepted` is the rate that was taken lately, None when not known.

        `quota`: the least and the most that is taken in a second, as far as it has been seen.
        """
        if quota is not None and quota[0] < self.rate:
            return self._bounded(self._within(*quota))
        known, rate = self.found, self.rate
        taken = rate if accepted is None else min(accepted, rate)
        if rate == inf:
            # It was taken in two seconds of the service's clock at most, so half of it is taken in each.
            return self._bounded(Found(taken * (1 - _FINE), taken / 2))
        if self.phase is Phase.BEYOND:
            half = replace(known, refused=rate).between(_FINE * (1 + _WIDER) * 1.02)
            return self._bounded(replace(half, rate=min(half.rate, max(known.taken, taken * (1 - _FINE)))))
        if 0.0 < known.taken < rate:
            return self._bounded(replace(known, refused=rate).between(self._close))
        deep = min(1 - FAR_BELOW, _FINE * 2.0**self._cuts)
        least = rate * FAR_BELOW
        return self._bounded(Found(max(least, min(rate * (1 - deep), taken * (1 - _FINE))), 0.0, rate))

    def _within(self, least: float, most: float) -> Found:
        """Return what is known of a quota that lies between two rates; a refusal never raises the rate."""
        taken = self.found.taken
        if not LESS * taken <= most < taken:  # a quota a little below that has fallen, one far below was seen wrongly
            least, most = max(least, taken), max(most, taken)
        if most > least * (1 + _WIDER * _FINE):
            return Found(0.0, least * (1 - _FINE), min(most, self.rate)).between()
        rate = min((least + most) / 2 * (1 - 2 * REFUSED), self.rate * (1 - REFUSED))
        return Found(rate, min(least, rate), max(most, rate))

    def follow(self, found: Found, until: float, pause: float, *, is_asked: bool = True) -> None:
        """Keep to what a refusal showed, here or at another worker, after the pause that ends at `until`.

        `is_asked`: the service named the pause.
        """
        cost = self._cost_of(pause, is_asked=is_asked)
        if found.rate >= self.ceiling:
            self.free()
            return
        before, self.found = self.rate, self._bounded(found)
        self._cuts = 0 if found.taken > 0.0 else self._cuts + 1
        self._cost = cost
        self.phase = Phase.HOLDING if self.rate <= found.taken else Phase.SEARCHING
        is_first = found.refused == inf  # nothing is known that would have to be paid for
        self._earned = found.rate * REMEMBERED if is_first else 0.0  # so that the first step beyond comes early
        self._beyond_at = until if is_first else until + _rest_after(cost)
        self._step = _FINE
        self._try(until, before)

    @property
    def is_trusted(self) -> bool:
        """Whether the service took calls at this rate so far."""
        return self.phase is Phase.FREE or self.rate <= self.found.taken

    def keep(self, found: Found) -> None:
        """Keep to a rate for as long as refusals are doubted, or go back to one that was kept before."""
        self.found = self._bounded(found)
        self._cuts = 0
        if self.rate >= self.ceiling:
            self.free()
        else:
            self.phase = Phase.HOLDING if self.rate <= found.taken else Phase.SEARCHING

    def correct(self, rate: float) -> None:
        """Take the first rate that is found for another: it was a guess of what the other workers had accepted."""
        if self.phase is Phase.SEARCHING and self.found.refused == inf:
            self.found = self._bounded(Found(rate * (1 - _FINE), rate / 2))
            self._earned = self.rate * REMEMBERED

    def tested(self, taken: float, refused: float) -> Found:
        """Return what is known when a share of a rate was refused, and nothing at this lower one."""
        return Found(max(self.rate, taken * (1 - _FINE)), self.rate, max(refused, self.rate))

    def try_again(self, at: float, pause: float, *, is_asked: bool = True) -> None:
        """Begin the trial of the rate anew after a pause: it was refused without being shown as too much.

        Workers that were refused together pause for different times, and go on together.
        """
        self.tried_at = at
        if pause > 0.0 and not is_asked and self._cost < SECOND:
            self._beyond_at = min(self._beyond_at, at + _rest_after(self._cost_of(pause, is_asked=False)))

    def free(self) -> None:
        """Forget the limit: refusals do not come from the rate."""
        self.found, self.phase, self._cuts = Found(self.ceiling), Phase.FREE, 0

    def advance(self, now: float, sent: float, *, is_sure: bool = True) -> None:
        """Go on after a trial without a refusal; nothing is shown by a rate that was not used.

        `sent`: the calls of all workers since the trial began, as far as one of them can tell from its share. It is not
        so sure where refusals are expected that do not come from the rate: each trial takes longer then.
        """
        self._is_sure = is_sure
        whole = self.rate * (now - self.tried_at)
        self._earned += min(sent, whole)
        if sent < LESS * whole:
            self._try(now, self.rate)
            return
        if self.phase is Phase.BEYOND:
            self._step_beyond(now)
            return
        was_held = self.phase is Phase.HOLDING
        self.found = replace(self.found, taken=max(self.rate, self.found.taken) if was_held else self.rate)
        self._cuts = 0
        if self.rate >= self.ceiling:
            self.free()
        elif not was_held and self.found.refused < inf and not self.found.is_within(self._close):
            self._go_to(self.found.between(self._close).rate, now, Phase.SEARCHING)
        elif now >= self._beyond_at and self._earned >= 1 / REFUSED:
            self._step, self._last_stride = _FINE, self.rate
            self._go_to(self.rate * (1 + self._step), now, Phase.BEYOND)
        else:
            self.phase = Phase.HOLDING
            self._try(now, self.rate)

    def _step_beyond(self, now: float) -> None:
        taken = self.rate if self._step == _FINE or self._trial >= 2 * SECOND else self._last_stride
        self.found = replace(self.found, taken=max(taken, self.found.taken), refused=inf)
        self._last_stride = self.rate
        if self.rate >= self.ceiling:
            self.free()
            return
        if self._is_sure:
            self._step = min(_WIDEST, self._step * _WIDER)
        self._go_to(self.rate * (1 + self._step), now, Phase.BEYOND)
        if self._is_sure:
            self._trial = max(2.0 / (self.rate - self._last_stride), SECOND / 2, min(_LONGEST, 2 * self._cost))

    def _go_to(self, rate: float, now: float, phase: Phase) -> None:
        before, self.phase = self.rate, phase
        self.found = self._bounded(replace(self.found, rate=rate))
        self._try(now, before)

    def _try(self, now: float, before: float) -> None:
        self.tried_at = now
        apart = max(abs(self.rate - before), REFUSED * self.rate) if self.rate != before else 0.0
        worth = 1.0 / apart if 0.0 < apart < inf else 0.0  # seconds until the difference is worth a call
        dear = min(SECOND, self._cost)
        # In parts of two seconds of the service a rate passes that is far too high for one.
        is_far = self.phase is Phase.SEARCHING and self.rate * _APART < self.found.refused < inf
        least = 2 * SECOND if is_far else SECOND
        self._trial = max(worth, least, SECOND + dear * (1 + worth)) * (1 if self._is_sure else _UNSURE)

    def _cost_of(self, pause: float, *, is_asked: bool) -> float:
        """Return the seconds lost by a pause: one that is not asked for mostly waits for a quota that is used up."""
        return pause if is_asked or self.rate == inf else min(pause, max(PAUSE, 1.0 / self.rate))

    def _bounded(self, found: Found) -> Found:
        return replace(found, rate=min(self.ceiling, max(_LOWEST, found.rate)))


def _rest_after(cost: float) -> float:
    """Return the seconds from a pause to the next step beyond."""
    return min(_LONGEST, cost / _PAUSED)


class Taken:
    """When calls of one worker were accepted lately (`at`, in order), and how many in a second at most."""

    def __init__(self) -> None:
        self.at: deque[float] = deque(maxlen=_MOST_KEPT)
        self._most = self._most_before = 0
        self._most_until = self._forgotten_at = self._refused_at = -inf
        self._refusals = 0
        self.first: tuple[float, ...] = ()  # times of those that were accepted in the second before a rate was found

    @property
    def last_at(self) -> float:
        """When the last call was accepted."""
        return self.at[-1] if self.at else self._forgotten_at

    @property
    def streak(self) -> int:
        """How many refusals came after the last accepted call."""
        return 0 if self.last_at > self._refused_at else self._refusals

    def refused(self, now: float) -> None:
        """Count a refusal."""
        self._refusals, self._refused_at = self.streak + 1, now

    def look(self, now: float, seconds: float) -> None:
        """Note how many calls were accepted in the last `seconds`, and forget those before."""
        count = self.count(now, seconds)
        if now >= self._most_until:
            self._most_before, self._most, self._most_until = self._most, 0, now + REMEMBERED
        self._most = max(self._most, count)

    def count(self, now: float, look: float, since: float = -inf) -> int:
        """Return how many calls were accepted in the last `look` seconds, and not before `since`."""
        self._trim(now, look)
        return len(self.at) if since <= now - look else sum(at >= since for at in self.at)

    def begin(self, now: float) -> int:
        """Keep the times of what was accepted in the last second, because a rate is found; return how many."""
        count = self.count(now, SECOND)
        self.first = tuple(self.at)
        return count

    def in_a_second(self, now: float, *, of_all: float, share: float) -> tuple[float, float] | None:
        """Return how many calls the service takes in a second, None where what was seen does not tell.

        The calls before the first rate was found (`of_all` those of all workers) fell into two seconds of the service,
        if that rate is refused too. From the beginning of the second one on as many of them were taken as
        later from the beginning of the second on that is refused now. One moment gives the same number for both.
        `share` of all later calls are of this worker.
        """
        later, scale = list(self.at), of_all / max(1, len(self.first))
        found = list[float]()
        for number, begin in enumerate(self.first):
            before = (len(self.first) - number) * scale
            after = (len(later) - bisect_left(later, begin + floor(now - begin))) / share
            if abs(before - after) < REFUSED * before:
                found.append(after)
        return (min(found), max(found)) if found else None

    def is_telling(self, now: float, *, again: bool) -> bool:
        """Return whether a first refusal shows a rate: not where hardly anything was taken, or once far more."""
        count = self.count(now, SECOND)
        return count >= LEAST and (again or count >= FAR_BELOW * max(self._most, self._most_before))

    def _trim(self, now: float, look: float) -> None:
        oldest = now - look
        while self.at and self.at[0] < oldest:
            self._forgotten_at = self.at.popleft()
