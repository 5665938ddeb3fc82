"""Bugs planted into what holds calls back and what joins them, one each, to see that the simulation finds them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from fanout.errors import QueueError
from fanout.http1.pool import MayWrite
from fanout.signalr.client import Bounds, Call, Sender
from fanout.signalr.message import RouteClass
from fanout.signalr.outcome import TAKEN, Outcome
from tests.simulation.planted import Planted
from workers.breaker import Breaker, Candidate, Phase, State
from workers.coalescer import Plan, plan
from workers.flight import Flight
from workers.gate import Gate, Window
from workers.limit import Limit
from workers.pace import Pace
from workers.partition import BufferedEntry
from workers.peers import Peers
from workers.settler import OnSettled, Settler
from workers.slowdown import Slowdown
from workers.verdicts import THROTTLED, Again

_REFUSED, _HEARD = Pace.refused, Pace.heard
_REPEAT = Flight._repeat


def refused_by_none(pace: Pace, now: float, retry_after: float | None, **kwargs: Any) -> Slowdown | None:
    """Have the others wait, and go on sending."""
    before = pace.paused_until
    slowdown = _REFUSED(pace, now, retry_after, **kwargs)
    pace.paused_until = before
    return slowdown


def heard_by_none(pace: Pace, slowdown: Slowdown, now: float) -> None:
    """Ignore the pauses of the others."""
    _HEARD(pace, replace(slowdown, pause=0.0), now)


class SilentPeers(Peers):
    """Publishes nothing."""

    def tell(self, endpoint: str, route_class: RouteClass, slowdown: Slowdown, cause: str) -> None:
        pass


class SelfishGate(Gate):
    """Takes the whole rate, however many other workers there are."""

    def share(self, demand: dict[RouteClass, float], others: dict[RouteClass, float]) -> None:
        pass


class HopefulPeers(Peers):
    """Drops every limit while the store does not answer."""

    def tasks(self, on_change: Callable[[], None]) -> list[Coroutine[Any, Any, None]]:
        return [*super().tasks(on_change), self._look()]

    async def _look(self) -> None:
        while True:
            try:
                await self._channels[""]._redis.ask("PING", time_limit=0.1)
            except QueueError:
                for pace in (pace for endpoint in self._endpoints for pace in endpoint.gate.paces):
                    pace.limit = Limit()
            await self._clock.sleep(0.02)


def opens_at_once(_breaker: Breaker, _lane: Candidate, now: float, *_args: float) -> float:
    """Let calls go while it is open."""
    return now


def probed_for_nothing(state: State, _now: float, _needed: float, _jitter: float) -> State:
    """Let one probe go after the other."""
    return state


def never(_breaker: Breaker, _now: float, _lane: str, _jitter: float) -> bool:
    """Do not open."""
    return False


def opened_for_nothing(now: float, _jitter: float) -> State:
    """Open without a wait."""
    return State(Phase.OPEN, now, now)


class InheritedGate(Gate):
    """Begins with the breakers and paces of another process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        loop = asyncio.get_running_loop()
        self.paces, self.breakers = vars(loop).setdefault("inherited", (self.paces, self.breakers))


class ForgetfulSender(Sender):
    """Does not remember that `:execute` was refused."""

    def refused_joining(self, outcome: Outcome) -> bool:
        refused = super().refused_joining(outcome)
        self._not_joined_until = -inf
        return refused


class CarelessSender(Sender):
    """Treats any answer to `:execute` as a delivery."""

    async def send(self, calls: Sequence[Call], may_write: MayWrite | None = None) -> Outcome:
        outcome = await super().send(calls, may_write)
        return TAKEN if len(calls) > 1 and self.refused_joining(outcome) else outcome


class HalfSettled(Settler):
    """Settles only the first entry of a joined call."""

    def settle(self, entries: Sequence[BufferedEntry], on_settled: OnSettled) -> None:
        super().settle(entries[:1], on_settled)


def counting_refusals(flight: Flight, again: Again) -> None:
    """Count a call that was refused for speed as an attempt."""
    flight._lane.attempts += again.failure == THROTTLED
    _REPEAT(flight, again)


def older_wins(waiting: Sequence[BufferedEntry], age: Callable[[BufferedEntry], float], bounds: Bounds | None) -> Plan:
    """Settle the newer one of two messages with one key."""
    todo = plan(waiting, age, bounds)
    if not todo.superseded or len(todo.call) > 1:
        return todo
    return Plan(todo.superseded[:1], (*todo.superseded[1:], *todo.call)) if todo.superseded[0] is waiting[0] else todo


def backwards(waiting: Sequence[BufferedEntry], age: Callable[[BufferedEntry], float], bounds: Bounds | None) -> Plan:
    """Join messages in reverse order."""
    todo = plan(waiting, age, bounds)
    return Plan(todo.call[::-1], todo.superseded)


def _patched(target: str, what: Any, words: str, scene: str) -> Planted:
    return Planted({target: what}, (words,), scene)


PLANTED_IN_DELIVERY: Mapping[str, Planted] = {
    "a pause its finder does not keep": _patched(
        "workers.pace.Pace.refused", refused_by_none, "it was asked for", "quota"
    ),
    "a pause that is heard and not kept": _patched("workers.pace.Pace.heard", heard_by_none, "it heard of", "quota"),
    "a pause nobody is told of": _patched("Peers", SilentPeers, "in a pause that", "quota"),
    "a rate that is not shared": _patched("Gate", SelfishGate, "all workers made", "quota"),
    "no limit without a store": _patched("Peers", HopefulPeers, "calls more than", "quota"),
    "one probe after the other": _patched(
        "workers.breaker.probed", probed_for_nothing, "through an open breaker", "dead"
    ),
    "an open breaker that lets calls through": _patched(
        "workers.breaker.Breaker.opens_at", opens_at_once, "through an open breaker", "dead"
    ),
    "a breaker that never opens": _patched("workers.breaker.Breaker.failed", never, "nothing but failures", "dead"),
    "a breaker that does not wait": _patched("workers.breaker.opened", opened_for_nothing, "before its time", "dead"),
    "a breaker that outlives its process": _patched("Gate", InheritedGate, "began with", "dead"),
    "an older message that wins": _patched("workers.dispatch.plan", older_wins, "was settled and neither", "any"),
    "a joined call back to front": _patched("workers.dispatch.plan", backwards, "not in the order", "joined"),
    "promises that are mixed": _patched(
        "workers.coalescer._same_promise", lambda _a, _b: True, "different promises", "joined"
    ),
    "a refused joining that is forgotten": _patched("Sender", ForgetfulSender, "after one was refused", "joined"),
    "a refused joining taken for a delivery": _patched("Sender", CarelessSender, "was settled and neither", "joined"),
    "a joined call settled by half": _patched("Settler", HalfSettled, "not done", "joined"),
    "at most once, and once more": _patched(
        "workers.verdicts._repeats_unknown", lambda _message, _policy: True, "goes at most once", "joined"
    ),
    "an attempt for each refusal of speed": _patched(
        "workers.flight.Flight._repeat", counting_refusals, "was parked as tooManyAttempts", "quota"
    ),
    "a wait for a connection after which nothing is asked": _patched(
        "workers.flight.Flight._may_be_written", lambda _flight: True, "while partition", "any"
    ),
    "more calls in flight than allowed": Planted({"Window": lambda most: Window(most + 2)}, ("calls in flight",)),
}
