"""Carries heads of lanes to the service, judges how it went and has them settled: the loop around one call.

Rules guarded: a call holds its place among `concurrency` calls until it is settled, so what a crash can duplicate is
bounded by what was in flight; the lane moves on as soon as its head is delivered, without waiting for the store;
nothing is sent under a lease that may have run out, nor past the gate; being held back or throttled is no attempt.
"""

from collections.abc import Sequence

from fanout.signalr.message import Message
from workers.bell import Bell
from workers.coalescer import Plan, may_be_expired, plan
from workers.lane import Lane
from workers.lanes import Lanes
from workers.records import Records
from workers.retry import OUTCOME_UNKNOWN, THROTTLED, Again, Attempt, Dead, Delivered, Outcome, judge
from workers.route_class import RouteClass, class_of
from workers.sender import TAKEN, Sender
from workers.settler import Settler
from workers.tenure import Held
from workers.trade import Trade


class Couriers:
    """All couriers of one worker; each runs `run` as a task of its own."""

    def __init__(self, lanes: Lanes, sender: Sender, settler: Settler, bell: Bell, trade: Trade) -> None:
        self._lanes = lanes
        self._sender = sender
        self._settler = settler
        self._bell = bell
        self._trade = trade
        self._gate = trade.gate
        self._records = Records(trade)
        self._closed = False
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<Couriers {self.in_flight} in flight{', closed' if self._closed else ''}>"

    def close(self) -> None:
        """Take no further entry; calls in flight end as they will."""
        self._closed = True

    async def run(self) -> None:
        """Carry one call after the other, until cancelled."""
        while True:
            now = self._trade.clock.monotonic()
            self._bell.ring(self._lanes.wake_due(now))  # one of them is ours, and the others need somebody too
            classes = () if self._closed else self._gate.open_classes(now, self.in_flight)
            lane = self._lanes.take(now, classes) if classes else None
            if lane is None:
                await self._bell.sleep()
            elif self._may_still_act(lane):
                await self._carry(lane)

    async def watch_delays(self) -> None:
        """Wake a courier for each lane that is due and each class that opens, until cancelled."""
        while True:
            self._bell.due.clear()
            now = self._trade.clock.monotonic()
            self._bell.ring(self._lanes.wake_due(now))
            opening = min((at for at in self._openings(now) if at > now), default=None)
            if any(at <= now for at in self._openings(now)):
                self._bell.ring(1)
            due = [at for at in (self._lanes.next_due(), opening) if at is not None]
            try:
                async with self._trade.clock.timeout(min(due) - now if due else None):
                    await self._bell.due.wait()
            except TimeoutError:
                continue

    def _openings(self, now: float) -> list[float]:
        if not self._gate.holds_back:
            return []
        waiting = [route_class for route_class in RouteClass if self._lanes.ready_in(route_class)]
        return [at for route_class in waiting if (at := self._gate.opens_at(route_class, now)) != float("inf")]

    async def _carry(self, lane: Lane) -> None:
        self.in_flight += 1
        lane.tenure.began_call()
        try:
            todo = plan(lane.waiting, self._records.age, None if lane.alone else self._sender.bounds)
            if todo.superseded:
                await self._drop_and_call(lane, todo)
            elif not await self._expire(lane, todo.call[0]):
                await self._call(lane, todo.call)
        finally:
            lane.tenure.ended_call()
            self.in_flight -= 1

    def _may_still_act(self, lane: Lane) -> bool:
        if lane.tenure.may_act(self._trade.clock.monotonic()):
            return True
        lane.tenure.doubt()  # what is dropped here must come again before anything behind it goes
        self._lanes.drop(lane.tenure)
        self._bell.room.set()
        return False

    async def _drop_and_call(self, lane: Lane, todo: Plan) -> None:
        self._lanes.remove(lane, todo.superseded)
        settlement = self._settler.hand_in(todo.superseded)
        if not await self._expire(lane, todo.call[0]):
            await self._call(lane, todo.call)
        if await settlement.end():
            for held in todo.superseded:
                self._records.superseded(held)

    async def _expire(self, lane: Lane, head: Held) -> bool:
        item = head.entry.item
        if not isinstance(item, Message) or item.ttl is None or not may_be_expired(head, self._records.age):
            return False
        attempts = lane.attempts
        expired = await self._settler.expire(head, item.ttl)
        if expired is False:
            return not self._may_still_act(lane)
        self._lanes.advance(lane)
        self._moved_on(lane)
        if expired:
            self._records.expired(head, attempts)
        return True

    async def _call(self, lane: Lane, call: Sequence[Held]) -> None:
        head = call[0]
        lane.attempts += 1
        self._records.began(call, lane.attempts, throttled=lane.throttled)
        started = self._trade.clock.monotonic()
        outcome = await self._send(lane, class_of(head.entry.item), call)
        took = self._trade.clock.monotonic() - started
        if len(call) > 1 and self._sender.refused_joining(outcome):
            self._apart(lane)
            return
        if outcome is TAKEN and not self._records.traces:
            await self._deliver(lane, call, outcome, took)
            return
        attempt = Attempt(lane.attempts, self._records.age(head), self._trade.random(), renewed=lane.renewed)
        verdict = judge(head.entry, outcome, attempt, self._trade.policy)
        self._records.judged(call, attempt, outcome, verdict)
        match verdict:
            case Delivered():
                await self._deliver(lane, call, outcome, took)
            case Again():
                self._postpone(lane, call, verdict)
            case Dead():
                await self._bury(lane, call, verdict)

    async def _send(self, lane: Lane, route_class: RouteClass, call: Sequence[Held]) -> Outcome:
        outcome: Outcome | None = None
        began = self._trade.clock.monotonic()
        self._gate.began(route_class, began)
        if self._gate.holds_back:
            self._bell.due.set()
        try:
            outcome = await self._sender.send([held.entry for held in call])
        finally:
            if outcome is None:
                self._gate.abandoned(route_class)
        now = self._trade.clock.monotonic()
        slowdown = self._gate.ended(route_class, lane.key, outcome, now=now, took=now - began, in_flight=self.in_flight)
        if slowdown is not None:
            self._trade.tell(route_class, slowdown)
        if self._gate.holds_back:
            self._bell.due.set()
        return outcome

    async def _deliver(self, lane: Lane, call: Sequence[Held], outcome: Outcome, took: float) -> None:
        attempts = lane.attempts
        self._lanes.advance(lane, len(call))
        self._moved_on(lane)
        self._records.delivered(call)
        settled = await self._settler.settle(*call)
        self._records.settled(call, outcome, attempts=attempts, took=took, certain=settled)

    async def _bury(self, lane: Lane, call: Sequence[Held], dead: Dead) -> None:
        if len(call) > 1 and dead.reason != OUTCOME_UNKNOWN:  # which of them is it? each is judged in a call of its own
            self._apart(lane)
            return
        attempts = lane.attempts
        self._lanes.advance(lane, len(call))
        self._moved_on(lane)
        for held in call:
            if await self._settler.park(held, self._records.verdict(dead, attempts)):
                self._records.parked(held, dead, attempts)

    def _apart(self, lane: Lane) -> None:
        lane.alone = lane.throttled = True
        lane.attempts -= 1
        self._lanes.release(lane)
        self._moved_on(lane)

    def _postpone(self, lane: Lane, call: Sequence[Held], again: Again) -> None:
        if again.renew:
            lane.renewed = True
            self._sender.renew_token([held.entry for held in call])
        if again.failure == THROTTLED:
            lane.attempts -= 1
            lane.throttled = True
        self._lanes.postpone(lane, self._trade.clock.monotonic() + again.delay)
        self._bell.due.set()
        self._bell.room.set()  # what waited behind the head may have been left to the stream

    def _moved_on(self, lane: Lane) -> None:
        self._bell.ring(1)
        if lane.tenure.held <= lane.tenure.low:
            self._bell.room.set()
        if lane.fetching:
            self._bell.hungry.set()
