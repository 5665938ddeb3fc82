"""Carries heads of lanes to the service: what happens before and around one call. What follows is the finisher's.

Rules guarded: a call holds its place among `concurrency` calls until it is settled, so what a crash can duplicate is
bounded by what was in flight; nothing is sent under a lease that may have run out, nor past the gate; being held back
is no attempt.

A call is no task: it is written where its place became free, and what follows is done when its answer comes, in that
callback. Only what has to wait, for a connection or the store, is a task. An error in either ends `run`.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from fanout.signalr.message import Message
from workers.alarm import Alarm
from workers.bell import Bell
from workers.coalescer import may_be_expired, plan
from workers.finisher import Finisher
from workers.lane import Lane
from workers.lanes import Lanes
from workers.retry import Outcome
from workers.route_class import RouteClass, class_of
from workers.sender import Sender
from workers.settler import Settler
from workers.tenure import Call, Held
from workers.trade import Trade

_STOOD_STILL = 0.01  # seconds between two steps past which somebody stopped the process, or kept it busy


class Couriers:
    """All couriers of one worker; the gate's window says how many there are."""

    def __init__(self, lanes: Lanes, sender: Sender, settler: Settler, bell: Bell, trade: Trade) -> None:
        self._lanes = lanes
        self._sender = sender
        self._settler = settler
        self._bell = bell
        self._trade = trade
        self._clock = trade.clock
        self._gate = trade.gate
        self._finisher = Finisher(lanes, sender, settler, bell, trade)
        self._places = self._finisher.places
        self._records = self._finisher.records
        self.alarm = Alarm(lanes, trade.gate, bell, trade.clock)
        self._group: asyncio.TaskGroup | None = None  # while it runs
        self._error: BaseException | None = None
        self._closed = False
        lanes.delays.held_until = self._held_until
        self._unbegun = 0  # calls that are about to begin

    @property
    def in_flight(self) -> int:
        """Calls that are under way or not yet settled."""
        return self._places.taken

    def __repr__(self) -> str:
        return f"<Couriers {self._places.taken} in flight{', closed' if self._closed else ''}>"

    def close(self) -> None:
        """Take no further entry; calls in flight end as they will."""
        self._closed = True

    async def run(self) -> None:
        """Carry until cancelled; a call in flight then counts as ended when its answer comes, and that is all."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while self._error is None:
                    self._fill()
                    await self._bell.work.wait()
                    self._bell.work.clear()
                raise self._error
            finally:
                self._group = None

    def _fill(self) -> None:
        """Begin calls as long as there are lanes that may go and places for them."""
        while self._group is not None and not self._closed:
            if self._unbegun and self._gate.holds_back:
                return  # the gate has not seen it yet
            now = self._clock.monotonic()
            classes = self._gate.open_classes(now, self._places.taken)
            lane = self._lanes.take(now, classes) if classes else None
            if self._lanes.any_hungry:
                self._bell.hungry.set()
            if lane is None:
                return
            if not lane.tenure.may_act(now):
                self._forsake(lane)
            elif (until := self._held_until(lane)) is not None:
                self._put_off(lane, until)
            else:
                self._carry(self._group, lane, now)

    def _carry(self, group: asyncio.TaskGroup, lane: Lane, now: float) -> None:
        self._places.take(lane.tenure)
        bounds = self._sender.bounds
        if lane.plain and bounds is None:
            self._begin(group, lane, (lane.waiting[0],), now)
            return
        todo = plan(lane.waiting, self._records.age, None if lane.alone else bounds)
        if todo.superseded:
            self._lanes.remove(lane, todo.superseded)
            lane.tenure.began_call()
            self._settler.hand_in(todo.superseded, partial(self._dropped, todo.superseded))
        item = todo.call[0].entry.item
        if isinstance(item, Message) and item.ttl is not None and may_be_expired(todo.call[0], self._records.age):
            group.create_task(self._ask_for_age(group, lane, todo.call, item.ttl))
        elif todo.superseded and not self._may_still_go(lane, now):
            self._places.give_back(lane.tenure)  # the head it has now is of another class, and waits with that
        else:
            self._begin(group, lane, todo.call, now)

    def _begin(self, group: asyncio.TaskGroup, lane: Lane, call: Call, now: float) -> None:
        """Make a call, at once or as soon as there is a connection for it."""
        route_class = class_of(call[0].entry.item)
        told = partial(self._answered, lane, call, route_class, now)
        leaving = partial(self._began, lane, call, route_class, now)
        if len(call) > 1 or not self._sender.start(call[0].entry, leaving, told):
            self._unbegun += 1
            group.create_task(self._send(lane, call, route_class, told, now))

    def _began(self, lane: Lane, call: Call, route_class: RouteClass, now: float) -> None:
        lane.attempts += 1
        self._records.began(call, lane.attempts, throttled=lane.throttled)
        self._gate.began(route_class, lane.key, now)
        if self._gate.holds_back:
            self._bell.due.set()

    async def _send(
        self, lane: Lane, call: Call, route_class: RouteClass, told: Callable[[Outcome], None], taken: float
    ) -> None:
        self._unbegun -= 1
        now = self._clock.monotonic()
        if not self._may_still_go(lane, now) or self._grew_old(lane, call, now - taken):
            self._places.give_back(lane.tenure)
            self._fill()
            return
        self._began(lane, call, route_class, now)
        self._fill()
        outcome: Outcome | None = None
        try:
            outcome = await self._sender.send([held.entry for held in call])
        finally:
            if outcome is None:
                self._gate.abandoned(route_class, lane.key)
                self._places.give_back(lane.tenure)
        told(outcome)

    def _answered(self, lane: Lane, call: Call, route_class: RouteClass, began: float, outcome: Outcome) -> None:
        try:
            handed_on = False
            if self._group is None:
                self._gate.abandoned(route_class, lane.key)
            else:
                took = self._learn(lane, route_class, began, outcome)
                handed_on = self._finisher.finish(self._group, lane, call, outcome, took)
            if not handed_on:
                self._places.give_back(lane.tenure)
            self._fill()
        except BaseException as error:  # noqa: BLE001 - a transport called, and would only log it
            self._error = error
            self._bell.work.set()

    def _learn(self, lane: Lane, route_class: RouteClass, began: float, outcome: Outcome) -> float:
        now = self._clock.monotonic()
        gate, took = self._gate, now - began
        slowdown = gate.ended(route_class, lane.key, outcome, now=now, took=took, in_flight=self._places.taken)
        if slowdown is not None:
            self._trade.tell(route_class, slowdown)
        if gate.holds_back:
            self._bell.due.set()
        return took

    def _dropped(self, superseded: Sequence[Held], certain: bool) -> None:
        superseded[0].tenure.ended_call()
        for held in superseded if certain else ():
            self._records.superseded(held)

    async def _ask_for_age(self, group: asyncio.TaskGroup, lane: Lane, call: Call, ttl: float) -> None:
        head, attempts, handed_on = call[0], lane.attempts, False
        try:
            expired = await self._settler.expire(head, ttl)
            if expired is not False:
                self._lanes.advance(lane)
                self._finisher.moved_on(lane)
                if expired:
                    self._records.expired(head, attempts)
            elif self._may_still_go(lane, now := self._clock.monotonic()):
                handed_on = True
                self._begin(group, lane, call, now)
        finally:
            if not handed_on:
                self._places.give_back(lane.tenure)
        self._fill()

    def _may_still_go(self, lane: Lane, now: float) -> bool:
        # Since it was taken its lease may have run out, its class been paused, or its breaker opened.
        if not lane.tenure.may_act(now):
            self._forsake(lane)
            return False
        if lane.route_class not in self._gate.open_classes(now, self._places.taken - 1):
            self._lanes.release(lane)
            self._bell.due.set()
            return False
        until = self._held_until(lane)
        if until is not None:
            self._put_off(lane, until)
        return until is None

    def _grew_old(self, lane: Lane, call: Call, waited: float) -> bool:
        # The process may have stood still since its age was looked at. What the store has just spared is not asked
        # about again for a turn of the loop.
        if waited < _STOOD_STILL or not any(may_be_expired(held, self._records.age) for held in call):
            return False
        self._lanes.release(lane)
        return True

    def _held_until(self, lane: Lane) -> float | None:
        if not self._gate.holds_back:
            return None
        now = self._clock.monotonic()
        at = self._gate.hub_opens_at(lane.route_class, lane.hub, now)
        return at if at > now else None

    def _put_off(self, lane: Lane, until: float) -> None:
        self._lanes.postpone(lane, until)
        self._bell.due.set()
        self._bell.room.set()  # what waited behind the head may have been left to the stream

    def _forsake(self, lane: Lane) -> None:
        lane.tenure.doubt()  # what is dropped here must come again before anything behind it goes
        self._lanes.drop(lane.tenure)
        self._bell.room.set()
