"""What happened in one run: the events, the entries, the ends of leases and processes, and what was violated.

Rule guarded: the journal has every event in its order and nothing that differs between two runs of a seed, so that
equal journals mean equal runs.
"""

from collections import Counter
from typing import Any

from fanout.environment import load
from fanout.queue.entry import Submission
from fanout.queue.keys import REST, lane_of, partition_of
from fanout.queue.leases import Lease
from fanout.signalr.message import Message
from fanout.signalr.routes import route_of
from tests.simulation.loop import Host, SimulatedLoop
from tests.simulation.service_model import Call
from tests.simulation.store_model import StoreModel
from tests.simulation.tracked import LeaseEnd, TrackedEntry


class Journal:
    """Written by the store, the service, the workers and the producers. `violations` is what must not happen."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.store: StoreModel | None = None
        self.all_tracked: dict[str, TrackedEntry] = {}
        self.violations: list[str] = []
        self.events: list[tuple[Any, ...]] = []
        self.lease_ends: list[LeaseEnd] = []
        self.overtime: set[str] = set()  # hosts whose grace time ended with calls in flight
        self.kills: dict[str, float] = {}
        self.beliefs: dict[tuple[str, int], dict[str, list[tuple[float, float]]]] = {}  # by place and token
        self.poison: set[bytes] = set()  # unreadable entries that were stored
        self.buried: set[bytes] = set()  # and that were parked
        self.unsure_until = -1.0  # leases may have two holders until then: the store lost some, or its clock jumped
        self.clock_changed = False
        self.store_changed = False  # it lost something, or its clock jumped
        self.unaware = 0.0  # seconds a worker may rely on a lease that the store has forgotten
        self.settings = load({})
        self.closed = False
        self.hubs: dict[str, str] = {}  # of lanes
        self.routes: dict[tuple[str, str], str] = {}  # of calls that carry no message
        self.in_flight: dict[tuple[str, str], Call] = {}
        self.coverage: Counter[str] = Counter()

    def count(self, what: str) -> None:
        """Count something that a run of many seeds has to have met."""
        if not self.closed:
            self.coverage[what] += 1

    def note(self, *event: Any) -> None:
        """Add an event."""
        if not self.closed:
            self.events.append((round(self.loop.time(), 6), *event))

    def violate(self, text: str) -> None:
        """Add a violation."""
        if not self.closed:
            self.note("VIOLATION", text)
            self.violations.append(f"at {self.loop.time():.3f} s: {text}")

    def expect(self, submission: Submission, partitions: int) -> None:
        """Register an entry before it is appended."""
        lane = lane_of(submission.entry.hub, submission.entry.item)
        tag = submission.entry.message_id
        self.hubs[lane] = submission.entry.hub
        self.all_tracked[tag] = TrackedEntry(tag, submission, lane, partition_of(lane, partitions))
        route = route_of(submission.entry.hub, submission.entry.item)
        if not isinstance(submission.entry.item, Message):
            self.routes[route.method, route.target] = tag

    def killed(self, host: Host) -> None:
        """Note that a process was killed."""
        self.count("workers killed")
        self.note("world", "killed", host.name)
        self.kills[host.name] = self.loop.time()

    def believed(self, worker: str, lease: Lease, until: float) -> None:
        """Note that a worker relies on a lease, or on the rest of it, until `until`."""
        by_token = self.beliefs.setdefault((worker, lease.partition), {})
        by_token.setdefault(lease.token.removeprefix(REST), []).append((self.loop.time(), until))

    def lapses(self, call: Call, partition: int) -> list[float]:
        """Return when the lease of a call ran out by its holder's clock before it was renewed."""
        found = []
        for token, relied in self.beliefs.get((call.host.name, partition), {}).items():
            if call.token in ("", token):
                renewed = [at for at, _until in relied[1:]] + [float("inf")]
                found += [until for (_at, until), again in zip(relied, renewed, strict=True) if until <= again]
        return found
