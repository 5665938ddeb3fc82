"""Checks how workers hold back their calls: pauses, breakers, and calls that carry several messages.

Rules guarded: a worker that was asked to wait waits, and the other workers know of it soon. A service that fails
whatever it is asked gets a probe now and then. Messages that share a call leave in order and have the same promise.
"""

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from fanout.metrics import CLASSES
from fanout.signalr.message import Message, Scope
from tests.simulation.coverage import ORDER, PAUSE
from tests.simulation.loop import Host, SimulatedLoop
from tests.simulation.service_model import Call
from tests.simulation.store_observer import StoreObserver
from tests.simulation.tracked import ANSWERED
from workers.breaker import Phase

if TYPE_CHECKING:
    from workers.gate import Gate

REFUSED_JOINING = frozenset({"400", "404", "413", "415", "501"})
FAILED = frozenset({"500", "500 after", "503", "503 wait", "NotSentError", "StaleConnectionError"})
FAILED |= {"ExchangeTimeoutError", "401", "403", "302", "html"}
_EXACT = 1e-6
_ROUNDED = 0.002  # a worker that starts later computes with whole milliseconds of the store
_LEAD = 0.05  # seconds by which the worker that met a limit may try before the others
_UNTOLD = 0.03  # seconds: a pause that grows by no more than this is not told to the others again
_WITHIN = 0.1  # seconds until every worker knows of a pause
_FIRST_REST = 0.75  # seconds from opening to the first probe, at least
_REST = 2.25  # seconds in which there is one probe for each destination that fails, at most
_FEWEST = 3  # probes in that time that are not too many
_HOPELESS = (14, 2.0, 3)  # failures in a row, the seconds they span, the lanes they come from


@dataclass(frozen=True)
class Pause:
    """Since `known` a worker knows that it may make no call of a class before `until`."""

    known: float
    until: float
    how: str


@dataclass(frozen=True)
class Asked:
    """The service asked a worker for a pause; the others have to know of it soon."""

    at: float
    by: str
    kind: str
    until: float


def phase_of(gate: "Gate", number: int, hub: str) -> Phase:
    """Return the phase of the breaker for calls of a class to a hub."""
    breaker = gate.breakers[number].by_hub.get(hub)
    return Phase.CLOSED if breaker is None else breaker.state.phase


class DeliveryObserver(StoreObserver):
    """Observes what leaves the workers, by class of calls."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__(loop)
        self.pauses: dict[tuple[str, str], list[Pause]] = {}
        self.outages: list[tuple[float, float]] = []  # when the store did not answer
        self.calm = True  # the network to the store was fast and without faults so far
        self.frozen: set[str] = set()
        self.born: dict[str, float] = {}
        self._asked: list[Asked] = []
        self._gates: dict[str, Gate] = {}
        self._failures: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
        self._in_a_row: dict[tuple[tuple[str, str, str], str], int] = {}  # failures of one destination
        self._next_probe: dict[tuple[str, str, str], float] = {}
        self._probing: set[tuple[tuple[str, str, str], str]] = set()
        self._refused_joining: dict[str, float] = {}

    def kind_of(self, tag: str) -> str:
        """Return the class of the call that an id belongs to."""
        item = self.all_tracked[tag].submission.entry.item
        if not isinstance(item, Message):
            return "action"
        return "broadcast" if item.scope is Scope.BROADCAST else "send"

    def gate_made(self, host: str, gate: "Gate") -> None:
        """Check that a new process is not held back by anything from before."""
        self._gates[host] = gate
        self.born[host] = self.loop.time()
        ceilings = {"send": self.settings.send_rate, "broadcast": self.settings.broadcast_rate, "action": 0.0}
        for kind, pace in zip(CLASSES, gate.paces, strict=True):
            fresh = pace.paused_until == -inf and pace.rate == (ceilings[kind] or inf)
            if not fresh or self._is_any_open(gate):
                self.violate(f"{host} began with {gate!r}")

    def learned_of_pause(self, host: str, kind: str, pause: float, *, asked: bool) -> None:
        """Note that a worker learned of a pause from another one."""
        self.count("pauses heard of")
        self._rest(host, kind, pause if asked else pause - _LEAD, "heard of")

    def killed(self, host: Host) -> None:
        super().killed(host)
        joined = {
            call for p in self.all_tracked.values() for call in p.calls if len(call.tags) > 1 and call.host is host
        }
        stored = self.stored()
        left = [(call, len([tag for tag in call.tags if tag in stored])) for call in joined]
        facts = {
            "a joined call in flight": any(call.ended is None for call, _left in left),
            "a joined call delivered and not settled": any(call.seen in ANSWERED and count for call, count in left),
            "a joined call half settled": any(call.seen and 0 < count < len(call.tags) for call, count in left),
            "a pause to keep": any(self._rests(host.name, kind) for kind in CLASSES),
            "a breaker open": self._is_any_open(self._gates[host.name]),
        }
        for what in (what for what, met in facts.items() if met):
            self.count(f"killed with {what}")

    def check_gate(self, call: Call) -> None:
        """Check that nothing the worker knows holds back a call that leaves now."""
        self.count("calls")
        if len(call.tags) > 1:
            self.count("joined calls")
        self._check_pauses(call)
        self._check_joined(call)

    def passed(self, road: tuple[str, str, str], lane: str, phase: Phase) -> None:
        """Check a call that a worker's gate let go, by host, class and hub, and the phase of its breaker before."""
        if not self._in_a_row.get((road, lane)):
            if phase is Phase.OPEN:
                self.count("first calls through an open breaker")
            return
        if self._is_hopeless(road):
            self.count("calls after nothing but failures")
            if phase is Phase.CLOSED:
                self.violate(f"{road} went through a closed breaker after nothing but failures")
        if phase is Phase.OPEN:
            self._probe(road, lane)

    def opened(self, road: tuple[str, str, str]) -> None:
        """Note that a breaker has opened."""
        self._next_probe[road] = self.loop.time() + _FIRST_REST

    def ended_probe(self, road: tuple[str, str, str], lane: str) -> bool:
        """Note that the outcome of a call is known; return whether it was a probe."""
        was_probe = (road, lane) in self._probing
        self._probing.discard((road, lane))
        return was_probe

    def _probe(self, road: tuple[str, str, str], lane: str) -> None:
        self.count("probes")
        now = self.loop.time()
        if now < self._next_probe.get(road, -inf) - _EXACT:
            self.violate(f"{road} went through an open breaker {self._next_probe[road] - now:.3f} s before its time")
        failing = sum(count > 0 for (other, _lane), count in self._in_a_row.items() if other == road)
        self._next_probe[road] = now + _REST / max(_FEWEST, failing)
        self._probing.add((road, lane))

    def learn(self, call: Call) -> None:
        """Note the outcome of a call as its worker sees it."""
        if call.seen not in ANSWERED and self._waits_behind(call):
            self.count(ORDER)
        place, road = (call.host.name, call.kind), (call.host.name, call.kind, self.hubs[call.lane])
        if call.seen.startswith("429"):
            self._learn_of_refusal(*place, call.pause)
        if len(call.tags) > 1 and call.seen in REFUSED_JOINING:
            self.count(f"joined call refused ({call.seen})")
            self._refused_joining.setdefault(call.host.name, self.loop.time())
        elif len(call.tags) > 1 and call.seen not in ANSWERED:
            self.count(f"joined call ended by {call.seen}")
        if call.seen in FAILED:
            self._failures.setdefault(road, []).append((self.loop.time(), call.lane))
            self._in_a_row[road, call.lane] = self._in_a_row.get((road, call.lane), 0) + 1
        elif call.seen not in ("", "CancelledError"):
            self._failures.pop(road, None)
            self._in_a_row.pop((road, call.lane), None)

    def _rest(self, host: str, kind: str, pause: float, how: str) -> None:
        now = self.loop.time()
        self.note(host, "rests", kind, round(pause, 6))
        if pause > 0 and any(self.kind_of(tag) == kind for tag in self.stored()):
            self.count(PAUSE)
        self.pauses.setdefault((host, kind), []).append(Pause(now, now + pause, how))

    def _waits_behind(self, call: Call) -> bool:
        """Return whether an entry waits in the lane that must not overtake those of a call."""
        last = max(self.all_tracked[tag].position for tag in call.tags)
        stored = (self.all_tracked[tag] for tag in self.stored())
        return any(tracked.lane == call.lane and tracked.position > last for tracked in stored)

    def _is_any_open(self, gate: "Gate") -> bool:
        hubs = set(self.hubs.values())
        return any(phase_of(gate, number, hub) is not Phase.CLOSED for number in range(len(CLASSES)) for hub in hubs)

    def _learn_of_refusal(self, host: str, kind: str, pause: float | None) -> None:
        self.count("429 with Retry-After" if pause is not None else "429 without Retry-After")
        if not self._expects_refusals(host, kind):
            self._rest(host, kind, pause or 0.0, "was asked for")
            until = self.loop.time() + (pause or 0.0)
            told = [asked.until for asked in self._asked if (asked.by, asked.kind) == (host, kind)]
            if not told or until > max(told) + _UNTOLD:
                self._asked.append(Asked(self.loop.time(), host, kind, until))

    def _expects_refusals(self, host: str, kind: str) -> bool:
        """Return whether a worker takes refusals for none of the rate: they hold back only what they refused."""
        return self._gates[host].paces[CLASSES.index(kind)].expects_refusals

    def _rests(self, host: str, kind: str) -> bool:
        return any(pause.until > self.loop.time() for pause in self.pauses.get((host, kind), ()))

    def _check_pauses(self, call: Call) -> None:
        now, host = self.loop.time(), call.host.name
        if self._expects_refusals(host, call.kind):
            self.count("calls while refusals are expected")
            self.pauses.pop((host, call.kind), None)
            return
        for pause in self.pauses.get((host, call.kind), ()):
            if pause.known < now < pause.until - _EXACT and not self.store_changed:  # a flush lifts every pause
                left = pause.until - now
                self.violate(f"{host} sent {call.tags} {left:.3f} s before a pause it {pause.how} was over")
        if not self.calm or host in self.frozen:
            return
        for asked in self._asked:
            known = max(asked.at, self.born[host]) + _WITHIN
            if asked.by == host or asked.kind != call.kind or not known < now < asked.until - _ROUNDED:
                continue
            if asked.by not in self.frozen and self.kills.get(asked.by, inf) > known:
                self.violate(f"{host} sent {call.tags} in a pause that {asked.by} was asked for at {asked.at:.3f}")

    def _is_hopeless(self, road: tuple[str, str, str]) -> bool:
        failures = self._failures.get(road, [])
        count, seconds, lanes = _HOPELESS
        if len(failures) < count or failures[-1][0] - failures[0][0] < seconds:
            return False
        return len({lane for _at, lane in failures}) >= lanes

    def _check_joined(self, call: Call) -> None:
        if len(call.tags) == 1:
            return
        all_tracked = [self.all_tracked[tag] for tag in call.tags]
        positions = [tracked.position for tracked in all_tracked]
        if positions != sorted(positions):
            self.violate(f"{call.tags} left in one call, not in the order they were stored in")
        if len({self.is_once_at_most(tracked) for tracked in all_tracked}) > 1:
            self.violate(f"{call.tags} left in one call, with different promises")
        refused = self._refused_joining.get(call.host.name)
        if refused is not None and refused < self.loop.time():
            self.violate(f"{call.host.name} sent {call.tags} in one call after one was refused at {refused:.3f}")
