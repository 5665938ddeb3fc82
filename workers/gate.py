"""Whether a call of a class may go now: its pace, its breaker, and the window of calls in flight. Pure.

Rules guarded: who waits here burns no attempt; a class or a hub that is held back holds back no other; while nothing
was ever refused or failing, asking costs one comparison.
"""

from collections.abc import Callable
from math import inf

from fanout.queue.lane_key import hub_of
from workers.breaker import Breakers
from workers.pace import Pace, Slowdown, share_of
from workers.retry import Answered, MaybeSent, NotSent, Outcome
from workers.route_class import RouteClass
from workers.window import Window

_REFUSED = 400
_THROTTLED = 429
_SERVER_ERROR = 500
_UNAVAILABLE = 503
_OVERLOADED = frozenset({_THROTTLED, _UNAVAILABLE})
_PROBED_FOR = 1.0  # seconds after which it is looked again whether a probe has come back
ALL = tuple(RouteClass)


class Gate:
    """The gate of one worker; `ceilings` are configured rates (calls per second for all workers) by class."""

    def __init__(self, window: Window, ceilings: dict[RouteClass, float], random: Callable[[], float]) -> None:
        self.window = window
        self.paces = [Pace(ceilings.get(route_class)) for route_class in RouteClass]
        self.breakers = [Breakers(only=route_class is RouteClass.BROADCAST) for route_class in RouteClass]
        self._random = random
        self.holds_back = bool(ceilings)  # whether any class may have to wait now
        self._flying = [0 for _ in RouteClass]

    def __repr__(self) -> str:
        return f"<Gate {self.window!r} {self.paces!r} {self.breakers!r}>"

    @property
    def is_limited(self) -> bool:
        """Whether any class has a rate, so that workers have to share it."""
        return any(pace.rate != inf for pace in self.paces)

    def open_classes(self, now: float, in_flight: int) -> tuple[RouteClass, ...]:
        """Name the classes a call may be made of now."""
        if in_flight >= self.window.limit:
            return ()
        if not self.holds_back:
            return ALL
        return tuple(route_class for route_class in ALL if self.opens_at(route_class, now) <= now)

    def opens_at(self, route_class: RouteClass, now: float) -> float:
        """Give when the pace lets a call of the class go: at once, if that is not after `now`."""
        return max(now, self.paces[route_class].opens_at)

    def hub_opens_at(self, route_class: RouteClass, hub: str, now: float) -> float:
        """Give when the breaker lets a call of the class go to the hub, or when to ask again while a probe is out."""
        at = self.breakers[route_class].opens_at(hub, now) if self.holds_back else now
        return now + _PROBED_FOR if at == inf else at

    def held_back(self, route_class: RouteClass) -> int:
        """How many hubs have their calls of this class held back by a breaker."""
        return self.breakers[route_class].open

    def began(self, route_class: RouteClass, lane: str, now: float) -> None:
        """Note that a call goes out."""
        self._flying[route_class] += 1
        if self.holds_back:
            self.paces[route_class].spend(now)
            self.breakers[route_class].began(hub_of(lane), now)

    def abandoned(self, route_class: RouteClass, lane: str) -> None:
        """Note that a call ended without an outcome."""
        self._flying[route_class] -= 1
        self.breakers[route_class].abandoned(hub_of(lane))

    def ended(
        self, route_class: RouteClass, lane: str, outcome: Outcome, *, now: float, took: float, in_flight: int
    ) -> Slowdown | None:
        """Learn from how a call ended; gives what the other workers should know."""
        self._flying[route_class] -= 1
        if isinstance(outcome, Answered) and outcome.status < _REFUSED:  # nearly every call, so nothing else is asked
            self._succeeded(route_class, lane, now)
            self.paces[route_class].accepted(now)
            if self.window.limit < self.window.most:
                self.window.went_well(in_flight)
            if self.holds_back:
                self._settle_limited(now)
            return None
        slowdown = None
        if is_failure(outcome):
            self.breakers[route_class].failed(hub_of(lane), now, lane, self._random())
        else:
            self._succeeded(route_class, lane, now)
        if is_overload(outcome):
            self.window.overloaded(now, took)
        else:
            self.window.went_well(in_flight)
        if isinstance(outcome, Answered) and outcome.status == _THROTTLED:
            slowdown = self.paces[route_class].refused(now, outcome.retry_after, took=took)
        elif not is_failure(outcome):
            self.paces[route_class].accepted(now)
        self._settle_limited(now)
        return slowdown

    def _succeeded(self, route_class: RouteClass, lane: str, now: float) -> None:
        breakers = self.breakers[route_class]
        if breakers:
            breakers.succeeded(hub_of(lane), now, lane)

    def heard(self, route_class: RouteClass, slowdown: Slowdown, now: float) -> None:
        """Learn of a refusal from another worker."""
        self.paces[route_class].heard(slowdown, now)
        self._settle_limited(now)

    def flying(self, route_class: RouteClass) -> int:
        """How many calls of the class are under way."""
        return self._flying[route_class]

    def share(self, demand: dict[RouteClass, float], others: dict[RouteClass, float]) -> None:
        """Take this worker's share of each rate, by what waits here and elsewhere."""
        for route_class in ALL:
            share = share_of(demand.get(route_class, 0.0), others.get(route_class, 0.0))
            self.paces[route_class].take_share(share)

    def _settle_limited(self, now: float) -> None:
        self.holds_back = (
            self.is_limited
            or any(pace.paused_until > now for pace in self.paces)
            or any(breakers.open for breakers in self.breakers)
        )


def is_failure(outcome: Outcome) -> bool:
    """Say whether an outcome speaks against the far side's health: no answer, or a 5xx."""
    return not isinstance(outcome, Answered) or outcome.status >= _SERVER_ERROR


def is_overload(outcome: Outcome) -> bool:
    """Say whether an outcome asks for fewer calls at once: 429, 503, or an answer that did not come."""
    match outcome:
        case Answered():
            return outcome.status in _OVERLOADED
        case MaybeSent(_, stale):
            return not stale
        case NotSent():
            return False
