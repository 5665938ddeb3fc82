"""Holds back what waits for a sweep, and sweeps for what stands before them; `fanout.queue.changes` says why.

A worker meets three things: markers "before" that are taken out once their time has come, markers "behind" (barriers)
that hold back what stands behind them, and sweeps, which wait for markers. Whether something is still there is asked
in the store, again and again, more rarely the longer it takes. Nothing has to be told to anybody, so nothing is missed
when a worker is killed, a partition moves or Redis loses a part.

Rules guarded: joins and leaves of a member wait for their sweep without limit, and messages to groups up to `bound`.
Past the bound, a join that has to wait goes aside, into a lane of its member and group, so that the group goes on.
Later changes of that member in that group follow it there.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from math import inf

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.metrics import Metrics
from fanout.queue.changes import Marker, group_flow, joining, sweep_flow
from fanout.queue.entry import Entry, StoredEntry, UnreadableEntryError, decode, weight_of
from fanout.queue.presence import Place, Presence
from fanout.queue.stream import START
from fanout.signalr.message import GroupAction, Message, Scope
from workers.lane import Lane
from workers.partition import NO_LANE, BufferedEntry, OwnedFlow, OwnedPartition, order_of
from workers.schedule import Schedule
from workers.settler import Settler

_CHUNK = 512  # entries that are looked through at a time
_SOONEST = 0.005  # seconds between two looks
_LATEST = 0.5
_PLACES = 2000  # entries that one look asks for, about
_UNANSWERED = 5.0  # seconds past the bound after which nobody waits for a look that the store does not answer
_SCANS = 10  # a flow is read again after so many times as long as reading it took
_PATIENCE = 0.5  # share of the time waited that is waited for the next look
_MOST = 20_000  # markers that a worker remembers, all flows together
_STILL_FULL = 0.75  # share of these above which it is not told again that they were reached
_NOTHING = Entry("", "", Message(Scope.GROUP, "", b""))  # stands in a marker's place where it is settled


@dataclass(eq=False, slots=True)
class Fence:
    """A marker "before" that was read and is in the store."""

    buffered: BufferedEntry
    members: frozenset[str]
    since: float
    next_at: float = 0.0


@dataclass(eq=False, slots=True)
class Barrier:
    """A marker "behind" that was read: the sweeps that may be in the store, by member.

    `held_since` is set once it holds something back, `looked_at` is when it was last looked whether they are there.
    """

    buffered: BufferedEntry
    open: dict[str, set[Place]]
    since: float
    order: tuple[int, int]
    held_since: float | None = None
    looked_at: float = -inf
    next_at: float = 0.0

    def places(self) -> Collection[Place]:
        """Return what it waits for."""
        return [place for places in self.open.values() for place in places]


@dataclass(eq=False, slots=True)
class Wait:
    """A sweep that is the head of a lane, and the markers that may be in the store."""

    lane: Lane
    id: bytes
    missing: set[Place]
    since: float
    next_at: float = 0.0

    def places(self) -> Collection[Place]:
        """Return what it waits for."""
        return self.missing


class Sweeps:
    """What waits for order in one worker. `bound` is in seconds."""

    def __init__(
        self, presence: Presence, schedule: Schedule, settler: Settler, clock: Clock, metrics: Metrics, *, bound: float
    ) -> None:
        self._presence = presence
        self._schedule = schedule
        self._settler = settler
        self._clock = clock
        self._metrics = metrics
        self._bound = bound
        self._fences: dict[OwnedFlow, list[Fence]] = {}
        self._barriers: dict[Barrier, None] = {}
        self._waits: dict[Lane, Wait] = {}
        self._work = asyncio.Event()
        self._is_full = False
        self.filled = 0  # how often the most markers were reached, since the start

    def __repr__(self) -> str:
        return f"<Sweeps {len(self._barriers)} barriers, {len(self._waits)} waiting>"

    def __len__(self) -> int:
        return len(self._waits) + self.markers

    @property
    def markers(self) -> int:
        """How many markers were read and are in the store."""
        return len(self._barriers) + sum(map(len, self._fences.values()))

    def has_room(self, flow: OwnedFlow) -> bool:
        """Return whether more of a flow may be read: past the most markers, only one with none before what comes.

        What all waits end with, the marker that was stored first, is the first of its flow, so it can be read always.
        """
        return not (flow.barriers or self._fences.get(flow)) or self.markers < _MOST

    def take(self, flow: OwnedFlow, stored: StoredEntry, marker: Marker) -> bool:
        """Remember a marker that was read; return whether with it there are so many that this has to be told."""
        now = self._clock.monotonic()
        buffered = BufferedEntry(flow, stored.id, _NOTHING, stored.stored_at, weight_of(stored.data))
        flow.known.add(stored.id)
        if marker.kind == "before":
            self._fences.setdefault(flow, []).append(Fence(buffered, frozenset(marker.members), now))
        else:
            places: dict[str, set[Place]] = {}
            for sweep in marker.sweeps:
                place = (sweep.partition, sweep_flow(sweep.member, flow.hub), sweep.id)
                places.setdefault(sweep.member, set()).add(place)
            barrier = Barrier(buffered, places, now, order_of(stored.id))
            flow.barriers.append(barrier)
            for member in places:
                flow.swept.setdefault(member, []).append(barrier)
            self._barriers[barrier] = None
        self._work.set()
        return self._has_filled()

    def may_go(self, lane: Lane, now: float) -> bool:
        """Return whether order lets the head of a lane go that was taken; if not, the lane is put where it belongs."""
        head = lane.waiting[0]
        if head.entry.after:
            return self._may_sweep(lane, head, now)
        flow = lane.flow
        if not flow.barriers and not flow.aside:
            return True
        member = joining(head.entry.item)
        if member is None:
            return self._may_be_heard(lane, head, now)
        return self._may_join(lane, head, member, now)

    async def run(self) -> None:
        """Look what is gone from the store until cancelled."""
        while True:
            self._work.clear()
            try:
                await self._look(self._clock.monotonic())
            except QueueError:  # it is asked again
                await self._clock.sleep(_LATEST)
            await self._rest()

    def _has_filled(self) -> bool:
        if self._is_full or self.markers < _MOST:
            return False
        self._is_full = True
        self.filled += 1
        return True

    def _may_sweep(self, lane: Lane, head: BufferedEntry, now: float) -> bool:
        wait = self._waits.get(lane)
        if wait is None or wait.id != head.id:
            flow = group_flow(lane.hub)
            missing = {(partition, flow, id_) for partition, id_ in enumerate(head.entry.after)}
            wait = self._waits[lane] = Wait(lane, head.id, missing, now)
            self._work.set()
        if not wait.missing:
            return True
        self._schedule.postpone(lane, _later(now, wait.since))
        return False

    def _may_be_heard(self, lane: Lane, head: BufferedEntry, now: float) -> bool:
        newest = _newest_before(lane.flow, head)  # its time is over last
        if newest is None:
            return True
        if self._holds(newest, lane, now):
            return False
        if not lane.attempts:
            self._metrics.unordered.inc()
        return True

    def _may_join(self, lane: Lane, head: BufferedEntry, member: str, now: float) -> bool:
        flow, key, order = lane.flow, _key_aside(head, member), order_of(head.id)
        held = [barrier for barrier in flow.swept.get(member, ()) if barrier.order < order]
        if lane.key == key:
            if held:
                self._schedule.postpone(lane, _later(now, held[0].since))
            return not held
        if key in flow.aside and not self._schedule.has_lane(flow, key):
            flow.aside.discard(key)
        if key in flow.aside and not lane.attempts:
            self._schedule.step_aside(lane, key)
        elif not held:
            return True
        elif not self._holds(held[-1], lane, now):
            flow.aside.add(key)
            self._schedule.step_aside(lane, key)
        return False

    def _holds(self, newest: Barrier, lane: Lane, now: float) -> bool:
        """Keep a lane back for a barrier, the newest before its head, and return True; False after the bound.

        The bound is over for certain when somebody has looked after it: the sweep may be gone and nobody knows yet.
        """
        since = self._held_since(newest, now)
        end = since + self._bound
        if now >= end and (newest.looked_at >= end or now >= end + _UNANSWERED):
            return False
        self._schedule.postpone(lane, min(_later(now, since), max(end, now + _SOONEST)))
        return True

    def _held_since(self, newest: Barrier, now: float) -> float:
        """Return since when a barrier holds something back; those behind it count from then too.

        Otherwise a lane with many barriers that stay would wait for the bound at each of them.
        """
        if newest.held_since is None:
            for barrier in reversed(newest.buffered.flow.barriers):
                if barrier.held_since is not None:
                    break
                barrier.held_since = now
                barrier.next_at = min(barrier.next_at, now + self._bound)
            self._work.set()
        return now if newest.held_since is None else newest.held_since

    async def _rest(self) -> None:
        times = [one.next_at for one in self._all()]
        if not times:
            await self._work.wait()
            return
        try:
            async with self._clock.timeout(max(_SOONEST, min(times) - self._clock.monotonic())):
                await self._work.wait()
        except TimeoutError:
            return

    def _all(self) -> Iterable[Fence | Barrier | Wait]:
        yield from self._barriers
        yield from self._waits.values()
        for fences in self._fences.values():
            yield from fences

    async def _look(self, now: float) -> None:
        self._forget(now)
        was_full = self.markers >= _MOST
        due = self._due(now)
        wanted = {place for one in due for place in one.places()}
        gone = await self._presence.gone(sorted(wanted)) if wanted else set()
        for one in due:
            one.next_at = _later(now, one.since)
            if isinstance(one, Wait):
                one.missing -= gone
                continue
            one.looked_at = now
            end = one.held_since + self._bound if one.held_since is not None else now
            one.next_at = min(one.next_at, end) if end > now else one.next_at
            self._lower(one, gone)
        for flow, fences in list(self._fences.items()):
            if any(fence.next_at <= now for fence in fences):
                await self._look_before(flow, fences, now)
        self._is_full = self._is_full and self.markers > _MOST * _STILL_FULL
        if was_full and self.markers < _MOST:
            for flow in {*self._fences, *(barrier.buffered.flow for barrier in self._barriers)}:
                flow.partition.wake()

    def _due(self, now: float) -> list[Barrier | Wait]:
        """Return whose time it is to look, those first that have waited longest for it, as many as one look may ask."""
        everyone: Iterable[Barrier | Wait] = chain(self._barriers, self._waits.values())
        due = sorted((one for one in everyone if one.next_at <= now), key=_next_at)
        asked = accumulate(len(one.places()) for one in due)
        return [one for one, count in zip(due, asked, strict=True) if count <= _PLACES or one is due[0]]

    def _forget(self, now: float) -> None:
        self._barriers = {one: None for one in self._barriers if one.buffered.partition.may_act(now)}
        self._fences = {flow: some for flow, some in self._fences.items() if some and flow.partition.may_act(now)}
        self._waits = {lane: wait for lane, wait in self._waits.items() if _is_head(lane, wait.id)}

    def _lower(self, barrier: Barrier, gone: set[Place]) -> None:
        """Let go what waits for sweeps that are gone, and settle the marker after the last of them."""
        flow = barrier.buffered.flow
        for member in list(barrier.open):
            barrier.open[member] -= gone
            if not barrier.open[member]:
                del barrier.open[member]
                flow.swept[member].remove(barrier)
                if not flow.swept[member]:
                    del flow.swept[member]
        if not barrier.open and barrier in self._barriers:
            del self._barriers[barrier]
            flow.barriers.remove(barrier)
            self._settle(barrier.buffered)

    async def _look_before(self, flow: OwnedFlow, fences: list[Fence], now: float) -> None:
        """Settle the markers of a flow before which nothing is left that has to go first."""
        started = self._clock.monotonic()
        await self._scan(flow, fences, now)
        ended = self._clock.monotonic()
        for fence in fences:
            fence.next_at = max(fence.next_at, ended + _SCANS * (ended - started))

    async def _scan(self, flow: OwnedFlow, fences: list[Fence], now: float) -> None:
        chosen = list(fences)
        for fence in chosen:
            fence.next_at = _later(now, fence.since)
        joins: set[str] = set()
        messages, after = False, START
        while chosen:
            rows = await self._presence.until(
                flow.partition.number, flow.name, chosen[-1].buffered.id, after=after, most=_CHUNK
            )
            end = order_of(rows[-1].id) if len(rows) == _CHUNK else None
            for row in rows:
                while chosen and order_of(chosen[0].buffered.id) < order_of(row.id):
                    self._pass(fences, chosen.pop(0), joins, now, messages=messages)
                member = _member_of(row)
                messages = messages or member == ""
                joins.update((member,) if member else ())
            if end is None:
                break
            after = rows[-1].id
            if now < chosen[0].since + self._bound:
                return  # messages are before it for certain, and it waits for them
        for fence in chosen:
            self._pass(fences, fence, joins, now, messages=messages)

    def _pass(self, fences: list[Fence], fence: Fence, joins: set[str], now: float, *, messages: bool) -> None:
        if fence.members & joins or (messages and now < fence.since + self._bound):
            return
        if messages:
            self._metrics.unordered.inc()
        fences.remove(fence)
        self._settle(fence.buffered)

    def _settle(self, buffered: BufferedEntry) -> None:
        owned = buffered.partition
        if buffered.flow.behind:
            owned.wake()  # there may be room for a marker now
        if not owned.may_act(self._clock.monotonic()):
            return
        owned.began_call(NO_LANE)
        self._settler.settle((buffered,), partial(_settled, owned))


def _settled(owned: OwnedPartition, _certain: bool) -> None:
    owned.ended_call(NO_LANE)


def _newest_before(flow: OwnedFlow, head: BufferedEntry) -> Barrier | None:
    place = bisect_left(flow.barriers, order_of(head.id), key=_order)
    return flow.barriers[place - 1] if place else None


def _order(barrier: Barrier) -> tuple[int, int]:
    return barrier.order


def _next_at(one: Barrier | Wait) -> float:
    return one.next_at


def _is_head(lane: Lane, id_: bytes) -> bool:
    # The head may have been left in the stream meanwhile.
    return not lane.dropped and id_ == (lane.head.id if lane.waiting else lane.left)


def _key_aside(head: BufferedEntry, member: str) -> str:
    # One for each member and group: what goes there comes from one lane, so that it stays in its order.
    item = head.entry.item
    return f"{head.entry.place}\n{member}\n{item.group if isinstance(item, GroupAction) else ''}"


def _later(now: float, since: float) -> float:
    return now + min(_LATEST, max(_SOONEST, (now - since) * _PATIENCE))


def _member_of(row: StoredEntry) -> str | None:
    """Return who joins or leaves with an entry, "" for a message; None for a marker and what cannot be read."""
    try:
        return joining(decode(row.data, "").item) or ""
    except UnreadableEntryError:
        return None
