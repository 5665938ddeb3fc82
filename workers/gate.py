"""Whether a call may go now: the window of calls in flight, the pace of its class, the breaker of its hub. Pure.

Rules guarded: what waits here uses up no attempt. A class or a hub that is held back holds back no other. While nothing
was refused and nothing fails, asking costs one comparison, and of a call that was accepted only its time is noted.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

from fanout.queue.keys import hub_of
from fanout.signalr.message import RouteClass
from fanout.signalr.outcome import Answered, MaybeSent, NotSent, Outcome
from workers.breaker import Breakers, Candidate
from workers.pace import Pace
from workers.refusals import Refusals
from workers.slowdown import Slowdown, share_of
from workers.verdicts import Sign

_REDIRECTED = 300
_REFUSED = 400
_THROTTLED = 429
_SERVER_ERROR = 500
_UNAVAILABLE = 503
_OVERLOADED = frozenset({_THROTTLED, _UNAVAILABLE})
_LOOK_AGAIN = 1.0  # seconds until a lane that waits for the end of a pause without one is looked at again
_SHRINK = 0.75
_ROUND = 0.1  # seconds: the shortest time between two decreases, or two doublings at the start
_FIRST = 6  # calls in flight at the start: of four workers, what 200 a second allow in an eighth of one
_FULL = 0.9  # share of the window in use from which on it counts as full
_PROBING = 0.5  # share of the window that probes may take: they may be answered late, or never
ALL = tuple(RouteClass)


class Waiting(Candidate, Protocol):
    """A lane as the gate sees it."""

    @property
    def route_class(self) -> RouteClass: ...


class Window:
    """How many calls may be in flight at once: additive increase, multiplicative decrease.

    It shrinks on signs that the service is overloaded (429, 503, time-outs), at most once in a round of calls, and
    grows by one in a round while it is full. It stays between 1 and `largest`. A worker that starts does not know what
    the service takes, and calls in flight cannot be called back: it starts at 6 and doubles while it is full, ten times
    a second. Not with each round: calls that are not answered would keep it small. A refusal for speed meanwhile has it
    start again, for the pace may have to try once more. Where refusals for speed turn out to be none of the rate, what
    they took is given back: nothing was overloaded.
    """

    def __init__(self, largest: int, *, first: int = _FIRST) -> None:
        self.largest = largest
        self._first = float(min(first, largest))
        self.limit = self._first
        self.widens_at = -inf if self.limit < largest else inf  # when it doubles next, infinity after the start
        self._shrunk_at = -inf
        self._left = 1.0  # by refusals for speed alone: which part of the limit

    def __repr__(self) -> str:
        return f"<Window {self.limit:.1f} of {self.largest}>"

    def widen(self, now: float) -> bool:
        """Double, if a worker that starts has found it full for long enough; return whether there is room."""
        if self.widens_at == -inf:
            self.widens_at = now + _ROUND
        if now < self.widens_at:
            return False
        self.limit = min(float(self.largest), self.limit * 2.0)
        self.widens_at = now + _ROUND if self.limit < self.largest else inf
        return True

    def succeeded(self, in_flight: int) -> None:
        """Grow by one call's part of a round, if the window was about full; at the start time alone widens it."""
        if self.widens_at == inf and self.limit < self.largest and in_flight + 1 >= self.limit * _FULL:
            grown = min(float(self.largest), self.limit + 1.0 / self.limit)
            self._left = min(1.0, self._left * grown / self.limit)
            self.limit = grown

    def overloaded(self, now: float, took: float, *, is_throttled: bool = False) -> None:
        """Shrink, unless that was done within the last round; `took` is how long the call was in flight."""
        if now - self._shrunk_at < max(_ROUND, took):
            return
        if is_throttled and self.widens_at < inf:
            self.limit, self.widens_at = self._first, -inf
            return
        self.widens_at = inf
        self._shrunk_at = now
        shrunk = max(1.0, self.limit * _SHRINK)
        if is_throttled:
            self._left *= shrunk / self.limit
        self.limit = shrunk

    def forgive(self) -> None:
        """Give back what refusals for speed took: they do not come from the rate."""
        self.limit = min(float(self.largest), self.limit / self._left)
        self._left = 1.0


class Gate:
    """What holds back the calls of one worker to one service.

    `ceilings` are configured rates by class, in calls per second for all workers. `random` returns numbers in [0, 1).
    `pause_cap` is the longest Retry-After that is obeyed to its end.
    """

    def __init__(
        self,
        window: Window,
        ceilings: dict[RouteClass, float],
        random: Callable[[], float],
        *,
        pause_cap: float = inf,
    ) -> None:
        self.window = window
        self.paces = [Pace(ceilings.get(route_class), cap=pause_cap) for route_class in RouteClass]
        self.breakers = [Breakers(only=route_class is RouteClass.BROADCAST) for route_class in RouteClass]
        self._random = random
        self.holds_back = bool(ceilings)  # whether any class or hub may have to wait now
        self._in_flight = [0 for _ in RouteClass]
        # Which paces have to hear of each call that is taken: none while no rate is known and nothing was refused.
        self._listens = [pace.is_listening for pace in self.paces]
        self._has_taken = False  # whether the service has taken any call
        self.recovered: list[tuple[RouteClass, str]] = []
        self._refusals = Refusals()
        self._paused_classes: Mapping[RouteClass, float] = {}
        self._paused_hubs: Mapping[str, float] = {}

    def __repr__(self) -> str:
        return f"<Gate {self.window!r} {self.paces!r} {self.breakers!r}>"

    @property
    def is_limited(self) -> bool:
        """Whether any class has a rate, so that the workers have to share it."""
        return any(pace.rate != inf for pace in self.paces)

    def open_classes(self, now: float, in_flight: int) -> tuple[RouteClass, ...]:
        """Return the classes of which a call may be made now."""
        if in_flight >= self.window.limit and not self.window.widen(now):
            return ()
        if not self.holds_back:
            return ALL
        return tuple(route_class for route_class in ALL if self.opens_at(route_class, now) <= now)

    def opens_at(self, route_class: RouteClass, now: float) -> float:
        """Return when a call of the class may go, as far as pace and pauses are concerned; `now` for at once."""
        return max(now, self.paces[route_class].opens_at, self._paused_classes.get(route_class, now))

    def pause_ends_at(self, route_class: RouteClass, now: float) -> float:
        """Return when the pause of a class ends, infinity for one without an end; `now` when there is none."""
        return max(now, self.paces[route_class].paused_until, self._paused_classes.get(route_class, now))

    @property
    def paused_hubs(self) -> int:
        """How many hubs are paused."""
        return len(self._paused_hubs)

    def set_pauses(self, classes: Mapping[RouteClass, float], hubs: Mapping[str, float], now: float) -> None:
        """Hold back classes of calls, and hubs, until these times; infinity holds back until the next `set_pauses`."""
        self._paused_classes, self._paused_hubs = classes, hubs
        self._update(now)

    def resume(self, route_class: RouteClass, now: float) -> None:
        """End the pause that the service asked for, because an operator lifted it."""
        self.paces[route_class].resume()
        self._update(now)

    def held_until(self, lane: Waiting, now: float) -> float | None:
        """Return until when a hub's pause or breaker holds back the head of a lane; None when it may go.

        Where the end is not known yet, it is the time to look again.
        """
        if not self.holds_back:
            return None
        at = self._paused_hubs.get(lane.hub, now)
        breakers = self.breakers[lane.route_class]
        if breakers.by_hub:
            at = max(at, breakers.opens_at(lane, now, has_room=self._has_room_to_probe()))
        if at <= now:
            return None
        return now + _LOOK_AGAIN if at == inf else at

    def longest_backoff(self, route_class: RouteClass, hub: str, began_at: float, now: float) -> float:
        """Return how many seconds a destination may back off whose call began at a moment and failed.

        While its breaker is open, that says who goes when. What began before it closed says nothing of the time since.
        """
        return self.breakers[route_class].longest_backoff(hub, began_at, now)

    def held_back(self, route_class: RouteClass) -> int:
        """Return how many hubs have their calls of this class held back by a breaker."""
        return self.breakers[route_class].open

    def is_alone(self, lane: str) -> bool:
        """Return whether a destination is refused although others of its hub are served."""
        return self._refusals.is_alone(lane)

    def is_proven(self, route_class: RouteClass, hub: str) -> bool:
        """Return whether the service has taken calls before, and the breaker of the hub and class is closed."""
        return self._has_taken and self.breakers[route_class].is_closed(hub)

    def in_flight(self, route_class: RouteClass) -> int:
        """Return how many calls of the class are in flight."""
        return self._in_flight[route_class]

    def began(self, route_class: RouteClass, lane: Candidate, now: float) -> None:
        """Count a call that is being sent for the head of a lane."""
        self._in_flight[route_class] += 1
        if self.holds_back:
            self.paces[route_class].spend(now)
            self.breakers[route_class].began(lane, now)

    def abandoned(self, route_class: RouteClass, lane: str) -> None:
        """Count out a call whose outcome will not be known; a lane is named by its key."""
        self._in_flight[route_class] -= 1
        self.paces[route_class].unanswered()
        self.breakers[route_class].abandoned(hub_of(lane), lane)

    def ended(
        self, route_class: RouteClass, lane: str, outcome: Outcome, sign: Sign,
        *, now: float, took: float, in_flight: int, pressed: bool = True,
    ) -> Slowdown | None:  # fmt: skip
        """Learn from the outcome of a call; return what the other workers should know.

        `pressed`: more of the class waits than may be sent.
        """
        self._in_flight[route_class] -= 1
        if sign is Sign.SERVED:  # nearly every call: nothing else is asked
            self._has_taken = True
            if self._refusals.by_lane or self.breakers[route_class].by_hub:
                self._served(route_class, lane, now)
            told = None
            if self._listens[route_class]:
                told = self._accepted(route_class, now, took)
            else:
                self.paces[route_class].taken_at.append(now)
            if self.window.limit < self.window.largest:
                self.window.succeeded(in_flight)
            if self.holds_back:
                self._update(now)
            return told
        self._failed(route_class, lane, outcome, sign, now=now, took=took, in_flight=in_flight)
        told = self._slowed(route_class, outcome, now, took, pressed=pressed)
        self._update(now)
        return told

    def _accepted(self, route_class: RouteClass, now: float, took: float) -> Slowdown | None:
        pace = self.paces[route_class]
        told = pace.accepted(now, took=took)
        self._listens[route_class] = pace.is_listening
        if told is not None:
            self._forgive(pace)
        return told

    def _forgive(self, pace: Pace) -> None:
        if pace.expects_refusals:
            self.window.forgive()

    def _has_room_to_probe(self) -> bool:
        probing = sum(breakers.probing for breakers in self.breakers)
        return probing < max(1.0, self.window.limit * _PROBING)

    def _failed(
        self, route_class: RouteClass, lane: str, outcome: Outcome, sign: Sign,
        *, now: float, took: float, in_flight: int,
    ) -> None:  # fmt: skip
        hub = hub_of(lane)
        # What is refused whatever the rate says nothing of too much to do, nor does what fails beside nothing served.
        is_lone = self._is_lone(route_class, hub, lane, outcome)
        self._watch_window(outcome, now, took, in_flight, is_lone=is_lone)
        if sign is Sign.REFUSED:
            self._refusals.refused(hub, lane, now)
        if sign is Sign.THROTTLED:
            self._served(route_class, lane, now)
        else:
            self.breakers[route_class].failed(hub, now, lane, self._random())

    def _slowed(
        self, route_class: RouteClass, outcome: Outcome, now: float, took: float, *, pressed: bool
    ) -> Slowdown | None:
        pace, beside = self.paces[route_class], self._in_flight[route_class]
        if isinstance(outcome, Answered) and outcome.status == _THROTTLED:
            told = pace.refused(now, outcome.retry_after, took=took, pressed=pressed, beside=beside)
            self._listens[route_class] = pace.is_listening
            self._forgive(pace)
            return told
        pace.unanswered()
        return None

    def _is_lone(self, route_class: RouteClass, hub: str, lane: str, outcome: Outcome) -> bool:
        if is_throttled(outcome):
            return self.paces[route_class].expects_refusals
        return self.breakers[route_class].is_lone(hub, lane)

    def _watch_window(self, outcome: Outcome, now: float, took: float, in_flight: int, *, is_lone: bool) -> None:
        if not is_overload(outcome):
            self.window.succeeded(in_flight)
        elif not is_lone:
            self.window.overloaded(now, took, is_throttled=is_throttled(outcome))

    def heard(self, route_class: RouteClass, slowdown: Slowdown, now: float) -> None:
        """Learn that another worker was refused."""
        self.paces[route_class].heard(slowdown, now)
        self._listens[route_class] = self.paces[route_class].is_listening
        self._forgive(self.paces[route_class])
        self._update(now)

    def parts(self) -> Sequence[float]:
        """Return for each class how many calls were accepted here in the second before its rate was found."""
        return [pace.part for pace in self.paces]

    def take_parts(self, others: Sequence[float], now: float) -> None:
        """Learn the sums of what `parts` returns at the other workers."""
        for pace, part in zip(self.paces, others, strict=True):
            pace.take_parts(part, now)

    def share(self, demand: dict[RouteClass, float], others: dict[RouteClass, float]) -> None:
        """Take this worker's share of each rate, by what waits here and at the other workers."""
        for route_class in ALL:
            share = share_of(demand.get(route_class, 0.0), others.get(route_class, 0.0))
            self.paces[route_class].take_share(share)

    def take_recovered(self) -> Sequence[tuple[RouteClass, str]]:
        """Return the classes and hubs whose breakers have closed since this was asked last: what is in `recovered`."""
        recovered, self.recovered = self.recovered, []
        return recovered

    def _served(self, route_class: RouteClass, lane: str, now: float) -> None:
        if self._refusals.by_lane:
            self._refusals.served(hub_of(lane), lane, now)
        breakers = self.breakers[route_class]
        if breakers.by_hub and breakers.succeeded(hub := hub_of(lane), now, lane):
            self.recovered.append((route_class, hub))

    def _update(self, now: float) -> None:
        self.holds_back = (
            self.is_limited
            or any(pace.paused_until > now or pace.is_probing for pace in self.paces)
            or any(until > now for until in (*self._paused_classes.values(), *self._paused_hubs.values()))
            or any(breakers.open for breakers in self.breakers)
        )


def is_throttled(outcome: Outcome) -> bool:
    """Return whether a call was refused for its speed."""
    return isinstance(outcome, Answered) and outcome.status == _THROTTLED


def is_overload(outcome: Outcome) -> bool:
    """Return whether an outcome asks for fewer calls at once: 429, 503, or an answer that did not come."""
    match outcome:
        case Answered():
            return outcome.status in _OVERLOADED
        case MaybeSent(_, stale):
            return not stale
        case NotSent():
            return False
