"""Whether a call of a class may go now: its pace, its breaker, and the window of calls in flight. Pure.

Rules guarded: who waits here burns no attempt; a class that is held back holds back no other; while nothing was ever
refused or failing, asking costs one comparison.
"""

from collections.abc import Callable
from math import inf

from workers.breaker import Breaker, Phase
from workers.pace import Pace, Slowdown, share_of
from workers.retry import Answered, MaybeSent, NotSent, Outcome
from workers.route_class import RouteClass
from workers.window import Window

_THROTTLED = 429
_SERVER_ERROR = 500
_UNAVAILABLE = 503
ALL = tuple(RouteClass)


class Gate:
    """The gate of one worker; `ceilings` are configured rates (calls per second for all workers) by class."""

    def __init__(self, window: Window, ceilings: dict[RouteClass, float], random: Callable[[], float]) -> None:
        self.window = window
        self.paces = [Pace(ceilings.get(route_class)) for route_class in RouteClass]
        self.breakers = [Breaker() for _ in RouteClass]
        self._random = random
        self._limited = bool(ceilings)
        self._flying = [0 for _ in RouteClass]

    def __repr__(self) -> str:
        return f"<Gate {self.window!r} {self.paces!r} {self.breakers!r}>"

    @property
    def holds_back(self) -> bool:
        """Whether any class may have to wait now."""
        return self._limited

    @property
    def is_limited(self) -> bool:
        """Whether any class has a rate, so that workers have to share it."""
        return any(pace.rate != inf for pace in self.paces)

    def open_classes(self, now: float, in_flight: int) -> tuple[RouteClass, ...]:
        """Name the classes a call may be made of now."""
        if in_flight >= self.window.limit:
            return ()
        if not self._limited:
            return ALL
        return tuple(route_class for route_class in ALL if self.opens_at(route_class, now) <= now)

    def opens_at(self, route_class: RouteClass, now: float) -> float:
        """Give when a call of the class may go; infinity while a probe is out."""
        return max(self.paces[route_class].opens_at, self.breakers[route_class].opens_at(now))

    def began(self, route_class: RouteClass, now: float) -> None:
        """Note that a call goes out."""
        self._flying[route_class] += 1
        if self._limited:
            self.paces[route_class].spend(now)
            self.breakers[route_class].began(now)

    def abandoned(self, route_class: RouteClass) -> None:
        """Note that a call ended without an outcome."""
        self._flying[route_class] -= 1
        self.breakers[route_class].abandoned()

    def ended(
        self, route_class: RouteClass, lane: str, outcome: Outcome, *, now: float, took: float, in_flight: int
    ) -> Slowdown | None:
        """Learn from how a call ended; gives what the other workers should know."""
        self._flying[route_class] -= 1
        breaker = self.breakers[route_class]
        if is_failure(outcome):
            self._limited |= breaker.failed(now, lane, self._random())
        else:
            breaker.succeeded(now, lane)
        if is_overload(outcome):
            self.window.overloaded(now, took)
        else:
            self.window.went_well(in_flight)
        slowdown = None
        if isinstance(outcome, Answered) and outcome.status == _THROTTLED:
            slowdown = self.paces[route_class].refused(now, outcome.retry_after)
        elif not is_failure(outcome):
            self.paces[route_class].accepted(now)
        self._settle_limited(now)
        return slowdown

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
            self.paces[route_class].share = share_of(demand.get(route_class, 0.0), others.get(route_class, 0.0))

    def _settle_limited(self, now: float) -> None:
        self._limited = (
            self.is_limited
            or any(pace.paused_until > now for pace in self.paces)
            or any(breaker.state.phase is not Phase.CLOSED for breaker in self.breakers)
        )


def is_failure(outcome: Outcome) -> bool:
    """Say whether an outcome speaks against the far side's health: no answer, or a 5xx."""
    match outcome:
        case Answered(status, _, _):
            return status >= _SERVER_ERROR
        case NotSent() | MaybeSent():
            return True


def is_overload(outcome: Outcome) -> bool:
    """Say whether an outcome asks for fewer calls at once: 429, 503, or an answer that did not come."""
    match outcome:
        case Answered(status, _, _):
            return status in {_THROTTLED, _UNAVAILABLE}
        case MaybeSent(_, stale):
            return not stale
        case NotSent():
            return False
