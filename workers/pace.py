"""How fast one class of calls may go: the pause the service asked for, and a rate that follows what it takes. Pure.

Rules guarded: a rate limit is not a concurrency limit, so both exist apart (window.py is the other one). The rate is
for all workers together; each takes its share by demand. It is unlimited until the service refuses, then follows what
was accepted. A refusal has to be earned by many accepted calls before the rate grows again, so the refused part stays
small at two calls a second as at two thousand; growing is careful up to the limit met last and fast beyond it, so that
a limit is held closely and a raised one is found within seconds. A Retry-After is obeyed to the letter. What one worker
learns it tells the others as a `Slowdown`.
"""

from collections import deque
from dataclasses import dataclass, replace
from math import inf

_GROW_EVERY = 0.5  # seconds
_STEP = 0.015  # a growth up to the limit met last, a share of the rate
_PROBE = 0.04  # the first growth beyond it; the next is `_STEPS_BY` times as large, while nothing is refused
_PROBED_FOR = 0.8  # seconds that the first growth beyond is tried before the next
_STEPS_BY = 3.0
_LARGEST_STEP = 0.36  # beyond it the calls refused at the end of a step count for too much
_FROM_NOTHING = 1.0  # the step where no rate is known to be taken
_USED = 0.7  # share of its rate a worker must have used for the rate to grow
_EARNED = 100  # calls accepted, by all workers, since the last cut, before the rate grows
_LEAST_LISTED = 1.9  # the service lists no limit below 2 calls a second (docs/sources.md, limits)
_LOWEST = 0.5  # calls per second: a refusal never stops a class altogether
_HOLD = 20.0  # after a Retry-After of d seconds nothing grows for this many times d
_LONGEST_HOLD = 60.0
_PAUSE = 0.02  # after a refusal without Retry-After, doubled while refusals follow each other
_STEADY_PAUSE = 0.16  # for as long as a service that counts by the second may refuse
_STEADY = 10  # so many refusals in a row; after them the pause doubles again
_LONGEST_PAUSE = 1.0
_LEAD = 0.03  # who was refused tries again so much before the others: they hear of it when it was too early
_BURST = 0.02  # seconds a call may come early to make up for late ones; after a rest, twice that is made up for
_EPOCH = 0.2  # refusals closer to each other than this count as one
_CUT = 0.97  # below a limit by more than a burst is worth
_MOST_CUT = 0.5
_PULL = 1.25  # a worker follows another's rate by at most this factor at a time
IDLE = 0.001  # the demand of a worker where nothing waits: a share to begin with that takes hardly any from others
_SECOND = 1.0  # what services count calls by
_LONGEST_LOOK = 5.0  # seconds looked back on, where fewer calls than `_SAMPLE` go in one
_SAMPLE = 10
_NO_PROBE, _PROBE_DUE, _PROBE_OUT = range(3)


@dataclass(frozen=True, slots=True)
class Slowdown:
    """A refusal, as told to all workers: `pause` in seconds from now, `rate` for all together, `factor` to the last.

    `factor` is 0 from a worker that had no rate before: then `rate` is what was taken from this worker alone.
    """

    pause: float
    rate: float
    factor: float
    asked: bool  # the service named the pause itself
    capped: bool = False  # it named a longer one: after the pause one call at a time finds out whether it is over


class Pace:
    """The pace of one class in one worker. `ceiling` is the configured rate for all workers, None without one.

    `cap` is the longest pause that is obeyed to its end. After it, one call at a time is made until one is accepted.
    """

    def __init__(self, ceiling: float | None = None, *, cap: float = inf) -> None:
        self._cap = cap
        self._probe = _NO_PROBE
        self.ceiling = inf if ceiling is None else ceiling
        self.rate = self.ceiling
        self.share = self._next_share = 1.0
        self.paused_until = -inf
        self._limit = 0.0  # the rate at which was refused last
        self._least = 0.0  # refusals that follow each other cut no deeper: a closed door says nothing of a rate
        self._step = _PROBE
        self._last_at = -inf  # when the last call would have gone, had it come neither early nor late
        self._first_at = -inf  # the next does not go before it
        self._slowed_at = -inf
        self._hold_until = -inf
        self._grown_at = self._grow_at = -inf
        self._cut_at = -inf
        self._found_at = -inf  # when a rate took the place of none
        self._part: int | None = None  # of the rate found, until the others were told of it
        self._led_until = -inf
        self._spent = self._earned = self._streak = 0
        self._taken: deque[float] = deque()

    def __repr__(self) -> str:
        rate = "unlimited" if self.rate == inf else f"{self.rate:.1f}/s"
        return f"<Pace {rate}, share {self.share:.2f}>"

    @property
    def opens_at(self) -> float:
        """When the next call may go: at once, if that is past; infinity while a probe is in flight."""
        if self._probe == _PROBE_OUT:
            return inf
        if self.rate == inf:
            return self.paused_until
        return max(self.paused_until, self._next_at - _BURST)

    @property
    def is_probing(self) -> bool:
        """Whether one call at a time is made, to find out whether a pause is over that was longer than the cap."""
        return self._probe != _NO_PROBE

    @property
    def _next_at(self) -> float:
        # Reckoned anew each time: a worker whose share grows goes faster at once.
        return max(self._first_at, self._last_at + 1.0 / max(_LOWEST / 10, self.rate * self.share))

    def take_share(self, share: float) -> None:
        """Take a share; a greater one only when it is given twice, for then the others have heard of our demand."""
        self.share, self._next_share = min(share, self._next_share), share

    def spend(self, now: float) -> None:
        """Count one call that goes out at `now`."""
        self._spent += 1
        if self._probe == _PROBE_DUE:
            self._probe = _PROBE_OUT
        if self.rate == inf:
            return
        self._last_at = max(self._next_at, now - _BURST)
        if now >= self._grow_at:
            self._grow(now)

    def accepted(self, now: float) -> None:
        """Count one call the service took."""
        self._probe = _NO_PROBE
        self._streak = 0
        self._earned += 1
        self._taken.append(now)
        self._trim(now)

    def unanswered(self) -> None:
        """Count out a call that the service neither took nor refused for its speed; a probe is made again."""
        if self._probe == _PROBE_OUT:
            self._probe = _PROBE_DUE

    def resume(self) -> None:
        """End the pause, because an operator lifted it."""
        self.paused_until = self._first_at = -inf
        self._probe = _NO_PROBE

    def refused(self, now: float, retry_after: float | None, *, took: float = 0.0) -> Slowdown | None:
        """Slow down after a 429; gives what the others should know, None when they know it already.

        `took` is how long the call was under way: one that began before we last slowed down says nothing new.
        """
        self.unanswered()
        asked, began = retry_after is not None, now - took
        late = now < self.paused_until or began < self._slowed_at
        pause = self._pause(now, late=late) if retry_after is None else min(retry_after, self._cap)
        capped = retry_after is not None and retry_after > self._cap
        if self._part is not None and began - self._found_at < _EPOCH:
            return self._add_part(now, pause, asked=asked, capped=capped)
        if late and (not asked or now + pause <= self.paused_until):
            return None
        fresh = self.rate == inf or (not late and now - self._cut_at >= _EPOCH)
        factor, rate = self._cut(now) if fresh else (1.0, self.rate)
        slowdown = Slowdown(pause=pause, rate=rate, factor=factor, asked=asked, capped=capped)
        self._apply(slowdown, now)
        if asked:
            return slowdown
        self._led_until = self.paused_until
        return replace(slowdown, pause=pause + _LEAD)

    def heard(self, slowdown: Slowdown, now: float) -> None:
        """Slow down because another worker was refused."""
        self._streak += now >= self.paused_until
        if slowdown.factor == 0.0:
            slowdown = self._joined(slowdown, now)
        elif slowdown.factor < 1.0 and now - self._cut_at < _EPOCH:
            slowdown = replace(slowdown, factor=1.0)
        elif slowdown.factor < 1.0 and self.rate < inf:
            apart = (slowdown.rate / (self.rate * slowdown.factor)) ** 0.5
            slowdown = replace(slowdown, factor=slowdown.factor * min(_PULL, max(1 / _PULL, apart)))
        if now < self._led_until and not slowdown.asked:  # both were refused, and both try first
            slowdown = replace(slowdown, pause=slowdown.pause - _LEAD)
        self._apply(slowdown, now)

    def _joined(self, slowdown: Slowdown, now: float) -> Slowdown:
        """Make a part of the rate that another worker found into a slowdown of this one: parts add up."""
        if self.rate == inf:
            self._trim(now)
            self._part = len(self._taken)
            return replace(slowdown, rate=slowdown.rate + self._part * _CUT)
        if now - self._found_at < _EPOCH:
            self._set_rate(self.rate + slowdown.rate)
        return replace(slowdown, factor=_CUT if now - self._cut_at >= _EPOCH else 1.0)

    def _add_part(self, now: float, pause: float, *, asked: bool, capped: bool) -> Slowdown:
        """Tell what was taken from here, after the first refusal was heard of and not had."""
        self._trim(now)
        told, self._part = self._part or 0, None
        self._set_rate(self.rate + (len(self._taken) - told) * _CUT)
        pause = max(pause, self.paused_until - now)  # what is left of the pause we heard of holds for the others too
        slowdown = Slowdown(pause=pause, rate=len(self._taken) * _CUT, factor=0.0, asked=asked, capped=capped)
        self._apply(replace(slowdown, factor=1.0), now)
        return slowdown

    def _apply(self, slowdown: Slowdown, now: float) -> None:
        self._slowed_at = now
        if slowdown.capped:
            self._probe = _PROBE_DUE
        self.paused_until = max(self.paused_until, now + slowdown.pause)
        if slowdown.factor != 1.0:
            if self.rate == inf:
                self._found_at = now
                self._set_rate(slowdown.rate)
            else:
                if self._earned or not self._least:  # what is refused before anything was taken shows no rate
                    self._least = self.rate * _MOST_CUT
                self._set_rate(max(self.rate * slowdown.factor, min(self.rate, self._least)))
            self._cut_at = now
            self._first_at = max(self._first_at, self.paused_until + _BURST)
            self._grown_at, self._grow_at = self.paused_until, self.paused_until + _GROW_EVERY
            self._spent = self._earned = 0
            self._step = _PROBE
            if self.rate < _LEAST_LISTED:  # hardly anything was taken: this is no limit that was met, nor to be kept to
                self._step, self._earned = _FROM_NOTHING, _EARNED
        if slowdown.asked and self.rate >= _LEAST_LISTED:
            self._hold_until = max(self._hold_until, now + min(_LONGEST_HOLD, _HOLD * slowdown.pause))

    def _set_rate(self, rate: float) -> None:
        self.rate = min(self.ceiling, max(_LOWEST, rate))
        self._limit = self.rate / _CUT

    def _pause(self, now: float, *, late: bool) -> float:
        if late:
            return 0.0
        self._streak += 1
        pause = min(_STEADY_PAUSE, _PAUSE * 2.0 ** min(self._streak - 1, 10))
        pause *= 2.0 ** min(10, max(0, self._streak - _STEADY))
        if self.rate < inf:  # less than one call later nothing can have changed
            return min(_LONGEST_PAUSE, max(pause, 1.0 / self.rate))
        self._trim(now)  # a service that counts by the second counts anew when the first of these is that old
        first = self._taken[0] if self._taken else -inf
        return min(_LONGEST_PAUSE, max(pause, first + _SECOND - now))

    def _cut(self, now: float) -> tuple[float, float]:
        self._trim(now)
        if self.rate == inf:
            self._part = None
            return 0.0, len(self._taken) / _SECOND * _CUT
        count = len(self._taken) + 1.0
        if count <= _SAMPLE:  # of a small part of all calls, which of them were refused is chance
            count += 2.0 * (1.0 - self.share)
        taken = count / self._look(now) / max(self.share, 1e-6)
        rate = max(self.rate * _MOST_CUT, min(self.rate, taken) * _CUT)
        return min(_CUT, rate / self.rate), rate

    def _grow(self, now: float) -> None:
        used = self._spent >= _USED * self.rate * self.share * min(now - self._grown_at, 60.0)
        earned = self._earned >= _EARNED * self.share
        self._grown_at, self._grow_at = now, now + _GROW_EVERY
        self._spent = 0
        if not used or not earned or now < self._hold_until:
            return
        if self.rate < self._limit:
            self.rate = min(self.ceiling, self._limit, self.rate * (1.0 + _STEP))
            return
        shows_after = 1.0 / (self._step * self.rate)  # a step that is not yet worth a call proves nothing
        self._grow_at = now + max(_PROBED_FOR if self._step == _PROBE else _GROW_EVERY, shows_after)
        self.rate = min(self.ceiling, self.rate * (1.0 + self._step))
        self._step = max(self._step, min(_LARGEST_STEP, self._step * _STEPS_BY))

    def _look(self, now: float) -> float:
        if self.rate == inf:
            return _SECOND
        wanted = min(_LONGEST_LOOK, _SAMPLE / (self.rate * max(self.share, 1e-6)))
        return max(_SECOND, min(wanted, now - self._found_at))

    def _trim(self, now: float) -> None:
        oldest = now - self._look(now)
        while self._taken and self._taken[0] < oldest:
            self._taken.popleft()


def share_of(demand: float, others: float) -> float:
    """Return a worker's share of the rate: its demand (lanes ready) against that of the other live workers."""
    mine = max(IDLE, demand)
    return mine / (mine + max(0.0, others))
