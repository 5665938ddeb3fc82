"""How fast one class of calls may go: the pause the service asked for, and a rate that follows what it takes. Pure.

Rules guarded: a rate limit is not a concurrency limit, so both exist apart (window.py is the other one). The rate is
for all workers together; each takes its share by demand. It is unlimited until the service refuses, then follows what
was accepted; it grows while it is used up and nothing is refused, a little at first and then faster, so that a limit is
held closely and a raised one is found within seconds. A Retry-After is obeyed to the letter, and because each costs a
pause, growing waits for a multiple of it. What one worker learns it tells the others as a `Slowdown`.
"""

from collections import deque
from dataclasses import dataclass
from math import inf

_GROW_EVERY = 0.8  # seconds
_STEP = 0.01  # the first growth after a refusal, a share of the rate; triples each time nothing was refused
_STEPS_BY = 3.0
_LARGEST_STEP = 1.0
_USED = 0.7  # share of its rate a worker must have used for the rate to grow
_LOWEST = 0.5  # calls per second: a refusal never stops a class altogether
_HOLD = 20.0  # after a pause of d seconds nothing grows for this many times d
_LONGEST_HOLD = 60.0
_PAUSE = 0.02  # after a refusal without Retry-After, doubled while refusals follow each other
_LONGEST_PAUSE = 1.0
_BURST = 0.02  # seconds worth of calls that may go at once after a rest
_EPOCH = 0.2  # refusals closer to each other than this count as one
_CUT = 0.99


@dataclass(frozen=True, slots=True)
class Slowdown:
    """A refusal, as told to all workers: `pause` in seconds from now, `rate` for all together, `factor` to the last."""

    pause: float
    rate: float
    factor: float
    asked: bool  # the service named the pause itself


class Pace:
    """The pace of one class in one worker. `ceiling` is the configured rate for all workers, None without one."""

    def __init__(self, ceiling: float | None = None) -> None:
        self.ceiling = inf if ceiling is None else ceiling
        self.rate = self.ceiling
        self.share = 1.0
        self.paused_until = -inf
        self._step = _STEP
        self._next_at = -inf
        self._hold_until = -inf
        self._grown_at = -inf
        self._cut_at = -inf
        self._spent = 0
        self._streak = 0
        self._taken: deque[float] = deque()

    def __repr__(self) -> str:
        rate = "unlimited" if self.rate == inf else f"{self.rate:.1f}/s"
        return f"<Pace {rate}, share {self.share:.2f}>"

    @property
    def opens_at(self) -> float:
        """When the next call may go: at once, if that is past."""
        if self.rate == inf:
            return self.paused_until
        return max(self.paused_until, self._next_at - _BURST)

    def spend(self, now: float) -> None:
        """Count one call that goes out at `now`."""
        self._spent += 1
        if self.rate == inf:
            return
        self._next_at = max(self._next_at, now - _BURST) + 1.0 / max(_LOWEST / 10, self.rate * self.share)
        if now - self._grown_at >= _GROW_EVERY:
            self._grow(now)

    def accepted(self, now: float) -> None:
        """Count one call the service took."""
        self._streak = 0
        self._taken.append(now)
        self._trim(now)

    def refused(self, now: float, retry_after: float | None) -> Slowdown | None:
        """Slow down after a 429; gives what the others should know, None when they know it already."""
        self._streak += 1
        asked = retry_after is not None
        pause = retry_after if retry_after is not None else min(_LONGEST_PAUSE, _PAUSE * 2 ** min(self._streak - 1, 10))
        fresh = now - self._cut_at >= _EPOCH
        if not fresh and now + pause <= self.paused_until:
            return None
        factor, rate = self._cut(now) if fresh else (1.0, self.rate)
        slowdown = Slowdown(pause=pause, rate=rate, factor=factor, asked=asked)
        self._apply(slowdown, now)
        return slowdown

    def heard(self, slowdown: Slowdown, now: float) -> None:
        """Slow down because another worker was refused."""
        self._streak += 1
        if slowdown.factor < 1.0 and now - self._cut_at < _EPOCH:
            slowdown = Slowdown(slowdown.pause, self.rate, 1.0, slowdown.asked)
        self._apply(slowdown, now)

    def _apply(self, slowdown: Slowdown, now: float) -> None:
        self.paused_until = max(self.paused_until, now + slowdown.pause)
        if slowdown.factor < 1.0:
            self.rate = slowdown.rate if self.rate == inf else max(_LOWEST, self.rate * slowdown.factor)
            self._cut_at = self._grown_at = now
            self._next_at = max(self._next_at, self.paused_until)
            self._step = _STEP
            self._spent = 0
        if slowdown.asked:
            self._hold_until = max(self._hold_until, now + min(_LONGEST_HOLD, _HOLD * slowdown.pause))

    def _cut(self, now: float) -> tuple[float, float]:
        self._trim(now)
        window = self._window()
        taken = (len(self._taken) + 1) / window / max(self.share, 1e-6)
        if self.rate == inf:
            return 0.5, max(_LOWEST, taken)
        rate = max(_LOWEST, self.rate * 0.5, min(self.rate * _CUT, taken))
        return min(_CUT, rate / self.rate), rate

    def _grow(self, now: float) -> None:
        used = self._spent >= _USED * self.rate * self.share * min(now - self._grown_at, 60.0)
        self._grown_at = now
        self._spent = 0
        if not used or now < self._hold_until:
            return
        self.rate = min(self.ceiling, self.rate * (1.0 + self._step))
        self._step = min(_LARGEST_STEP, self._step * _STEPS_BY)

    def _window(self) -> float:
        return 1.0 if self.rate == inf else min(5.0, max(1.0, 10.0 / self.rate))

    def _trim(self, now: float) -> None:
        oldest = now - self._window()
        while self._taken and self._taken[0] < oldest:
            self._taken.popleft()


def share_of(demand: float, others: float) -> float:
    """Give a worker's share of the rate: its demand (lanes ready) against that of the other live workers."""
    mine = max(1.0, demand)
    return mine / (mine + max(0.0, others))
