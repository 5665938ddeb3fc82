"""What a worker knows of a partition it owns: how far it has read, what it holds, and the store's clock. Pure.

Rules guarded: what was read under a lease belongs to that lease alone. When it ends, the entries are forgotten (they
are still in the stream) and nothing of them is settled under a later lease. The age of an entry is measured by one
clock, the store's, which also wrote the entry's id, so that no worker's clock can expire anything early.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import replace
from math import inf
from typing import Any

import msgspec

from fanout.queue.entry import Entry
from fanout.queue.keys import hub_and_endpoint, hub_of_flow, priority_of_flow, scope_of_flow
from fanout.queue.leases import Lease
from fanout.queue.stream import START
from fanout.signalr.message import SENDS, RouteClass, Scope, class_of_messages

NO_LANE = ""  # stands for the lane of what is settled and belongs to none: a marker
AROUND = 600  # bytes that an entry takes in memory beside its stored form, in round numbers
_CHUNK = 64 * 1024
_OWN = 512  # a flow may hold the room by this whatever the others do, as long as it lasts
_SMALL_LIMIT = 65_536  # bytes
_PRECISION = 0.001  # seconds: the store's clock is read in whole milliseconds, rounded down


def _nothing() -> None:
    """Do nothing."""


class BufferedEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry in a worker's memory: its id in the stream, its content, when the store received it, its stored size."""

    flow: "OwnedFlow"
    id: bytes
    entry: Entry
    stored_at: float
    size: int

    @property
    def partition(self) -> "OwnedPartition":
        return self.flow.partition

    @property
    def weight(self) -> int:
        """Bytes that it takes in memory, in round numbers."""
        return self.size + AROUND


class OwnedFlow:
    """One flow of an owned partition: how far it was read, and what of it is in memory.

    `hub` is that of its lanes' keys, `origin` the hub and the `endpoint` that it is made of. Of all its messages
    `route_class` is the class of the call and `operation` what it is called; what is no message has its own.

    `cursor` is the last id read; `behind` means that the stream may hold more than was read. `known` are the ids that
    are in memory and not settled; `waiting` entries of `size` bytes are in lanes, `resting` bytes of them in lanes that
    are postponed; `left` were read and left in the stream. `average` is the size of an entry, as it was lately.
    `hungry` are lanes to be fetched for, as the schedule asks for it.

    `held` are the lanes that stand still since an entry of a newer format was met in them, `first_held` the id of the
    first such entry. `stopped`: such an entry was met whose lane is not known, and nothing more is read of the flow.
    So many lanes are `blocked`: they wait for a call of a former owner. `barriers` hold back what stands behind them,
    by member in `swept`, and `aside` are keys of lanes that went aside (see `sweeps`).
    """

    __slots__ = (
        "aside",
        "average",
        "barriers",
        "behind",
        "blocked",
        "cursor",
        "endpoint",
        "first_held",
        "held",
        "hub",
        "hungry",
        "known",
        "left",
        "name",
        "operation",
        "origin",
        "partition",
        "priority",
        "resting",
        "route_class",
        "size",
        "stopped",
        "swept",
        "waiting",
    )

    def __init__(self, partition: "OwnedPartition", name: str) -> None:
        self.partition = partition
        self.name = name
        self.hub = hub_of_flow(name)
        self.origin = hub_and_endpoint(self.hub)
        self.endpoint = self.origin[1]
        self.priority = priority_of_flow(name)
        scope = scope_of_flow(name) or Scope.USER  # nothing is read of a kind that only a newer process knows
        self.route_class: RouteClass = class_of_messages(scope)
        self.operation: str = SENDS[scope]
        self.cursor = START
        self.behind = True
        self.known: set[bytes] = set()
        self.waiting = 0
        self.size = 0
        self.resting = 0
        self.left = 0
        self.average = 512.0
        self.hungry: deque[Any] = deque()
        self.held: set[str] = set()
        self.first_held = b""
        self.stopped = False
        self.blocked = 0
        self.barriers: list[Any] = []
        self.swept: dict[str, list[Any]] = {}
        self.aside: set[str] = set()

    def __repr__(self) -> str:
        return f"<OwnedFlow {self.name!r} of {self.partition.number}: {self.waiting} waiting, {self.left} left>"


class OwnedPartition:
    """One partition from taking its lease until giving it back.

    `flows` are those that may hold entries, by name. `hungry` are those with lanes to be fetched for, in their turns.
    `left_alone` are flows of endpoints that are not configured here, with the name of the endpoint: nobody reads them.
    `foreign` are such flows in which nothing waited when they were looked at.
    `chunk` is how many bytes a read asks for; it adapts to the link. Its reader sets `on_wake`. `needs` is the newest
    format of an entry that was met and that this process cannot read, 0 for none.
    `lanes` have so many calls in flight each, by the name that other workers know them by. `on_lane_ended` is called
    when one has none any more. `left` are those in which a former owner has one as far as is known, each with its flow;
    `freed` are to be taken from these. `handing_over`: the lease is about to become the rest of one.
    """

    def __init__(self, lease: Lease, *, generation: Hashable = None) -> None:
        """Store the lease, and the generation of the data in the store when it was taken."""
        self.lease = lease
        self.number = lease.partition
        self.generation = generation
        self.flows: dict[str, OwnedFlow] = {}
        self.hungry: dict[OwnedFlow, None] = {}
        self.on_wake: Callable[[], None] = _nothing
        self.chunk = _CHUNK
        self.left_alone: dict[str, str] = {}
        self.foreign: set[str] = set()
        self.needs = 0
        self.handing_over = False
        self.lanes: dict[str, int] = {}
        self.left: dict[str, str] = {}
        self.freed: set[str] = set()
        self.on_lane_ended: Callable[[], None] | None = None
        self.ended = False
        self.lost = False
        self.doubted = False
        self._when_quiet: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        state = "ended" if self.ended else "running"
        return f"<OwnedPartition {self.number} {state}: {self.known} known, {self.in_flight} in flight>"

    @property
    def unknown_endpoints(self) -> frozenset[str]:
        """The endpoints that are not configured here and may have entries in this partition."""
        return frozenset(self.left_alone.values())

    @property
    def in_flight(self) -> int:
        """How many calls are in flight or not yet settled."""
        return sum(self.lanes.values())

    @property
    def busy(self) -> frozenset[str]:
        """The lanes that have calls in flight."""
        return frozenset(self.lanes) - {NO_LANE}

    @property
    def known(self) -> int:
        """How many entries are in memory and not settled."""
        return sum(len(flow.known) for flow in self.flows.values())

    @property
    def held(self) -> int:
        """How many lanes stand still for a newer worker; a flow that stands still as a whole counts as one."""
        return sum(len(flow.held) + flow.stopped for flow in self.flows.values())

    def wake(self) -> None:
        """Have its reader look again: there is room, or something to fetch."""
        self.on_wake()

    def forget(self, name: str) -> None:
        """Forget a flow that is not in the store any more and of which nothing is in memory."""
        self.flows.pop(name, None)
        self.foreign.discard(name)
        self.left_alone.pop(name, None)

    def may_act(self, now: float) -> bool:
        """Return whether something of this partition may still be sent."""
        return not self.ended and not self.doubted and now < self.lease.expires

    def is_held(self, now: float) -> bool:
        """Return whether its lease has not run out, so that what was sent may be settled."""
        return now < self.lease.expires

    def doubt(self) -> None:
        """Send nothing more under this lease: a write was refused, or reading broke off. Its owner begins it anew."""
        self.doubted = True

    def heard_from(self, generation: Hashable) -> bool:
        """Doubt it where another history of the data answered than the one it was taken from; return if it is in doubt.

        That server may have lost what was read, and give out smaller ids than the last one. The next owner begins at
        the start of the streams.
        """
        if generation != self.generation:
            self.doubt()
        return self.doubted

    def lose(self) -> None:
        """Send and settle nothing more under this lease: it is not ours any longer."""
        self.ended = self.lost = True
        self.lease = replace(self.lease, expires=-inf)

    def is_moving(self, token: str) -> bool:
        """Return whether a refusal under `token` may only mean that another token holds the lanes in flight now."""
        return self.handing_over or (token != self.lease.token and not self.lost)

    def began_call(self, lane: str) -> None:
        """Count a call of a lane that is in flight until it is settled; NO_LANE for a settlement alone."""
        self.lanes[lane] = self.lanes.get(lane, 0) + 1

    def ended_call(self, lane: str) -> None:
        """Count a call out, and run the callbacks of `when_quiet` after the last one."""
        count = self.lanes.pop(lane) - 1
        if count:
            self.lanes[lane] = count
            return
        if self.on_lane_ended is not None:
            self.on_lane_ended()
        if self._when_quiet and not self.lanes:
            callbacks, self._when_quiet = self._when_quiet, []
            for callback in callbacks:
                callback()

    def when_quiet(self, callback: Callable[[], None]) -> None:
        """Run `callback` once no call of this partition is in flight; at once if none is."""
        if not self.lanes:
            callback()
        else:
            self._when_quiet.append(callback)


class Room:
    """How many bytes the entries in memory take, of all partitions together, and how many each flow may hold.

    Three quarters are shared in equal parts, as far as they are free. The rest is kept for flows that hold little.
    `size` bytes are taken by `busy` flows. `starved` are partitions with a flow that waits for what others hold.
    """

    __slots__ = ("_own", "_shared", "_total", "busy", "size", "starved")

    def __init__(self, total: int) -> None:
        self._total = total
        self._shared = total * 3 // 4
        self._own = total // _OWN
        self.size = 0
        self.busy = 0
        self.starved: dict[OwnedPartition, None] = {}

    def __repr__(self) -> str:
        return f"<Room {self.size} of {self._total} bytes taken by {self.busy} flows>"

    @property
    def free(self) -> int:
        return self._total - self.size

    @property
    def is_half_full(self) -> bool:
        return self.size > self._total // 2

    def limit(self, flow: OwnedFlow) -> int:
        """Return how many bytes a flow may hold as long as the others hold what they do."""
        others = self.size - flow.size
        return max(min(self._part(flow), self._shared - others), min(self._own, self._total - others))

    def free_for(self, flow: OwnedFlow) -> int:
        """Return how many bytes more a flow may hold: one entry at least if it holds nothing."""
        return max(self.limit(flow) - flow.size, 0 if flow.waiting else 1)

    def wait_for(self, flow: OwnedFlow) -> None:
        """Wake the reader of a flow that finds no room once others have given back what keeps it from its part."""
        if flow.size < self._part(flow):
            self.starved[flow.partition] = None

    def forget(self, owned: OwnedPartition) -> None:
        """Wake the reader of a partition no more."""
        self.starved.pop(owned, None)

    def wake(self, flow: OwnedFlow) -> None:
        """Wake the readers that have something to do again, now that a flow holds less."""
        if flow.behind or flow.hungry:
            limit = self.limit(flow)
            # With less than this a flow is read again. What waits for its time takes half of the limit and one entry at
            # the most, so it is reached whenever all else is done. It is less, so that reads are not tiny.
            enough = limit if limit < _SMALL_LIMIT else limit * 3 // 4
            if not flow.waiting or flow.size < enough or flow.resting > limit // 2:
                flow.partition.wake()
        if self.starved and self.size < self._shared * 7 // 8:
            starved, self.starved = self.starved, {}
            for owned in starved:
                owned.wake()

    def _part(self, flow: OwnedFlow) -> int:
        return self._shared // max(1, self.busy + (not flow.waiting))


class StoreClock:
    """The store's clock as this worker knows it.

    An answer takes time, so the difference to our clock is known as an interval. Its later end is used: nothing is
    taken for younger than it is.
    """

    def __init__(self) -> None:
        self._low, self._high = -inf, inf

    def __repr__(self) -> str:
        return f"<StoreClock {self._low:.3f} to {self._high:.3f} ahead>"

    def observe(self, store: float, asked: float, answered: float) -> None:
        """Learn that the store's clock read `store` (unix seconds) between two readings of our monotonic clock."""
        low, high = store - answered, store + _PRECISION - asked
        self._low, self._high = max(self._low, low), min(self._high, high)
        if self._low > self._high:
            self._low, self._high = low, high  # the store's clock was set, or the two clocks drift apart

    def now(self, monotonic: float) -> float:
        """Return the latest unix time the store's clock may read; minus infinity before the first observation."""
        return monotonic + self._high if self._high != inf else -inf

    def age(self, buffered: BufferedEntry, monotonic: float) -> float:
        """Return how long ago an entry was stored, in seconds; never negative."""
        age = monotonic + self._high - buffered.stored_at
        return age if 0.0 < age != inf else 0.0  # nothing is old before the first observation


def order_of(stream_id: bytes) -> tuple[int, int]:
    """Return what stream ids are ordered by: milliseconds, then the counter within one."""
    milliseconds, _dash, sequence = stream_id.partition(b"-")
    return int(milliseconds), int(sequence or 0)
