"""Stops calling a service that fails whatever it is asked, and notices which destinations fail alone. Pure.

Rules guarded:
- A breaker opens only when calls for several destinations fail and none has succeeded for a while. Each hub and class
  of calls has its own, so that a dead hub holds back no other.
- While it is open, destinations that did not fail are still tried, up to a number: as many may fail by themselves
  without keeping the others waiting. Past that number it is the service that fails.
- All others wait for a probe: destinations that were never tried first, then the kinds of calls in turn, then all
  destinations in turn. Probes are so many in a round that one of them most likely meets another destination than those
  that fail by themselves: all, where that number is not reached; few, where far more fail. A round takes longer the
  longer the outage lasts.
- What is held back here uses up no attempt. Refusals of a single call (400, 429) are no failures.

| state | event | next |
| --- | --- | --- |
| closed | success | closed, streak forgotten |
| closed | failure, streak long and wide enough, or most of a window failed | open |
| open | a destination that did not fail, while there are first calls left | its call goes at once |
| open | the time of the next probe is over | open: it may go, and the next one after its part of a round |
| open | a first call or a probe fails | open |
| open | any call succeeds | closed |
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, log
from typing import Protocol

from workers.recent_calls import WINDOW, RecentCalls

_WIDTH = 3  # destinations that must fail to open it, where a hub has several
_ALONE = 100  # destinations of a hub that may fail by themselves; as many again of urgent calls are tried at once
_AT_ONCE = 32  # calls in flight through an open breaker
_ROUND = 3.0  # seconds of the shortest round
_SLOWER = 0.1  # share of the time it has been open that a round takes where that is longer
_FEWEST = 3  # probes in a round
_MISSED = 5.0  # all probes of a round meet some of those that fail by themselves in one of e ** this
_FASTEST = _ROUND / _ALONE  # seconds from one probe to the next, whatever hubs they are for
_LONGEST_WAIT = 30.0  # seconds from one probe to the next
_SOON = 0.05  # seconds until it is looked again where nothing else says when
_LOOKS = 2  # of those who wait, so many ask again for each probe
_REMEMBERED = 10_000  # destinations that failed, of each hub
_NEXT_RECOVERY = 1.0  # seconds from one time that those who wait are told of a success to the next
_GOLDEN = 0.6180339887  # multiples of it, without what is before the point, are spread evenly, however many there are


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
    """The states of a breaker."""

    CLOSED = "closed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class State:
    """`since` is when an open one opened, `until` when it lets the next probe go."""

    phase: Phase = Phase.CLOSED
    until: float = 0.0
    since: float = 0.0


def opened(now: float, jitter: float) -> State:
    """Return the state after opening at `now`; `jitter` in [0, 1) shortens each wait by up to a quarter."""
    state = State(Phase.OPEN, now, now)
    return probed(state, now, _FEWEST, jitter)


def probed(state: State, now: float, needed: float, jitter: float) -> State:
    """Return the state after a probe at `now`, where a round has `needed` of them."""
    wait = min(_LONGEST_WAIT, round_of(state, now) / needed)
    return replace(state, until=now + wait * (1.0 - 0.25 * jitter))


def round_of(state: State, now: float) -> float:
    """Return how many seconds a round of probes takes."""
    return max(_ROUND, _SLOWER * (now - state.since))


def probes_needed(failing: int) -> float:
    """Return how many destinations of those that failed have to be probed to meet one that would be served.

    Up to a number may fail by themselves. Where no more failed, that may be any of them.
    """
    needed = failing if failing <= _ALONE else min(failing, _MISSED / log(failing / _ALONE))
    return max(_FEWEST, needed)


def _spread() -> Iterator[float]:
    at = 0.0
    while True:
        at = (at + _GOLDEN) % 1.0
        yield at


# Those who wait in one of these go before and after the same others: what failed or did not, of one kind of call, and
# whether it was probed in this turn of its kind.
_Place = tuple[bool, str, bool]


class Breaker:
    """The breaker of one class of calls to one hub; failures have to come from `width` destinations to open it."""

    def __init__(self, width: int = _WIDTH) -> None:
        self.state = State()
        self._recent = RecentCalls(width)
        self._failed_at = -inf
        self._failures: dict[str, int] = {}  # in a row, by destination
        self._turn = 0  # of the kinds of calls: how many probes that one had which was probed last
        self._turns: dict[str, int] = {}
        self._had_turn: dict[str, set[str]] = {}  # by kind, the destinations probed in this turn of all that wait
        self._in_flight: set[str] = set()  # since it opened
        self._waiting: set[str] = set()  # destinations that were told to ask again
        self._waits: dict[_Place, float] = {}  # until when somebody waits there who was told to ask again
        self._promised: _Place | None = None  # of the one that was told to come just when the next call may go
        self._jitter = 0.0
        self._spread = _spread()
        self._closed_at = -inf
        self._has_closed = False  # since those who wait were told of it
        self._told_at = -inf
        self._first_left = [_ALONE, _ALONE]  # of all, and of urgent ones

    def __repr__(self) -> str:
        return f"<Breaker {self.state.phase.value}>"

    @property
    def is_failing(self) -> bool:
        """Whether it is open, or nothing succeeded since the last failure."""
        return self.state.phase is Phase.OPEN or self._recent.streak > 0

    def is_forgotten(self, now: float) -> bool:
        """Return whether it is like a new one: closed, and no failure in its window."""
        return self.state.phase is Phase.CLOSED and now - self._failed_at > WINDOW

    def failures_of(self, lane: str) -> int:
        """Return how often a destination has failed in a row."""
        return self._failures.get(lane, 0)

    def longest_backoff(self, began_at: float, now: float) -> float:
        """Return how many seconds a destination may back off whose call began at a moment and failed."""
        if self.state.phase is Phase.OPEN:
            return round_of(self.state, now)  # probes go in turn, and those that back off cannot be found
        return _NEXT_RECOVERY if began_at <= self._closed_at else inf

    def is_probe(self, lane: Candidate) -> bool:
        """Return whether a call would be a probe."""
        return self.state.phase is Phase.OPEN and not self._is_first(lane)

    def opens_at(self, lane: Candidate, now: float, probes_at: float = -inf) -> float:
        """Return when a call may go, `now` for at once, or when to ask again; no probe may go before `probes_at`."""
        if self.state.phase is Phase.CLOSED:
            return now
        earliest = now if self._is_first(lane) else max(now, self.state.until, probes_at)
        place = self._place_of(lane)
        order = self._order_of(place)
        is_next = all(until < now or self._order_of(other) >= order for other, until in self._waits.items())
        if earliest > now:
            return self._ask_again(lane.key, place, earliest, is_next=is_next)
        if is_next and len(self._in_flight) < _AT_ONCE:
            return now
        return self._ask_again(lane.key, place, now + _SOON, is_next=is_next)

    def began(self, lane: Candidate, now: float) -> None:
        """Count a call that is being sent; from an open breaker it may be a probe."""
        if self.state.phase is Phase.CLOSED:
            return
        self._in_flight.add(lane.key)
        self._promised = None
        self._waiting.discard(lane.key)
        if self._is_first(lane):
            self._first_left[lane.is_urgent] -= 1
        elif now >= self.state.until:
            is_new = lane.key not in self._failures  # most likely not one of those that fail by themselves
            self.state = probed(self.state, now, _FEWEST if is_new else self._needed(), self._jitter)
            self._count_turn(lane)

    def abandoned(self, lane: str) -> None:
        """Count out a call that was cancelled before its outcome was known."""
        self._in_flight.discard(lane)

    def succeeded(self, now: float, lane: str) -> bool:
        """Learn that the service has dealt with a call; return whether those who wait may be told that it recovered.

        Where many destinations fail by themselves, each success of another one closes it for a moment.
        """
        self._failures.pop(lane, None)
        if self.state.phase is Phase.CLOSED:
            self._recent.succeeded(now, lane)
        else:
            self.state = State()
            self._recent.forget()
            self._in_flight.clear()
            self._waits.clear()
            self._waiting.clear()
            self._first_left = [_ALONE, _ALONE]
            self._has_closed, self._closed_at = True, now
        if not self._has_closed or now < self._told_at + _NEXT_RECOVERY:
            return False
        self._has_closed, self._told_at = False, now
        return True

    def failed(self, now: float, lane: str, jitter: float) -> bool:
        """Learn that a call has failed; return whether that opened the breaker."""
        self._failed_at, self._jitter = now, jitter
        self._failures[lane] = self._failures.pop(lane, 0) + 1  # the latest is the last
        if len(self._failures) > _REMEMBERED:
            del self._failures[next(iter(self._failures))]
        self._in_flight.discard(lane)
        if self.state.phase is Phase.OPEN:
            return False
        self._recent.failed(now, lane)
        if not self._recent.show_outage(now, self._closed_at):
            return False
        self.state = opened(now, jitter)
        self._recent.forget()
        return True

    def _ask_again(self, lane: str, place: _Place, at: float, *, is_next: bool) -> float:
        # One comes at that time and the others at times of their own: a crowd would come for nothing.
        if len(self._waiting) < _REMEMBERED:
            self._waiting.add(lane)
        if is_next and (self._promised is None or self._order_of(place) < self._order_of(self._promised)):
            self._promised = place
        else:
            interval = round_of(self.state, at) / (self._needed() if place[0] else _FEWEST)
            at += next(self._spread) * min(_LONGEST_WAIT, len(self._waiting) * interval / _LOOKS)
        self._waits[place] = max(self._waits.get(place, -inf), at + _SOON)
        return at

    def _needed(self) -> float:
        return probes_needed(len(self._failures))

    def _place_of(self, lane: Candidate) -> _Place:
        return lane.key in self._failures, lane.kind, lane.key in self._had_turn.get(lane.kind, ())

    def _order_of(self, place: _Place) -> tuple[bool, int, bool]:
        has_failed, kind, had_turn = place
        return has_failed, max(self._turn, self._turns.get(kind, 0)), had_turn

    def _count_turn(self, lane: Candidate) -> None:
        kind = lane.kind
        self._turn = max(self._turn, self._turns.get(kind, 0))  # one that comes late has not missed anything
        self._turns[kind] = self._turn + 1
        had_turn = self._had_turn.setdefault(kind, set())
        if lane.key in had_turn or len(had_turn) >= _REMEMBERED:  # nobody else waits: the next turn begins
            had_turn.clear()
            self._waits[True, kind, False] = self._waits.pop((True, kind, True), -inf)
        had_turn.add(lane.key)

    def _is_first(self, lane: Candidate) -> bool:
        return self._first_left[lane.is_urgent] > 0 and lane.key not in self._failures


class Breakers:
    """The breakers of one class of calls, one for each hub of which a call failed lately.

    `only`: a hub has one destination of this class, as with broadcasts. If it fails, the hub fails.
    """

    def __init__(self, *, only: bool = False) -> None:
        self._width = 1 if only else _WIDTH
        self.by_hub: dict[str, Breaker] = {}
        self._probing: set[str] = set()
        self._free_at = -inf  # when the next probe may go, whatever hub it is for
        self._spread = _spread()

    def __repr__(self) -> str:
        return f"<Breakers {self.open} of {len(self.by_hub)} open>"

    @property
    def open(self) -> int:
        """How many hubs are held back."""
        return sum(breaker.state.phase is not Phase.CLOSED for breaker in self.by_hub.values())

    @property
    def probing(self) -> int:
        """How many probes are in flight."""
        return len(self._probing)

    def is_closed(self, hub: str) -> bool:
        """Return whether calls to a hub are not held back."""
        breaker = self.by_hub.get(hub)
        return breaker is None or breaker.state.phase is Phase.CLOSED

    def is_lone(self, hub: str, lane: str) -> bool:
        """Return whether a failure says nothing of too many calls at once.

        It does where others of the hub were served since the failure before, and the destination had not failed yet.
        """
        breaker = self.by_hub.get(hub)
        return breaker is None or breaker.is_failing or breaker.failures_of(lane) > 0

    def longest_backoff(self, hub: str, began_at: float, now: float) -> float:
        """Return how many seconds a destination may back off whose call began at a moment and failed."""
        breaker = self.by_hub.get(hub)
        return inf if breaker is None else breaker.longest_backoff(began_at, now)

    def opens_at(self, lane: Candidate, now: float, *, has_room: bool = True) -> float:
        """Return when a call may go, `now` for at once, or when to ask again.

        `has_room`: more probes may be in flight.
        """
        breaker = self.by_hub.get(lane.hub)
        if breaker is None:
            return now
        probes_at = max(now, self._free_at) if has_room else now + _SOON
        if probes_at > now:
            probes_at += next(self._spread) * _FASTEST * (self.open - 1)
        return breaker.opens_at(lane, now, probes_at)

    def began(self, lane: Candidate, now: float) -> None:
        """Count a call that is being sent."""
        if breaker := self.by_hub.get(lane.hub):
            if breaker.is_probe(lane):
                self._probing.add(lane.key)
                self._free_at = now + _FASTEST
            breaker.began(lane, now)

    def abandoned(self, hub: str, lane: str) -> None:
        """Count out a call whose outcome will not be known."""
        self._probing.discard(lane)
        if breaker := self.by_hub.get(hub):
            breaker.abandoned(lane)

    def succeeded(self, hub: str, now: float, lane: str) -> bool:
        """Learn that the service has dealt with a call; return whether those who wait may be told of a recovery."""
        breaker = self.by_hub.get(hub)
        if breaker is None:
            self._forget_oldest(now)
            return False
        self._probing.discard(lane)
        self._free_at = -inf  # the others may find out at once
        has_recovered = breaker.succeeded(now, lane)
        if breaker.is_forgotten(now):
            del self.by_hub[hub]
        return has_recovered

    def failed(self, hub: str, now: float, lane: str, jitter: float) -> bool:
        """Learn that a call has failed; return whether that opened the breaker of its hub."""
        self._probing.discard(lane)
        breaker = self.by_hub.get(hub)
        if breaker is None:
            self._forget_oldest(now)
            self._forget_oldest(now)  # two for each new one: the old ones become fewer
            breaker = self.by_hub[hub] = Breaker(self._width)
        return breaker.failed(now, lane, jitter)

    def _forget_oldest(self, now: float) -> None:
        # Hubs come and go: one that failed and is called no more would be kept for ever.
        hub, breaker = next(iter(self.by_hub.items()), ("", None))
        if breaker is not None:
            del self.by_hub[hub]
            if not breaker.is_forgotten(now):
                self.by_hub[hub] = breaker  # the next look is at another one
