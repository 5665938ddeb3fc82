"""Stops calling a far side that fails whatever it is asked. Pure: a transition table over frozen states.

Rules guarded: it opens only when calls for several destinations fail and none has succeeded for a while, so dead
destinations, be they one or most of them, cannot close the door for the others; each hub has its own, so neither can a
dead hub; while it is open nothing is sent and no attempt is counted; one probe at a time decides whether it closes; a
failed probe doubles the wait. Refusals of a single call (4xx, 429) say nothing about the far side's health.

| state | event | next |
| --- | --- | --- |
| closed | success | closed, streak forgotten |
| closed | failure, streak long and wide enough, or most of a window failed | open |
| open | its time is over | half open: one probe may go |
| half open | probe succeeds | closed |
| half open | probe fails | open, twice as long |
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum

_STREAK = 10  # failures in a row
_LASTING = 1.0  # seconds from the first of them to the last
_WIDTH = 3  # lanes they must come from, where a hub has several
_WINDOW = 10.0  # seconds looked back on
_SAMPLE = 50  # calls that must be in the window
_RATE = 0.98  # share of them that failed
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 30.0


class Phase(StrEnum):
    """Where a breaker stands; the values are metric labels."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "halfOpen"


@dataclass(frozen=True, slots=True)
class State:
    """`until` is when an open one lets a probe go; `wait` how long it was opened for."""

    phase: Phase = Phase.CLOSED
    until: float = 0.0
    wait: float = 0.0


def opened(state: State, now: float, jitter: float) -> State:
    """Return the state after opening at `now`; `jitter` in [0, 1) shortens the wait by up to a quarter."""
    wait = _FIRST_WAIT if state.phase is Phase.CLOSED else min(_LONGEST_WAIT, state.wait * 2)
    return State(Phase.OPEN, now + wait * (1.0 - 0.25 * jitter), wait)


class Breaker:
    """The breaker of one class of calls to one hub; failures have to come from `width` lanes to open it."""

    def __init__(self, width: int = _WIDTH) -> None:
        self.state = State()
        self._width = width
        self._streak: list[str] = []
        self._streak_began = 0.0
        self._failed_at = float("-inf")
        self._calls: deque[tuple[float, bool, str]] = deque()

    def __repr__(self) -> str:
        return f"<Breaker {self.state.phase.value}>"

    def is_forgotten(self, now: float) -> bool:
        """Return whether it stands as a new one would: closed, and no failure in its window."""
        return self.state.phase is Phase.CLOSED and now - self._failed_at > _WINDOW

    def opens_at(self, now: float) -> float:
        """Return when a call may go: not after `now` means at once, infinity while a probe is out."""
        match self.state.phase:
            case Phase.CLOSED:
                return now
            case Phase.OPEN:
                return self.state.until
            case Phase.HALF_OPEN:
                return float("inf")

    def began(self, now: float) -> None:
        """Note that a call goes out; from an open breaker it is the probe."""
        if self.state.phase is Phase.OPEN and now >= self.state.until:
            self.state = replace(self.state, phase=Phase.HALF_OPEN)

    def abandoned(self) -> None:
        """Note that a call ended without an end: a probe that never came back leaves the door ajar for the next."""
        if self.state.phase is Phase.HALF_OPEN:
            self.state = replace(self.state, phase=Phase.OPEN)

    def succeeded(self, now: float, lane: str) -> None:
        """Note that the far side answered sensibly."""
        self._streak.clear()
        if self.state.phase is Phase.CLOSED:
            self._note(now, lane, failed=False)
        else:
            self.state = State()
            self._calls.clear()

    def failed(self, now: float, lane: str, jitter: float) -> bool:
        """Note that the far side failed; True when that opened the breaker."""
        self._failed_at = now
        if self.state.phase is Phase.OPEN:
            return False  # a call that was under way when it opened
        if self.state.phase is Phase.CLOSED:
            self._note(now, lane, failed=True)
            if not self._streak:
                self._streak_began = now
            self._streak.append(lane)
            if not (self._long_streak(now) or self._bad_window()):
                return False
        self.state = opened(self.state, now, jitter)
        self._streak.clear()
        self._calls.clear()
        return True

    def _note(self, now: float, lane: str, *, failed: bool) -> None:
        self._calls.append((now, failed, lane))
        while self._calls and (self._calls[0][0] < now - _WINDOW or len(self._calls) > 10 * _SAMPLE):
            self._calls.popleft()

    def _long_streak(self, now: float) -> bool:
        lasting = now - self._streak_began >= _LASTING
        return lasting and len(self._streak) >= _STREAK and len(set(self._streak)) >= self._width

    def _bad_window(self) -> bool:
        failed = [lane for _when, bad, lane in self._calls if bad]
        most = len(self._calls) >= _SAMPLE and len(failed) >= _RATE * len(self._calls)
        return most and len(set(failed)) >= self._width


class Breakers:
    """The breakers of one class of calls, one for each hub of which a call failed lately.

    `only` says that a hub has but one lane of this class, as with broadcasts: it is the hub that is dead, then.
    """

    def __init__(self, *, only: bool = False) -> None:
        self._width = 1 if only else _WIDTH
        self._by_hub: dict[str, Breaker] = {}

    def __repr__(self) -> str:
        return f"<Breakers {self.open} of {len(self._by_hub)} open>"

    def __len__(self) -> int:
        return len(self._by_hub)

    @property
    def open(self) -> int:
        """How many hubs are held back: open, or half open."""
        return sum(breaker.state.phase is not Phase.CLOSED for breaker in self._by_hub.values())

    def opens_at(self, hub: str, now: float) -> float:
        """Return when a call may go to the hub: not after `now` means at once, infinity while a probe is out."""
        breaker = self._by_hub.get(hub)
        return now if breaker is None else breaker.opens_at(now)

    def began(self, hub: str, now: float) -> None:
        """Note that a call goes out."""
        if breaker := self._by_hub.get(hub):
            breaker.began(now)

    def abandoned(self, hub: str) -> None:
        """Note that a call ended without an end."""
        if breaker := self._by_hub.get(hub):
            breaker.abandoned()

    def succeeded(self, hub: str, now: float, lane: str) -> bool:
        """Note that the far side answered sensibly for this hub; return whether that closed its breaker."""
        breaker = self._by_hub.get(hub)
        if breaker is None:
            return False
        closes = breaker.state.phase is not Phase.CLOSED
        breaker.succeeded(now, lane)
        if breaker.is_forgotten(now):
            del self._by_hub[hub]
        return closes

    def failed(self, hub: str, now: float, lane: str, jitter: float) -> bool:
        """Note that the far side failed for this hub; True when that opened its breaker."""
        breaker = self._by_hub.get(hub)
        if breaker is None:
            breaker = self._by_hub[hub] = Breaker(self._width)
        return breaker.failed(now, lane, jitter)
