"""Stops calling a service that fails whatever it is asked, and notices which destinations fail alone. Pure.

Rules guarded:
- A breaker opens only when calls for several destinations fail and none has succeeded for a while. Each hub and class
  of calls has its own, so that a dead hub holds back no other.
- While it is open, destinations that hardly failed are still tried, up to a number: as many may fail by themselves
  without keeping the others waiting. Past that number it is the service that fails. Then one probe at a time is made,
  after waits that double: destinations that were never tried first, then all others in turn, and the kinds of calls in
  turn.
- What is held back here uses up no attempt. Refusals of a single call (400, 429) are no failures.

| state | event | next |
| --- | --- | --- |
| closed | success | closed, streak forgotten |
| closed | failure, streak long and wide enough, or most of a window failed | open |
| open, half open | a destination that hardly failed, while there are first calls left | its call goes at once |
| open | its time is over | half open: one probe may go |
| half open | the probe fails | open, twice as long |
| open, half open | any call succeeds | closed |
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Protocol

_STREAK = 10  # failures in a row
_LASTING = 1.0  # seconds from the first of them to the last
_WIDTH = 3  # destinations they must come from, where a hub has several
_WINDOW = 10.0  # seconds looked back on
_SAMPLE = 50  # calls that must be in the window
_RATE = 0.98  # share of them that failed
_FIRST_WAIT = 1.0  # seconds
_LONGEST_WAIT = 30.0  # seconds
_FIRST_CALLS = 100  # destinations that are tried although it is open, until it closes; as many again for urgent calls
_AT_ONCE = 32  # calls to them in flight
_SOON = 0.1  # seconds until another one may be
_HARDLY = 3  # failures in a row, from which on a destination waits for a probe
_REMEMBERED = 1000  # destinations that failed, of each hub, and hubs that refused
_TURN = 0.05  # seconds by which a kind of calls comes later for each probe that it had more than another
_LATER = 0.25  # seconds by which destinations that were tried come later than those that were not
_AFTER_OTHERS = 0.04  # seconds by which one that had its probe comes later than others of its kind
_MOST_TURNS = 4
_NEXT_RECOVERY = 1.0  # seconds from one time that those who wait are told of a success to the next
_ALONE_AFTER = 3.0  # seconds
_MOST_ALONE = 10  # destinations of a hub that were refused lately; where it is more, none of them is alone
_LATELY = 60.0  # seconds; backoff makes it half a minute between two calls to one of them
_MOST_REFUSED = 10_000


class Candidate(Protocol):
    """A lane as the breaker sees it: its destination, the kind of its next call, whether that is urgent."""

    @property
    def key(self) -> str: ...

    @property
    def hub(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def is_urgent(self) -> bool: ...


class Phase(StrEnum):
    """The states of a breaker; the values are metric labels."""

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
    """The breaker of one class of calls to one hub; failures have to come from `width` destinations to open it."""

    def __init__(self, width: int = _WIDTH) -> None:
        self.state = State()
        self._width = width
        self._streak: list[str] = []
        self._streak_began = 0.0
        self._failed_at = -inf
        self._calls: deque[tuple[float, bool, str]] = deque()
        self._failures: dict[str, int] = {}  # in a row, by destination
        self._probe: str | None = None
        self._probes: dict[str, int] = {}  # since it opened, by kind of call
        self._probed: set[str] = set()  # destinations, in this round of all that wait
        self._has_closed = False  # since those who wait were told of it
        self._told_at = -inf
        self._first_in_flight: set[str] = set()
        self._first_left = [_FIRST_CALLS, _FIRST_CALLS]  # of all, and of urgent ones

    def __repr__(self) -> str:
        return f"<Breaker {self.state.phase.value}>"

    def is_forgotten(self, now: float) -> bool:
        """Return whether it is like a new one: closed, and no failure in its window."""
        return self.state.phase is Phase.CLOSED and now - self._failed_at > _WINDOW

    def failures_of(self, lane: str) -> int:
        """Return how often a destination has failed in a row."""
        return self._failures.get(lane, 0)

    def opens_at(self, lane: Candidate, now: float) -> float:
        """Return when a call may go: `now` for at once, infinity while a probe is in flight."""
        if self.state.phase is Phase.CLOSED:
            return now
        if self._is_first(lane):
            return now if len(self._first_in_flight) < _AT_ONCE else now + _SOON
        if self.state.phase is Phase.HALF_OPEN:
            return inf
        if now >= self.state.until:
            return now
        kinds = self._probes
        turns = kinds.setdefault(lane.kind, 0) - min(kinds.values())
        later = _LATER if lane.key in self._failures else 0.0
        later += _AFTER_OTHERS if lane.key in self._probed else 0.0
        return self.state.until + later + _TURN * min(turns, _MOST_TURNS)

    def began(self, lane: Candidate, now: float) -> None:
        """Count a call that is being sent; from an open breaker it may be the probe."""
        if self.state.phase is Phase.CLOSED:
            return
        if self._is_first(lane):
            self._first_in_flight.add(lane.key)
            self._first_left[lane.is_urgent] -= lane.key not in self._failures
        elif self.state.phase is Phase.OPEN and now >= self.state.until:
            self.state = replace(self.state, phase=Phase.HALF_OPEN)
            self._probe = lane.key
            self._probes[lane.kind] = self._probes.get(lane.kind, 0) + 1
            self._count_probed(lane.key)

    def abandoned(self, lane: str) -> None:
        """Count out a call that was cancelled before its outcome was known. If it was the probe, allow another one."""
        self._first_in_flight.discard(lane)
        if lane == self._probe:
            self._probe = None
            if self.state.phase is Phase.HALF_OPEN:
                self.state = replace(self.state, phase=Phase.OPEN)

    def succeeded(self, now: float, lane: str) -> bool:
        """Learn that the service has dealt with a call; return whether those who wait may be told that it recovered.

        Where many destinations fail by themselves, each success of another one closes it for a moment.
        """
        self._streak.clear()
        self._failures.pop(lane, None)
        self._first_in_flight.discard(lane)
        if self.state.phase is Phase.CLOSED:
            self._note(now, lane, failed=False)
        else:
            self.state = State()
            self._calls.clear()
            self._probes.clear()
            self._probed.clear()
            self._probe = None
            self._first_left = [_FIRST_CALLS, _FIRST_CALLS]
            self._has_closed = True
        if not self._has_closed or now < self._told_at + _NEXT_RECOVERY:
            return False
        self._has_closed, self._told_at = False, now
        return True

    def failed(self, now: float, lane: str, jitter: float) -> bool:
        """Learn that a call has failed; return whether that opened the breaker."""
        self._failed_at = now
        self._failures[lane] = self._failures.pop(lane, 0) + 1  # the latest is the last
        if len(self._failures) > _REMEMBERED:
            del self._failures[next(iter(self._failures))]
        self._first_in_flight.discard(lane)
        if self.state.phase is not Phase.CLOSED:
            if lane != self._probe or self.state.phase is Phase.OPEN:
                return False  # a first call, or one that was in flight when it opened
        else:
            self._note(now, lane, failed=True)
            if not self._streak:
                self._streak_began = now
            self._streak.append(lane)
            if not (self._long_streak(now) or self._bad_window()):
                return False
        self.state = opened(self.state, now, jitter)
        self._probe = None
        self._streak.clear()
        self._calls.clear()
        return True

    def _count_probed(self, lane: str) -> None:
        # A second probe of one means that all that wait had theirs.
        if lane in self._probed or len(self._probed) >= _REMEMBERED:
            self._probed.clear()
        self._probed.add(lane)

    def _is_first(self, lane: Candidate) -> bool:
        failures = self._failures.get(lane.key, 0)
        return failures < _HARDLY and (failures > 0 or self._first_left[lane.is_urgent] > 0)

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

    `only`: a hub has one destination of this class, as with broadcasts. If it fails, the hub fails.
    """

    def __init__(self, *, only: bool = False) -> None:
        self._width = 1 if only else _WIDTH
        self.by_hub: dict[str, Breaker] = {}

    def __repr__(self) -> str:
        return f"<Breakers {self.open} of {len(self.by_hub)} open>"

    @property
    def open(self) -> int:
        """How many hubs are held back: open, or half open."""
        return sum(breaker.state.phase is not Phase.CLOSED for breaker in self.by_hub.values())

    def is_closed(self, hub: str) -> bool:
        """Return whether calls to a hub are not held back."""
        breaker = self.by_hub.get(hub)
        return breaker is None or breaker.state.phase is Phase.CLOSED

    def failures_of(self, hub: str, lane: str) -> int:
        """Return how often a destination has failed in a row."""
        breaker = self.by_hub.get(hub)
        return 0 if breaker is None else breaker.failures_of(lane)

    def opens_at(self, lane: Candidate, now: float) -> float:
        """Return when a call may go: `now` for at once, infinity while a probe is in flight."""
        breaker = self.by_hub.get(lane.hub)
        return now if breaker is None else breaker.opens_at(lane, now)

    def began(self, lane: Candidate, now: float) -> None:
        """Count a call that is being sent."""
        if breaker := self.by_hub.get(lane.hub):
            breaker.began(lane, now)

    def abandoned(self, hub: str, lane: str) -> None:
        """Count out a call whose outcome will not be known."""
        if breaker := self.by_hub.get(hub):
            breaker.abandoned(lane)

    def succeeded(self, hub: str, now: float, lane: str) -> bool:
        """Learn that the service has dealt with a call; return whether those who wait may be told of a recovery."""
        breaker = self.by_hub.get(hub)
        if breaker is None:
            return False
        has_recovered = breaker.succeeded(now, lane)
        if breaker.is_forgotten(now):
            del self.by_hub[hub]
        return has_recovered

    def failed(self, hub: str, now: float, lane: str, jitter: float) -> bool:
        """Learn that a call has failed; return whether that opened the breaker of its hub."""
        breaker = self.by_hub.get(hub)
        if breaker is None:
            breaker = self.by_hub[hub] = Breaker(self._width)
        return breaker.failed(now, lane, jitter)


class Refusals:
    """Which destinations are refused alone, in a way that would be an outage if it concerned others too.

    A refusal concerns one destination if another one of its hub was served since the refusal before. Once is not
    enough: an outage may end bit by bit. A destination is refused alone after some seconds of such refusals, unless so
    many others were refused lately that something else must be the cause: half of an outage is one too.
    """

    def __init__(self) -> None:
        # By lane: since when its refusals concern it alone, infinity if they do not, and when the last one was.
        self.by_lane: dict[str, tuple[float, float]] = {}
        self._served: dict[str, float] = {}  # by hub, when another destination was served last
        self._alone: set[str] = set()
        self._recent: dict[str, dict[str, float]] = {}  # by hub, the lanes that were refused last and when

    def __repr__(self) -> str:
        return f"<Refusals of {len(self.by_lane)} destinations, {len(self._alone)} alone>"

    def is_alone(self, lane: str) -> bool:
        """Return whether the last refusal of a destination concerned it alone."""
        return lane in self._alone

    def refused(self, hub: str, lane: str, now: float) -> None:
        """Learn that a destination was refused."""
        since, last = self.by_lane.pop(lane, (inf, inf))
        concerns_it = self._served.get(hub, -inf) > last
        self.by_lane[lane] = min(since, now) if concerns_it else since, now  # the latest is the last
        is_one_of_few = self._count_refused(hub, lane, now) <= _MOST_ALONE
        if is_one_of_few and concerns_it and now - since >= _ALONE_AFTER:
            self._alone.add(lane)
        else:
            self._alone.discard(lane)
        if len(self.by_lane) > _MOST_REFUSED:
            oldest = next(iter(self.by_lane))
            del self.by_lane[oldest]
            self._alone.discard(oldest)

    def served(self, hub: str, lane: str, now: float) -> None:
        """Learn that a destination was served."""
        if self.by_lane.pop(lane, None) is not None:
            self._alone.discard(lane)
        self._served[hub] = now
        if not self.by_lane:
            self._served.clear()

    def _count_refused(self, hub: str, lane: str, now: float) -> int:
        # As many as decide. This one is included, and so is who was served since: refusals may come and go.
        recent = self._recent.pop(hub, {})
        recent.pop(lane, None)
        self._recent[hub] = recent  # the latest is the last
        recent[lane] = now
        while recent[first := next(iter(recent))] < now - _LATELY or len(recent) > _MOST_ALONE + 1:
            del recent[first]
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        return len(recent)
