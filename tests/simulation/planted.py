"""Bugs planted into the product, one at a time, to see that the simulation finds them.

Each is a way in which queue workers really go wrong. `PLANTED` has its name, what replaces which part, and some words
of the violation it has to cause. planted_delivery.py has the bugs in what holds calls back and in what joins them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.http1.pool import MayWrite
from fanout.queue.dead_letters import DeadLetters, DeathCause, OldDeleted, Parked
from fanout.queue.entry import Entry, NewerEntryError, Settled, StoredEntry, UnreadableEntryError, weight_of
from fanout.queue.keys import KEYS
from fanout.queue.leases import Lease, LeaseKey, Leases, Renewal
from fanout.queue.sharing import LiveWorkers, Portion, portions_of
from fanout.queue.stream import Stream
from fanout.signalr.client import Call, OnOutcome, Sender
from fanout.signalr.message import Message, RouteClass
from fanout.signalr.outcome import Answered, MaybeSent, Outcome
from workers.lane import Lane
from workers.ownership import Ownership
from workers.partition import OwnedFlow, OwnedPartition
from workers.pruner import Pruner
from workers.reader import Reader
from workers.schedule import Schedule

_SETTLE, _DELETE_OLD = Stream.settle, DeadLetters.delete_old
Work = Sequence[tuple[int, str, Sequence[Settled]]]  # partition, token of its lease, entries


async def settled_in_the_owners_name(stream: Stream, work: Work) -> list[bool | None]:
    """Look up who holds the lease and settle under that token: a worker that lost its lease goes on."""
    tokens = [await stream._redis.ask("GET", KEYS.lease(partition)) for partition, _token, _ids in work]
    named = [
        (partition, token.decode(), ids)
        for (partition, _token, ids), token in zip(work, tokens, strict=True)
        if token is not None
    ]
    await _SETTLE(stream, named)
    return [True] * len(work)


async def settled_once_at_most(stream: Stream, work: Work) -> list[bool | None]:
    """Give up a settlement that the store did not answer."""
    try:
        return await _SETTLE(stream, work)
    except QueueError:
        return [True] * len(work)


async def old_deleted_in_the_owners_name(
    letters: DeadLetters, partition: int, token: str, max_age: float, counted: bytes = b""
) -> OldDeleted:
    """Look up who holds the lease and delete dead letters under that token."""
    holder = await letters._redis.ask("GET", KEYS.lease(partition))
    return await _DELETE_OLD(letters, partition, (holder or token.encode()).decode(), max_age, counted)


async def younger_deleted(
    letters: DeadLetters, partition: int, token: str, max_age: float, counted: bytes = b""
) -> OldDeleted:
    """Delete dead letters before their time."""
    return await _DELETE_OLD(letters, partition, token, max_age / 2, counted)


class TwoHeads(Schedule):
    """Makes a lane with more entries ready twice."""

    def take(
        self,
        now: float,
        classes: Sequence[RouteClass] = tuple(RouteClass),
        endpoint: str = "",
        *,
        retries: bool = True,
    ) -> Lane | None:
        lane = super().take(now, classes, endpoint, retries=retries)
        if lane is not None and len(lane.waiting) > 1 and lane.attempts == 0:
            self._ready[endpoint].queues[lane.route_class].append(lane)
        return lane


class LaneThatOvertakes(Schedule):
    """Sends what waits behind while its head waits for a retry."""

    def postpone(self, lane: Lane, until: float, *, backs_off: bool = False) -> None:
        if not lane.dropped and len(lane.waiting) > 1:
            lane.waiting.append(lane.waiting.pop(0))
            lane.begin_next()
        super().postpone(lane, until, backs_off=backs_off)


class SkippingReader(Reader):
    """Reads past every fifth entry."""

    async def _take_in(self, flow: OwnedFlow, entries: Sequence[StoredEntry]) -> bool:
        for stored in entries:
            self._count = getattr(self, "_count", 0) + 1
            if not self._count % 5:
                flow.cursor = stored.id
            elif not await super()._take_in(flow, [stored]):
                return False
        return True


class PassingReader(Reader):
    """Leaves an entry of a newer format in place and goes on with what waits behind it in its lane."""

    def _hold(self, flow: OwnedFlow, stored: StoredEntry, error: NewerEntryError) -> bool:
        goes_on = super()._hold(flow, stored, error)
        flow.held.clear()
        return goes_on


class ParkingReader(Reader):
    """Parks an entry of a newer format."""

    async def _pass_by(self, flow: OwnedFlow, stored: StoredEntry, error: UnreadableEntryError) -> bool:
        return await super()._pass_by(flow, stored, UnreadableEntryError(str(error)))


class HopefulSender(Sender):
    """Treats a lost answer as a delivery."""

    async def send(self, calls: Sequence[Call], may_write: MayWrite | None = None) -> Outcome:
        return self._hoped(await super().send(calls, may_write))

    def start(self, call: Call, before_write: Callable[[], None], on_outcome: OnOutcome) -> bool:
        return super().start(call, before_write, lambda outcome: on_outcome(self._hoped(outcome)))

    def _hoped(self, outcome: Outcome) -> Outcome:
        return Answered(202) if isinstance(outcome, MaybeSent) else outcome


class RewritingSender(Sender):
    """Rewrites numbers in payloads."""

    async def send(self, calls: Sequence[Call], may_write: MayWrite | None = None) -> Outcome:
        return await super().send([self._tidied(call) for call in calls], may_write)

    def start(self, call: Call, before_write: Callable[[], None], on_outcome: OnOutcome) -> bool:
        return super().start(self._tidied(call), before_write, on_outcome)

    def _tidied(self, call: Call) -> Call:
        if not isinstance(call.item, Message):
            return call
        assert isinstance(call, Entry)
        item = msgspec.structs.replace(call.item, body=call.item.body.replace(b"1.10", b"1.1"))
        return msgspec.structs.replace(call, item=item)


class EternalLeases(Leases):
    """Never lets a lease expire by its own clock."""

    async def acquire(self, partitions: Sequence[int]) -> list[Lease]:
        return [replace(lease, expires=float("inf")) for lease in await super().acquire(partitions)]

    async def renew(
        self, leases: Sequence[Lease], flows: Mapping[int, Sequence[str]] | None = None
    ) -> Mapping[LeaseKey, Renewal | None]:
        renewals = await super().renew(leases, flows)
        return {
            key: renewal and replace(renewal, lease=replace(renewal.lease, expires=float("inf")))
            for key, renewal in renewals.items()
        }


class HurriedOwnership(Ownership):
    """Hands a partition back without waiting for its calls in flight."""

    async def _hand_back(self, owned: OwnedPartition) -> None:
        self._stop(owned)
        await self._release(owned)


class ForgetfulLetters(DeadLetters):
    """Deletes an entry instead of moving it to the dead letters."""

    async def park(self, partition: int, token: str, parked: Parked, cause: DeathCause) -> int:
        del cause
        entry = Settled(parked.flow, parked.body_ref, weight_of(parked.entry.data), [parked.entry.id])
        await Stream(self._redis, _NO_CLOCK, partitions=1, max_bytes=1, dedup_window=1).settle(
            [(partition, token, [entry])]
        )
        return 0


class CarelessPruner(Pruner):
    """Forgets a flow whose stream it deleted, whatever came meanwhile."""

    def _forget(self, owned: OwnedPartition, pruned: Mapping[str, bytes]) -> None:
        for name in pruned:
            owned.forget(name)


def equal_portions(worker: str, live_workers: LiveWorkers, partitions: int) -> list[Portion]:
    """Share all partitions alike, whoever can read what waits in them."""
    return portions_of(worker, replace(live_workers, needs={}), partitions)


class LonelyLeases(Leases):
    """Reads a clock that is an hour behind the store's."""

    async def heartbeat(self, needs: Mapping[int, int] | None = None) -> LiveWorkers:
        live_workers = await super().heartbeat(needs)
        return replace(live_workers, now=live_workers.now - 3600)


@dataclass(frozen=True)
class Planted:
    """A bug: what replaces which part (named as world.py says), words of its violation, and its scene."""

    stations: Mapping[str, Any]
    words: tuple[str, ...]
    scene: str = "any"


_PORTIONS = "workers.ownership.portions_of"
_OLD_DELETED = "fanout.queue.dead_letters.DeadLetters.delete_old"
_SETTLED = "fanout.queue.stream.Stream.settle"
_SERVED_BY = "fanout.redis.server.ServerClient.generation"
_NO_CLOCK: Clock = Any  # type: ignore[assignment] # settling reads no clock
PLANTED: Mapping[str, Planted] = {
    "a settler that ignores the fence": Planted({_SETTLED: settled_in_the_owners_name}, ("did SETTLE on",), "fence"),
    "a settler that gives up": Planted({_SETTLED: settled_once_at_most}, ("not done", "sent again")),
    "two heads of a lane at once": Planted({"Schedule": TwoHeads}, ("same lane",)),
    "a lane that overtakes its retry": Planted({"Schedule": LaneThatOvertakes}, ("was delivered before",)),
    "a reader that skips": Planted({"Reader": SkippingReader}, ("was delivered before", "not done")),
    "a lost answer taken for a delivery": Planted({"Sender": HopefulSender}, ("neither delivered nor expired",)),
    "a payload that is rewritten": Planted({"Sender": RewritingSender}, ("left as",)),
    "a zombie that goes on": Planted({"Leases": EternalLeases}, ("while partition",)),
    "a lease released over calls in flight": Planted({"Ownership": HurriedOwnership}, ("calls in flight",)),
    "dead letters that are dropped": Planted({"DeadLetters": ForgetfulLetters}, ("settled",)),
    "a failover taken for a cut connection": Planted(
        {_SERVED_BY: lambda *_: 0}, ("not done", "was delivered before"), "failover"
    ),
    "a newer entry that is overtaken": Planted({"Reader": PassingReader}, ("was delivered before",), "versions"),
    "a newer entry that is parked": Planted({"Reader": ParkingReader}, ("was parked as unreadable",), "versions"),
    "a partition kept from newer workers": Planted({_PORTIONS: equal_portions}, ("not done",), "versions"),
    "a flow forgotten while it is used": Planted(
        {"Pruner": CarelessPruner}, ("same lane", "sent again", "was delivered before"), "pruned"
    ),
    "a deletion that ignores the lease": Planted(
        {_OLD_DELETED: old_deleted_in_the_owners_name}, ("deleted a letter of",), "aged"
    ),
    "a letter deleted before its time": Planted({_OLD_DELETED: younger_deleted}, ("the bound is",), "aged"),
    "dead letters that grow old": Planted(
        {"workers.retention.Retention.tasks": lambda *_: []}, ("letters too old",), "aged"
    ),
    "ages by a wrong clock": Planted({"Leases": LonelyLeases}, ("its ttl is",)),
}
