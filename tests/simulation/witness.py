"""Sees everything that happens in store and far side, and knows from it what became of each accepted id.

Rule guarded: the invariants of the promise (a 202 means delivered, expired or dead with its reason), checked where they
can be broken: at the moment an entry is taken out of the store, at the moment a call leaves a worker, and at the end.
What the store itself lost (a failover's tail, FLUSHALL) is taken from the store and excuses those ids alone.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from fanout.queue import keys
from fanout.queue.entry import Submission, UnreadableEntryError, decode
from fanout.queue.partition import lane_of, partition_of
from fanout.settings import Settings
from fanout.signalr.http1.exchange import Request
from fanout.signalr.message import GroupAction, Message, Scope
from fanout.signalr.routes import execute_route, route_of
from tests.simulation.far_side import Call
from tests.simulation.loop import Host, SimulatedLoop
from tests.simulation.store_model import Fields, StoreModel, id_of

_TAG = re.compile(rb"n\d+n")
ANSWERED = frozenset({"ok", "gone"})
_LATE = 0.35  # seconds a worker's idea of the store's clock may be behind


@dataclass(eq=False)
class Parcel:
    """One id: what was handed in, and all that happened to it."""

    tag: str
    submission: Submission
    lane: str
    partition: int
    accepted: bool = False
    position: int = 0  # place in the order of all appends, 0 when never stored
    entry_id: bytes = b""
    stored_at: float = 0.0
    lost: bool = False  # the store lost it and it was not stored again
    ever_lost: bool = False
    forgotten: bool = False  # the store does not know any more that it was stored
    returned: list[float] = field(default_factory=list)  # when the store forgot that it had been taken out
    expired: bool = False
    superseded: bool = False
    dead: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def ttl(self) -> float | None:
        item = self.submission.entry.item
        return item.ttl if isinstance(item, Message) else None

    @property
    def answered(self) -> bool:
        """Some worker was told that it is delivered, or that nobody is there to deliver it to."""
        return any(call.seen in ANSWERED for call in self.calls)

    @property
    def is_still_due(self) -> bool:
        """Certainly neither delivered nor dropped yet; what may expire or collapse may be on its way out."""
        item = self.submission.entry.item
        over = self.answered or self.dead or self.expired or self.superseded or self.lost
        return not over and self.ttl is None and not (isinstance(item, Message) and item.collapse)

    @property
    def arrivals(self) -> list[Call]:
        return [call for call in self.calls if call.arrived is not None]


@dataclass
class LeaseEnd:
    """A lease that ended without its holder's doing: when, and of which partition."""

    at: float
    partition: int
    how: str


class Witness:
    """Told by store, far side and producers; `violations` is what must not be."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.store: StoreModel | None = None
        self.parcels: dict[str, Parcel] = {}
        self.violations: list[str] = []
        self.journal: list[tuple[Any, ...]] = []
        self.lease_ends: list[LeaseEnd] = []
        self.overtime: set[str] = set()  # hosts whose grace ran out with calls in flight
        self.kills: dict[str, float] = {}
        self.beliefs: dict[tuple[str, int], list[tuple[float, float]]] = {}
        self.poison: set[bytes] = set()  # unreadable entries that were stored
        self.buried: set[bytes] = set()  # and that were parked
        self.unsure_until = -1.0  # leases may have two holders until then: the store lost some, or its clock jumped
        self.clock_changed = False
        self.store_changed = False  # it lost something, or its clock jumped
        self.unaware = 0.0  # seconds a worker may believe in a lease that the store has forgotten
        self.settings = Settings()
        self.closed = False
        self._routes: dict[tuple[str, str], str] = {}  # of calls that carry no message
        self._lanes_in_flight: dict[tuple[str, str], Call] = {}
        self._position = 0
        self._latest = 0.0  # the latest time the store's clock has shown

    def note(self, *event: Any) -> None:
        """Write into the journal."""
        if not self.closed:
            self.journal.append((round(self.loop.time(), 6), *event))

    def violate(self, text: str) -> None:
        """Tell of something that must not be."""
        if not self.closed:
            self.note("VIOLATION", text)
            self.violations.append(f"at {self.loop.time():.3f} s: {text}")

    def expect(self, submission: Submission, partitions: int) -> None:
        """Know an id before it is handed in."""
        lane = lane_of(submission.entry.hub, submission.entry.item)
        tag = submission.entry.message_id
        self.parcels[tag] = Parcel(tag, submission, lane, partition_of(lane, partitions))
        route = route_of(submission.entry.hub, submission.entry.item)
        if not isinstance(submission.entry.item, Message):
            self._routes[route.method, route.target] = tag

    def tags_of(self, request: Request) -> tuple[str, ...]:
        """Tell which ids a request carries."""
        routed = self._routes.get((request.method, request.target))
        return (routed,) if routed else tuple(tag.decode() for tag in _TAG.findall(request.body))

    def lane_of(self, tag: str) -> str:
        return self.parcels[tag].lane

    # The store ----------------------------------------------------------------------------------------------------

    def added(self, key: bytes, entry_id: bytes, fields: Fields) -> None:
        if key.endswith(b":dead"):
            self._parked(dict(zip(fields[::2], fields[1::2], strict=True)))
            return
        if not key.endswith(b":stream"):
            return  # what workers tell each other
        tag = tag_of(fields)
        self.note("store", "added", key, entry_id, tag)
        if tag is None:
            self.poison.add(fields[1])
            return
        parcel = self.parcels[tag]
        if parcel.position and not parcel.forgotten:
            self.violate(f"{tag} was stored twice")
        self._position += 1
        parcel.position = self._position
        parcel.entry_id = entry_id
        parcel.stored_at = id_of(entry_id)[0] / 1000
        parcel.lost = parcel.forgotten = False

    def deleted(self, key: bytes, entry_id: bytes, fields: Fields, by: str) -> None:
        tag = tag_of(fields)
        self.note("store", by, key, entry_id, tag)
        self._check_right(key, by)
        if by not in ("SETTLE", "EXPIRE"):
            return
        parcel = self.parcels.get(tag or "")
        if parcel is None:
            self.violate(f"an unreadable entry was settled: {entry_id!r}")
        elif parcel.answered:
            return
        elif parcel.ttl is not None and self._store_time() - parcel.stored_at > parcel.ttl - 0.001:
            parcel.expired = True
        elif self._is_superseded(parcel):
            parcel.superseded = True
        else:
            self.violate(f"{tag} ({entry_id.decode()}) was settled and neither delivered nor expired")

    def _is_superseded(self, parcel: Parcel) -> bool:
        """Say whether an entry stored later, in the same lane, makes this one needless."""
        item = parcel.submission.entry.item
        later = [p for p in self.parcels.values() if p.lane == parcel.lane and p.position > parcel.position]
        for other in sorted(later, key=lambda p: p.position):
            newer = other.submission.entry.item
            if isinstance(item, GroupAction) and isinstance(newer, GroupAction):
                if (item.member, item.group) == (newer.member, newer.group):
                    return True
            elif isinstance(item, GroupAction):
                if other.is_still_due:
                    return False  # whether the member sees this message depends on the change before it
            elif isinstance(item, Message) and isinstance(newer, Message) and item.collapse == newer.collapse != "":
                return True
        return False

    def changed(self, key: bytes, old: bytes | None, new: bytes | None, by: str) -> None:
        if not key.endswith(b":lease"):
            return
        partition = int(key.split(b"{")[1].split(b"}")[0])
        self.note("store", by, key, old, new)
        if new is None and by in ("expiry", "FLUSHALL", "failover"):
            self.lease_ends.append(LeaseEnd(self.loop.time(), partition, by))
        elif by == "RELEASE" and old is not None:
            self._check_release(partition, old.decode().partition(":")[0])

    def _check_right(self, key: bytes, by: str) -> None:
        assert self.store is not None
        holder = self.store.string(key.replace(b":stream", b":lease"))
        if holder is None or not holder.startswith(self.store.caller.encode() + b":"):
            self.violate(f"{self.store.caller} did {by} on {key!r}, which was held by {holder!r}")

    def _check_release(self, partition: int, worker: str) -> None:
        flying = [
            call
            for (host, lane), call in self._lanes_in_flight.items()
            if host == worker and self.parcels[call.tags[0]].partition == partition
        ]
        if flying and worker not in self.overtime:
            self.violate(f"{worker} released partition {partition} with calls in flight: {flying[0].tags}")
        if worker in self.overtime:
            self.lease_ends.append(LeaseEnd(self.loop.time(), partition, "overtime"))

    def _parked(self, fields: dict[bytes, bytes]) -> None:
        tag, reason = tag_of([b"e", fields[b"entry"]]), fields[b"reason"].decode()
        self.note("store", "parked", tag, reason)
        if tag is None:
            if reason != "unreadable" or fields[b"entry"] not in self.poison:
                self.violate(f"something unknown was parked: {reason}")
            self.buried.add(fields[b"entry"])
            return
        parcel = self.parcels[tag]
        parcel.dead.append(reason)
        self._check_reason(parcel, reason)

    def _check_reason(self, parcel: Parcel, reason: str) -> None:
        seen = {call.seen for call in parcel.calls}
        match reason:
            case "refused" | "tooLarge" | "wrongEndpoint":
                fair = bool(seen & {"400", "413", "404", "403"})
            case "unauthorized":
                fair = bool(seen & {"401", "403"})
            case "outcomeUnknown":
                unknown = {"500", "500 after", "StaleConnectionError", "ExchangeTimeoutError"}
                fair = bool(seen & unknown) and self._is_once_at_most(parcel)
            case "tooManyAttempts":
                fair = len(parcel.calls) >= self.settings.retry_max_attempts
            case "tooOld":
                fair = bool(seen - ANSWERED)
            case _:
                fair = False
        if not fair:
            self.violate(f"{parcel.tag} was parked as {reason}, its calls ended {sorted(seen)}")

    def _is_once_at_most(self, parcel: Parcel) -> bool:
        item = parcel.submission.entry.item
        wanted = item.at_most_once if isinstance(item, Message) else False
        return self.settings.outcome_unknown == "dead" if wanted is None else wanted

    # The far side -------------------------------------------------------------------------------------------------

    def began(self, call: Call, request: Request) -> None:
        self.note("far", "call", call.number, call.host.name, call.tags, call.fate)
        if not call.tags or any(tag not in self.parcels for tag in call.tags):
            self.violate(f"a call nobody asked for: {request!r}")
            return
        for tag in call.tags:
            self.parcels[tag].calls.append(call)
        self._check_payload(call, request)
        self._check_holder(call)
        self._check_lane(call)
        self._check_ttl(call)

    def arrived(self, call: Call) -> None:
        self.note("far", "delivered", call.number, call.tags)
        for tag in call.tags:
            if not self.parcels[tag].position:
                self.violate(f"{tag} was delivered and never stored")

    def ended(self, call: Call) -> None:
        self.note("far", "ended", call.number, call.seen)
        if self._lanes_in_flight.get((call.host.name, call.lane)) is call:
            del self._lanes_in_flight[call.host.name, call.lane]

    def _check_payload(self, call: Call, request: Request) -> None:
        entry = self.parcels[call.tags[0]].submission.entry
        items = [self.parcels[tag].submission.entry.item for tag in call.tags]
        bodies = [item.body for item in items if isinstance(item, Message)]
        if len(items) == 1:
            route = route_of(entry.hub, items[0])
            body = b"".join(bodies)
        else:
            scope, to = (items[0].scope, items[0].to) if isinstance(items[0], Message) else (Scope.GROUP, "")
            route = execute_route(entry.hub, scope, to)
            body = b"[" + b",".join(b'{"type":"SendMessage","message":' + body + b"}" for body in bodies) + b"]"
        if len({self.parcels[tag].lane for tag in call.tags}) != 1:
            self.violate(f"{call.tags} of several lanes left in one call")
        if (request.method, request.target, request.body) != (route.method, route.target, body):
            self.violate(f"{call.tags[0]} left as {request.method} {request.target} {request.body!r}")

    def _check_holder(self, call: Call) -> None:
        assert self.store is not None
        partition = self.parcels[call.tags[0]].partition
        holder = self.store.string(keys.lease(partition).encode())
        mine = holder is not None and holder.startswith(call.host.name.encode() + b":")
        if not mine and self.loop.time() > self.unsure_until:
            self.violate(f"{call.host.name} sent {call.tags} while partition {partition} was held by {holder!r}")

    def _check_lane(self, call: Call) -> None:
        place = (call.host.name, call.lane)
        other = self._lanes_in_flight.get(place)
        if other is not None:
            self.violate(f"{call.host.name} sent {call.tags} while {other.tags} of the same lane was in flight")
        self._lanes_in_flight[place] = call

    def _check_ttl(self, call: Call) -> None:
        assert self.store is not None
        for tag in call.tags:
            parcel = self.parcels[tag]
            age = self.store.now() - parcel.stored_at - self.store.tick
            if parcel.ttl is not None and age > parcel.ttl + _LATE and not self.clock_changed:
                self.violate(f"{tag} was sent {age:.3f} s old, its ttl is {parcel.ttl} s")

    # The world ----------------------------------------------------------------------------------------------------

    def killed(self, host: Host) -> None:
        """A process was ended hard."""
        self.note("world", "killed", host.name)
        self.kills[host.name] = self.loop.time()

    def believed(self, worker: str, partition: int, until: float) -> None:
        """A worker was told that it holds a lease, and believes so until then."""
        self.beliefs.setdefault((worker, partition), []).append((self.loop.time(), until))

    def lapses(self, place: tuple[str, int]) -> list[float]:
        """When the leases of a worker on a partition ran out by its own clock, before it heard that they go on."""
        told = self.beliefs.get(place, [])
        heard = [at for at, _until in told[1:]] + [float("inf")]
        return [until for (_at, until), again in zip(told, heard, strict=True) if until <= again]

    def store_lost(self, before: dict[str, bool]) -> None:
        """The store went back to an earlier state; `before` tells by tag whether it was stored until then."""
        assert self.store is not None
        self._note_forgotten()
        now_stored = {tag for stream in self.store.streams.values() for tag in map(tag_of, stream.entries.values())}
        for tag, parcel in self.parcels.items():
            if before.get(tag) and tag not in now_stored:
                self.note("store", "lost", tag)
                parcel.lost = parcel.ever_lost = True
            elif tag in now_stored and not before.get(tag):
                self.note("store", "returned", tag)
                parcel.returned.append(self.loop.time())

    def _note_forgotten(self) -> None:
        assert self.store is not None
        for parcel in self.parcels.values():
            last = self.store.stream(keys.stream(parcel.partition).encode()).last
            if parcel.position and id_of(parcel.entry_id) > last:
                parcel.forgotten = True
                parcel.returned.append(self.loop.time())

    def stored(self) -> dict[str, bool]:
        """Tell which ids stand in the store now."""
        assert self.store is not None
        entries = (fields for stream in self.store.streams.values() for fields in stream.entries.values())
        return {tag: True for fields in entries if (tag := tag_of(fields)) is not None}

    def _store_time(self) -> float:
        assert self.store is not None
        self._latest = max(self._latest, self.store.now())
        return self._latest


def tag_of(fields: Fields) -> str | None:
    """Give the id of a stream entry, None when it cannot be read."""
    try:
        return decode(fields[1]).message_id if fields[0] == b"e" else None
    except UnreadableEntryError:
        return None
