"""One call to the service, from taking its place in flight until the store has settled what it carried.

The methods of `Flight` are in the order in which they happen:

    begin -> (ask the store for the age) -> (fetch bodies) -> leaving -> (wait for a connection) -> answered
          -> follow: deliver | repeat | split | bury -> settled -> land

Rules guarded:
- A call holds its place until it is settled, and gives it back once, in `land`. What a crash can duplicate is bounded
  by the calls in flight.
- Nothing is sent under a lease that may have run out, nor past the gate. Being held back is no attempt. A call that
  waited for a connection or a token is asked about again right before it is written.
- The lane moves on as soon as its head is delivered and does not wait for the store. It waits until a dead head is in
  the dead letters, because the next owner would send that again, after what went on without it.
- A call of several messages that is refused harms none of them: each is judged in a call of its own.
- A call concerns the endpoint of its lane alone: places in flight, pace, breakers and tokens are those of the endpoint.

A call is no task: it is written where a place became free, and what follows is done in the callback of its answer. Only
what has to wait, for the store or a connection, is a task.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fanout.clock import Clock
from fanout.errors import WithheldError
from fanout.queue.dead_letters import DeathCause
from fanout.queue.entry import Entry, with_body
from fanout.signalr.message import Message, RouteClass, class_of
from fanout.signalr.outcome import TAKEN, Outcome
from workers.bodies import Bodies
from workers.coalescer import may_be_expired
from workers.endpoint import Endpoint
from workers.lane import Lane
from workers.partition import BufferedEntry
from workers.schedule import Schedule
from workers.settler import Settler
from workers.slowdown import Slowdown
from workers.sweeps import Sweeps
from workers.telemetry import DELIVERED, GONE, End, Telemetry
from workers.verdicts import (
    OUTCOME_UNKNOWN,
    THROTTLED,
    Again,
    Attempt,
    Dead,
    Delivered,
    Gone,
    RetryPolicy,
    Sign,
    describe,
    judge,
    sign_of,
)

_WITHOUT_BODY = Dead("unreadable", "refused", 0, "the body that this entry names is not in the store any more")
_SERVED = Sign.SERVED  # looking it up on the class costs more
_STOOD_STILL = 0.01  # seconds between two steps past which the process may have been stopped meanwhile


@dataclass(eq=False, repr=False)
class Flights:
    """What all calls of one worker share: the stations they pass, and how many are in flight.

    `endpoints` are those that it delivers to, by name. `random` returns numbers in [0, 1). `tell` hands a slowdown of
    an endpoint and its cause to the other workers.
    """

    schedule: Schedule
    endpoints: Mapping[str, Endpoint]
    settler: Settler
    bodies: Bodies
    sweeps: Sweeps
    telemetry: Telemetry
    policy: RetryPolicy
    clock: Clock
    random: Callable[[], float]
    tell: Callable[[str, RouteClass, Slowdown, str], None]
    # What starts calls after places became free, has that done soon, ends the worker, and keeps an answer for later.
    fill: Callable[[], None] = field(init=False)
    wake: Callable[[], None] = field(init=False)
    fail: Callable[[BaseException], None] = field(init=False)
    put_off: Callable[[Endpoint, Callable[[], None]], bool] = field(init=False)
    group: asyncio.TaskGroup | None = field(default=None, init=False)  # while the dispatcher runs

    def __repr__(self) -> str:
        return f"<Flights {self.count} in flight>"

    @property
    def count(self) -> int:
        """How many calls are in flight or not yet settled."""
        return sum(endpoint.in_flight for endpoint in self.endpoints.values())

    def may_go(self, lane: Lane, now: float) -> bool:
        """Return whether the head of a lane that was taken may be sent; if not, the lane is put where it belongs."""
        if not lane.partition.may_act(now):
            lane.partition.doubt()  # what is dropped here has to come again before anything behind it goes
            self.schedule.drop(lane.partition)
            return False
        until = self.endpoints[lane.flow.endpoint].gate.held_until(lane, now)
        if until is not None:
            self.postpone(lane, until, backs_off=True)  # a breaker may close sooner
            return False
        if (lane.flow.barriers or not lane.plain) and not self.sweeps.may_go(lane, now):
            self.wake()
            return False
        return True

    def postpone(self, lane: Lane, until: float, *, backs_off: bool = False) -> None:
        """Keep a lane until `until`; see `Schedule.postpone`."""
        self.schedule.postpone(lane, until, backs_off=backs_off)
        self.wake()


class Flight:
    """One call for the first entries of a lane."""

    __slots__ = (
        "_attempts", "_began_at", "_borrows", "_call", "_end", "_endpoint", "_flights", "_lane", "_outcome",
        "_route_class", "_took",
    )  # fmt: skip

    def __init__(self, flights: Flights, lane: Lane, call: Sequence[BufferedEntry], now: float) -> None:
        """`call` has its room reserved in `flights.bodies`."""
        self._flights = flights
        self._endpoint = flights.endpoints[lane.flow.endpoint]
        self._lane = lane
        self._call = call
        head = call[0].entry
        self._borrows = bool(head.body_ref) or (len(call) > 1 and any(buffered.entry.body_ref for buffered in call))
        self._route_class = lane.flow.route_class if type(head.item) is Message else class_of(head.item)
        self._began_at = now
        self._attempts = 0
        self._took = 0.0
        self._outcome: Outcome = TAKEN
        self._end: End = DELIVERED

    def __repr__(self) -> str:
        return f"<Flight of {len(self._call)} for {self._lane!r}>"

    def begin(self) -> None:
        """Take a place in flight, and send at once or as soon as the store or a connection lets the call go."""
        flights, head = self._flights, self._call[0]
        self._endpoint.in_flight += 1
        self._lane.partition.began_call(self._lane.home)
        item = head.entry.item
        if isinstance(item, Message) and item.ttl is not None and may_be_expired(head, flights.telemetry.age):
            self._task(self._ask_age(item.ttl))
        else:
            self._send()

    async def _ask_age(self, ttl: float) -> None:
        """Ask the store, whose clock decides, whether the message has expired. Send it if not."""
        flights, lane, attempts = self._flights, self._lane, self._lane.attempts
        try:
            expired = await flights.settler.expire(self._call[0], ttl)
        except BaseException:
            self.land()
            raise
        self._began_at = flights.clock.monotonic()  # what the store has just spared is not asked about again
        if expired is False and self._may_still_go():
            self._send()
        else:
            if expired is not False:
                flights.schedule.advance(lane, 1)
            if expired:
                flights.telemetry.expired(self._call[0], attempts)
            self.land()
        flights.fill()

    def _send(self) -> None:
        """Write the request if a connection is free, otherwise wait for one."""
        endpoint, call = self._endpoint, self._call
        if self._borrows:
            endpoint.starting += 1
            self._task(self._fetch_bodies())
        elif len(call) > 1 or not endpoint.sender.start(call[0].entry, self.leaving, self.answered):
            endpoint.starting += 1
            self._task(self._wait_for_connection([buffered.entry for buffered in call]))

    async def _fetch_bodies(self) -> None:
        """Fetch the bodies that stand beside the stream, then send."""
        flights = self._flights
        self._endpoint.starting -= 1
        try:
            bodies = [await flights.bodies.get(b) if b.entry.body_ref else b"" for b in self._call]
        except BaseException:
            self.land()
            raise
        if None in bodies:
            await self._bury(_WITHOUT_BODY)
            return
        pairs = zip(self._call, bodies, strict=True)
        entries = [with_body(buffered.entry, body) if body else buffered.entry for buffered, body in pairs]
        self._endpoint.starting += 1
        await self._wait_for_connection(entries)

    async def _wait_for_connection(self, entries: Sequence[Entry]) -> None:
        flights, endpoint = self._flights, self._endpoint
        endpoint.starting -= 1
        if not self._may_still_go():
            self.land()
            flights.fill()
            return
        self._began_at = flights.clock.monotonic()
        self.leaving()
        flights.fill()
        try:
            outcome = await endpoint.sender.send(entries, self._may_be_written)
        except WithheldError:
            self._take_back()
            return
        except BaseException:
            endpoint.gate.abandoned(self._route_class, self._lane.key)
            self.land()
            raise
        self.answered(outcome)

    def _may_be_written(self) -> bool:
        """Return whether the lease still stands, no pause began, and no message of the call may have expired."""
        now = self._flights.clock.monotonic()
        is_paused = self._endpoint.gate.pause_ends_at(self._route_class, now) > now
        return self._lane.partition.may_act(now) and not is_paused and not self._may_have_expired(now)

    def _take_back(self) -> None:
        """Undo `leaving`, and have the lane go again if it may: the call was not written."""
        flights, lane = self._flights, self._lane
        lane.uncount_attempt()
        self._endpoint.gate.abandoned(self._route_class, lane.key)
        if flights.may_go(lane, flights.clock.monotonic()):
            flights.schedule.release(lane)
        self.land()
        flights.wake()

    def leaving(self) -> None:
        """Count the call: it is written now, or when it has its connection."""
        flights, lane, gate = self._flights, self._lane, self._endpoint.gate
        lane.count_attempt()
        flights.telemetry.began(self._call, lane.attempts, self._began_at, uncounted=lane.uncounted)
        gate.began(self._route_class, lane, self._began_at)
        if gate.holds_back:
            flights.wake()

    def answered(self, outcome: Outcome) -> None:
        """Learn from the outcome and do what follows. Called by a transport, so that it must not raise."""
        flights, gate = self._flights, self._endpoint.gate
        if outcome is not TAKEN and flights.put_off(self._endpoint, partial(self.answered, outcome)):
            return  # many calls failed in this turn
        try:
            if flights.group is None:  # the worker has stopped: the outcome changes nothing any more
                gate.abandoned(self._route_class, self._lane.key)
                self.land()
                return
            # Asked before the outcome itself changes the answer.
            proven = outcome is not TAKEN and gate.is_proven(self._route_class, self._lane.hub)
            self._learn(outcome, proven=proven)
            self._follow(outcome, proven=proven)
            flights.fill()
        except BaseException as error:  # noqa: BLE001 - a transport would only log it
            flights.fail(error)

    def _learn(self, outcome: Outcome, *, proven: bool) -> None:
        flights, gate = self._flights, self._endpoint.gate
        now = flights.clock.monotonic()
        self._took = now - self._began_at
        sign = _SERVED if outcome is TAKEN else sign_of(self._call[0].entry, outcome, proven=proven)
        slowdown = gate.ended(
            self._route_class, self._lane.key, outcome, sign, now=now, took=self._took,
            in_flight=self._endpoint.in_flight, pressed=outcome is not TAKEN and (
                len(self._lane.waiting) > len(self._call)
                or flights.schedule.ready_in(self._route_class, self._endpoint.name) > 0
            ),
        )  # fmt: skip
        if slowdown is not None:
            flights.telemetry.slowed(self._endpoint.label, self._route_class, slowdown)
            flights.tell(self._endpoint.name, self._route_class, slowdown, describe(outcome))
        for route_class, hub in gate.take_recovered() if gate.recovered else ():
            flights.schedule.hurry(route_class, hub)
            flights.wake()
        if gate.holds_back:
            flights.wake()

    def _follow(self, outcome: Outcome, *, proven: bool) -> None:
        """Deliver, repeat, split or bury."""
        flights, call, telemetry = self._flights, self._call, self._flights.telemetry
        if outcome is TAKEN and telemetry.traces is None:
            self._deliver(outcome, DELIVERED)
            return
        if len(call) > 1 and self._endpoint.sender.refused_joining(outcome):
            self._split()
            return
        attempt = self._attempt(proven=proven)
        verdict = judge(call[0].entry, outcome, attempt, flights.policy)
        telemetry.judged(call, attempt, outcome, verdict)
        match verdict:
            case Delivered():
                self._deliver(outcome, DELIVERED)
            case Gone():
                self._deliver(outcome, GONE)
            case Again():
                self._repeat(verdict)
            case Dead(reason) if len(call) > 1 and reason != OUTCOME_UNKNOWN:
                self._split()
            case Dead():
                self._task(self._bury(verdict))

    def _attempt(self, *, proven: bool) -> Attempt:
        flights, lane, age = self._flights, self._lane, self._flights.telemetry.age(self._call[0])
        alone = self._endpoint.gate.is_alone(lane.key)
        return Attempt(lane.attempts, age, flights.random(), renewed=lane.renewed, proven=proven, alone=alone)

    def _deliver(self, outcome: Outcome, end: End) -> None:
        """Let the lane move on, and have the store settle what was delivered, or what nobody is there for."""
        flights, lane, call = self._flights, self._lane, self._call
        self._outcome, self._end, self._attempts = outcome, end, lane.attempts
        if lane.attempts > 1 or self._endpoint.cost > 1.0:
            self._endpoint.served(lane.attempts)
        flights.schedule.advance(lane, len(call))
        flights.telemetry.ended(call, end)
        flights.settler.settle(call, self.settled)

    def _repeat(self, again: Again) -> None:
        """Have the lane wait for its next attempt."""
        flights, lane = self._flights, self._lane
        if again.renew:
            lane.note_renewal()
            self._endpoint.sender.renew_token([buffered.entry for buffered in self._call])
        if again.failure == THROTTLED:
            lane.uncount_attempt()
        self._endpoint.failed()
        now, delay = flights.clock.monotonic(), again.delay
        if not again.asked:
            delay = min(delay, self._endpoint.gate.longest_backoff(self._route_class, lane.hub, self._began_at, now))
        flights.postpone(lane, now + delay, backs_off=not again.asked)
        self.land()

    def _split(self) -> None:
        """Have each message go in a call of its own: one of them may be the cause of the refusal."""
        self._lane.go_alone()
        self._flights.schedule.release(self._lane)
        self.land()

    async def _bury(self, dead: Dead) -> None:
        """Move what the call carried to the dead letters. The lane moves on when it is there."""
        flights, lane = self._flights, self._lane
        cause = DeathCause(reason=dead.reason, status=dead.status, attempts=lane.attempts, detail=dead.detail)
        try:
            for buffered in self._call:
                if await flights.settler.park(buffered, cause):
                    flights.telemetry.parked(buffered, cause)
            flights.schedule.advance(lane, len(self._call))
        finally:
            self.land()
        flights.wake()

    def settled(self, certain: bool) -> None:
        """Land: the store has taken out what was delivered, or the lease was lost before that was `certain`."""
        self.land()
        self._flights.telemetry.settled(
            self._call, self._end, self._outcome, attempts=self._attempts, took=self._took, certain=certain
        )
        self._flights.wake()  # once for all that are settled together

    def land(self) -> None:
        """Give the place in flight back. This happens once for each call."""
        self._endpoint.in_flight -= 1
        if self._borrows:
            self._flights.bodies.release(self._call)
        self._lane.partition.ended_call(self._lane.home)

    def _may_still_go(self) -> bool:
        # Since the lane was taken its lease or its message may have run out, its class been paused, its breaker opened.
        flights, lane, endpoint = self._flights, self._lane, self._endpoint
        now = flights.clock.monotonic()
        open_classes = endpoint.gate.open_classes(now, endpoint.in_flight - 1)
        if lane.partition.may_act(now) and lane.route_class not in open_classes:
            flights.schedule.release(lane)
            flights.wake()
            return False
        may_go = flights.may_go(lane, now)
        if may_go and self._may_have_expired(now):
            flights.schedule.release(lane)
            return False
        return may_go

    def _may_have_expired(self, now: float) -> bool:
        # The process may have been stopped since the age was looked at, or the call waited.
        stood = now - self._began_at >= _STOOD_STILL
        return stood and any(may_be_expired(buffered, self._flights.telemetry.age) for buffered in self._call)

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        group = self._flights.group
        if group is None:
            coroutine.close()
            raise RuntimeError("No call can begin when the dispatcher has stopped.")
        group.create_task(coroutine)
