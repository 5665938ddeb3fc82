"""Checks what the workers take out of the store, and under which lease.

Rule guarded: an entry leaves the store because it was delivered, has expired by the store's own clock, is superseded by
a newer one, or goes to the dead letters for a true reason. Only the holder of its partition's lease takes it out. What
the store itself lost (the last writes before a failover, FLUSHALL) excuses those ids alone.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise

from fanout.queue.changes import joining, swept_by
from fanout.queue.keys import KEYS, REST
from fanout.queue.leases import Lease
from fanout.signalr.message import GroupAction, Message
from tests.simulation.coverage import FENCE, HANDED_OVER
from tests.simulation.journal import Journal
from tests.simulation.loop import SimulatedLoop
from tests.simulation.service_model import Call
from tests.simulation.store_model import Fields, id_of
from tests.simulation.tracked import ANSWERED, UNKNOWN, LeaseEnd, TrackedEntry, is_marker, tag_of

_REFUSED = frozenset({"401", "403", "302", "html"})
_ALONE_FOR = 2.9  # seconds
_LONGEST_WAIT = 2.5  # seconds: the longest wait between two attempts that a plan's settings and its service allow


class StoreObserver(Journal):
    """Observes the model server."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__(loop)
        self._position = 0
        self._latest = 0.0  # the latest time the store's clock has shown
        self.aged = 0  # dead letters that were deleted for their age

    def added(self, key: bytes, entry_id: bytes, fields: Fields) -> None:
        if key.endswith(b":dead"):
            self._parked(dict(zip(fields[::2], fields[1::2], strict=True)))
            return
        if b"}:q:" not in key:
            return  # notices between workers
        tag = tag_of(fields)
        self.note("store", "added", key, entry_id, tag)
        if tag is None and is_marker(fields):
            return
        if tag is None:
            self.poison.add(fields[1])
            return
        tracked = self.all_tracked[tag]
        if tracked.position and not tracked.forgotten:
            self.violate(f"{tag} was stored twice")
        self._position += 1
        tracked.position = self._position
        tracked.added_at = self.loop.time()
        tracked.stored_at = id_of(entry_id)[0] / 1000
        tracked.lost = tracked.forgotten = False

    def deleted(self, key: bytes, entry_id: bytes, fields: Fields, by: str) -> None:
        if b"}:q:" not in key:
            self._check_aged(key, entry_id, by)
            return
        tag = tag_of(fields)
        self.note("store", by, key, entry_id, tag)
        tracked = self.all_tracked.get(tag or "")
        self._check_right(key, by, tracked, is_marker=is_marker(fields))
        if tracked is not None:
            tracked.left_at = self.loop.time()
        if by not in ("SETTLE", "EXPIRE") or is_marker(fields):
            return
        if tracked is None:
            self.violate(f"an unreadable entry was settled: {entry_id!r}")
        elif tracked.answered:
            return
        elif tracked.ttl is not None and self._store_time() - tracked.stored_at > tracked.ttl - 0.001:
            tracked.expired = True
            self.count("expired")
        elif self._is_superseded(tracked):
            tracked.superseded = True
            self.count("superseded by a newer message" if tracked.is_message else "superseded by a later change")
        else:
            self.violate(f"{tag} ({entry_id.decode()}) was settled and neither delivered nor expired")

    def _check_aged(self, key: bytes, letter_id: bytes, by: str) -> None:
        """Check a dead letter that is deleted for its age: it is too old, none is older, and its owner deletes it."""
        assert self.store is not None
        if by != "DELETE_OLD":
            return
        self.note("store", "aged", key, letter_id)
        self.count("dead letters deleted for their age")
        self.aged += 1
        holder = self.store.string(key.removesuffix(b"dead") + b"lease")
        if holder is None or not holder.startswith(self.store.caller.encode() + b":"):
            self.violate(f"{self.store.caller} deleted a letter of {key!r}, which was held by {holder!r}")
        age = self.store.now() - id_of(letter_id)[0] / 1000
        if age < self.settings.max_dead_age:
            self.violate(f"a dead letter was deleted {age:.3f} s old, the bound is {self.settings.max_dead_age} s")
        if min(self.store.stream(key).entries, default=id_of(letter_id)) < id_of(letter_id):
            self.violate(f"a dead letter was deleted and an older one was not: {letter_id!r}")

    def _is_superseded(self, tracked: TrackedEntry) -> bool:
        """Return whether an entry stored later in the same lane supersedes this one."""
        is_change = isinstance(tracked.submission.entry.item, GroupAction)
        later = [p for p in self.all_tracked.values() if p.lane == tracked.lane and p.position > tracked.position]
        for newer in sorted(later, key=lambda p: p.position):
            if tracked.is_needless_after(newer):
                return True
            if is_change and not isinstance(newer.submission.entry.item, GroupAction) and newer.is_still_due:
                return False  # whether the member sees this message depends on the change before it
        return False

    def is_slow_join(self, tracked: TrackedEntry) -> bool:
        """Return whether an entry changes a group of a member whose sweep took long, so that it may go aside."""
        member = joining(tracked.submission.entry.item)
        if member is None:
            return False
        bound = self.settings.order_wait
        sweeps = [one for one in self.all_tracked.values() if swept_by(one.submission.entry.item) == member]
        return any(one.position and max(one.left_at, self._last_call(one)) - one.added_at >= bound for one in sweeps)

    def _last_call(self, tracked: TrackedEntry) -> float:
        in_store = tracked.tag in self.stored()
        return self.loop.time() if in_store else 0.0

    def spared(self, key: bytes, entry_id: bytes) -> None:
        self.note("store", "spared", key, entry_id)
        assert self.store is not None
        fields = self.store.stream(key).entries.get(id_of(entry_id))
        tag = None if fields is None else tag_of(fields)
        if tag is not None:
            self.all_tracked[tag].spared = self.loop.time()
            self.count("spared by the store's clock")

    def fenced(self, key: bytes, by: str) -> None:
        self.note("store", "refused", by, key)
        self.count(FENCE)

    def changed(self, key: bytes, old: bytes | None, new: bytes | None, by: str) -> None:
        if not key.endswith(b":lease") and b"}:rest:" not in key:
            return
        partition = int(key.split(b"{")[1].split(b"}")[0])
        self.note("store", by, key, old, new)
        if by == "HAND_OVER":
            if key.endswith(b":lease") and old is not None:
                self._check_hand_over(partition, old)
            return
        if new is not None or old is None:
            return
        token = old.decode().removeprefix(REST)
        if by in ("expiry", "FLUSHALL", "failover"):
            self.lease_ends.append(LeaseEnd(self.loop.time(), partition, by, token))
        elif by == "RELEASE":
            self._check_given_up("released", partition, token, self._flying(partition, token))

    def _check_right(self, key: bytes, by: str, tracked: TrackedEntry | None, *, is_marker: bool) -> None:
        """Check that the caller holds the partition, or the lane of the entry where it handed the partition over.

        A marker belongs to no lane. What let it go is absent for ever, so any rest of a lease will do.
        """
        assert self.store is not None
        place, caller = key.partition(b":q:")[0], self.store.caller.encode() + b":"
        holder = self.store.string(place + b":lease")
        if holder is not None and holder.startswith(caller):
            return
        rest = place + b":rest:"
        own = {name.removeprefix(rest) for name in self.store.strings if name.startswith(rest + REST.encode() + caller)}
        if not is_marker:
            left = self.store.hash_of(place + b":left")
            own &= {left.get(tracked.lane.encode(), b"") if tracked is not None else b""}
        if not any(self.store.string(rest + token) == token for token in own):
            self.violate(f"{self.store.caller} did {by} on {key!r}, which was held by {holder!r}")

    def _check_hand_over(self, partition: int, token: bytes) -> None:
        """Check that the next owner is told of every lane with a call in flight."""
        assert self.store is not None
        left = self.store.hash_of(KEYS.left(partition).encode())
        self.count(HANDED_OVER)
        for call in self._flying(partition, token.decode()):
            if left.get(call.lane.encode()) != REST.encode() + token:
                self.violate(f"{token!r} handed partition {partition} over with calls in flight untold: {call.tags}")

    def freed(self, rest: Lease, lanes: Collection[str]) -> None:
        """Check lanes that a worker is about to give up which it kept when it handed a partition over."""
        partition, token = rest.partition, rest.token.removeprefix(REST)
        flying = [call for call in self._flying(partition, token) if call.lane in lanes]
        self._check_given_up("freed lanes of", partition, token, flying)

    def _flying(self, partition: int, token: str) -> list[Call]:
        """Return the calls in flight that began under a lease."""
        here = [call for call in self.in_flight.values() if call.token == token]
        return [call for call in here if self.all_tracked[call.tags[0]].partition == partition]

    def _check_given_up(self, how: str, partition: int, token: str, flying: Sequence[Call]) -> None:
        worker = token.partition(":")[0]
        if worker in self.overtime:
            self.lease_ends.append(LeaseEnd(self.loop.time(), partition, "overtime", token))
        elif flying:
            self.violate(f"{worker} {how} partition {partition} with calls in flight: {flying[0].tags}")

    def _parked(self, fields: dict[bytes, bytes]) -> None:
        tag, reason = tag_of([b"e", fields[b"entry"]]), fields[b"reason"].decode()
        self.note("store", "parked", tag, reason)
        if tag is None:
            if reason != "unreadable" or fields[b"entry"] not in self.poison:
                self.violate(f"something unknown was parked: {reason}")
            self.buried.add(fields[b"entry"])
            return
        tracked = self.all_tracked[tag]
        tracked.dead.append(reason)
        self.count(f"dead: {reason}")
        self._check_reason(tracked, reason)

    def _check_reason(self, tracked: TrackedEntry, reason: str) -> None:
        seen = {call.seen for call in tracked.calls}
        alone = {call.seen for call in tracked.calls if len(call.tags) == 1}
        match reason:
            case "refused" | "tooLarge":
                fair = bool(alone & {"400", "413"})  # no entry dies of the refusal of a joined call
            case "wrongEndpoint":
                fair = bool(alone & {"302", "html"}) and self._may_die_of_refusals(tracked)
            case "unauthorized":
                fair = bool(seen & {"401", "403"}) and self._may_die_of_refusals(tracked)
            case "outcomeUnknown":
                fair = bool(seen & UNKNOWN) and self.is_once_at_most(tracked)
            case "tooManyAttempts":
                fair = tracked.attempts >= self.settings.retry_max_attempts
            case "tooOld":
                old = self.settings.retry_max_age - _LONGEST_WAIT
                age = self._store_time() - tracked.stored_at
                fair = bool(seen - ANSWERED - {"429", "429 wait", "429 date"}) and (age >= old or self.clock_changed)
            case _:
                fair = False
        if not fair:
            self.violate(f"{tracked.tag} was parked as {reason}, its calls ended {sorted(seen)}")

    def _may_die_of_refusals(self, tracked: TrackedEntry) -> bool:
        """Return whether others of the hub were served between refusals of its lane, for seconds, or it is too old."""
        if self._store_time() - tracked.stored_at >= self.settings.retry_max_age - _LONGEST_WAIT or self.clock_changed:
            return True
        hub = self.hubs[tracked.lane]
        ended = [call for other in self.all_tracked.values() for call in other.calls if self.hubs[call.lane] == hub]
        served = [call.ended or 0.0 for call in ended if call.seen in ANSWERED and call.lane != tracked.lane]
        refused = sorted(call.ended or 0.0 for call in ended if call.seen in _REFUSED and call.lane == tracked.lane)
        alone = [after for before, after in pairwise(refused) if any(before < at <= after for at in served)]
        return len(alone) > 1 and alone[-1] - alone[0] >= _ALONE_FOR

    def is_once_at_most(self, tracked: TrackedEntry) -> bool:
        item = tracked.submission.entry.item
        wanted = item.at_most_once if isinstance(item, Message) else False
        return self.settings.outcome_unknown == "dead" if wanted is None else wanted

    def store_lost(self, before: dict[str, bool], since: float) -> None:
        """Note that the store lost what was done after `since`. `before` has the ids that were stored until then."""
        now_stored = self.stored()
        for tag, tracked in self.all_tracked.items():
            if tracked.position and tracked.added_at > since:
                tracked.forgotten = True
                tracked.returned.append(self.loop.time())
            if before.get(tag) and tag not in now_stored:
                self.note("store", "lost", tag)
                tracked.lost = tracked.ever_lost = True
            elif tag in now_stored and not before.get(tag):
                self.note("store", "returned", tag)
                tracked.returned.append(self.loop.time())

    def stored(self) -> dict[str, bool]:
        """Return the ids that are in the store now."""
        assert self.store is not None
        streams = [stream for key, stream in self.store.streams.items() if b"}:wake" not in key]
        entries = (fields for stream in streams for fields in stream.entries.values())
        return {tag: True for fields in entries if (tag := tag_of(fields)) is not None}

    def _store_time(self) -> float:
        assert self.store is not None
        self._latest = max(self._latest, self.store.now())
        return self._latest
