"""Starts calls: takes lanes whose heads may go, and makes a `Flight` of each as long as there are places in flight.

Rules guarded: calls are started wherever a place becomes free, without a task in between. Each endpoint has places of
its own, so that a slow one takes none of another. One timer serves all that waits for its time: postponed lanes, and
classes of calls that are held back. However many lanes are due or may go, and however many calls fail, each turn takes
some of them, and `run` goes on with the others after all else had its turn. An error in a callback ends `run`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from fanout.signalr.message import RouteClass
from workers.coalescer import plan
from workers.endpoint import Endpoint
from workers.flight import Flight, Flights
from workers.lane import Lane
from workers.partition import BufferedEntry

_AT_ONCE = 16  # lanes that look for room again whenever some was given back
_LOOKS = 32  # calls to an endpoint that are begun before all else has its turn again, fewer where they take longer
_JUDGED = 4  # failed calls to an endpoint that are judged before all else has its turn again; one takes 0.2 ms
_ASIDE = 2.0  # putting a lane aside takes as long as so many


class Dispatcher:
    """Starts the calls of one worker. The window of each endpoint's gate says how many may be in flight there."""

    def __init__(self, flights: Flights) -> None:
        self._flights = flights
        self._schedule = flights.schedule
        self._endpoints = tuple(flights.endpoints.values())
        self._first, *self._others = self._endpoints
        self._clock = flights.clock
        self._without_room: deque[Lane] = deque()
        flights.fill, flights.wake, flights.fail, flights.put_off = self._fill, self.wake, self._fail, self._put_off
        flights.bodies.on_room = self._on_room
        self._work = asyncio.Event()
        self._error: BaseException | None = None
        self._closed = False
        self._goes_on = False  # lanes are left to be looked at, after all else had its turn
        self._woken_at = -inf  # when lanes that were due were looked for last
        self._looked_at = -inf  # when it was looked last whether a call may go

    def __repr__(self) -> str:
        return f"<Dispatcher {self.in_flight} in flight{', closed' if self._closed else ''}>"

    @property
    def in_flight(self) -> int:
        """How many calls are in flight or not yet settled."""
        return self._flights.count

    def wake(self) -> None:
        """Look soon for calls to start: lanes, places or the gate may have changed."""
        self._work.set()

    def close(self) -> None:
        """Start no further call; those in flight end as they will."""
        self._closed = True

    async def run(self) -> None:
        """Start calls until cancelled. After that the outcome of a call in flight changes nothing."""
        async with asyncio.TaskGroup() as group:
            self._flights.group = group
            try:
                while self._error is None:
                    self._work.clear()
                    self._begin_turn()
                    self._fill()
                    if self._goes_on:
                        await self._clock.sleep(0)
                    else:
                        await self._wait()
                raise self._error
            finally:
                self._flights.group = None
                self._go_on_with_failed()

    def _begin_turn(self) -> None:
        self._woken_at = self._clock.monotonic()
        self._schedule.wake_due(self._woken_at)
        due = self._schedule.next_due()
        self._goes_on = due is not None and due <= self._woken_at
        for endpoint in self._endpoints:
            endpoint.looks, endpoint.judged = 0.0, 0
        self._go_on_with_failed()

    def _put_off(self, endpoint: Endpoint, judge: Callable[[], None]) -> bool:
        """Have a failed call be judged in a later turn, and return True, if this one has judged enough of them."""
        if self._flights.group is None or endpoint.judged < _JUDGED:
            endpoint.judged += 1
            return False
        endpoint.put_off.append(judge)
        self._work.set()
        return True

    def _go_on_with_failed(self) -> None:
        for endpoint in self._endpoints:
            while endpoint.put_off and (endpoint.judged < _JUDGED or self._flights.group is None):
                endpoint.put_off.popleft()()
            self._goes_on = self._goes_on or bool(endpoint.put_off)

    async def _wait(self) -> None:
        """Return after `wake`, or when a postponed lane is due or a class of calls opens."""
        due = self._schedule.next_due()
        # Later than the last look, not than now: what came in between would be waited for until something else happens.
        later = [at for at in self._openings(self._looked_at) if self._looked_at < at < inf]
        if due is not None and self._woken_at < due < inf:
            later.append(due)
        if not later:
            await self._work.wait()
            return
        try:
            async with self._clock.timeout(max(0.0, min(later) - self._clock.monotonic())):
                await self._work.wait()
        except TimeoutError:
            return

    def _openings(self, now: float) -> list[float]:
        openings: list[float] = []
        for endpoint in self._endpoints:
            if endpoint.in_flight >= endpoint.gate.window.limit:
                openings.append(endpoint.gate.window.widens_at)
            if endpoint.retries.left < 1.0 and self._schedule.has_retries(endpoint.name):
                openings.append(endpoint.retries.opens_at)
            if endpoint.gate.holds_back:
                classes = [each for each in RouteClass if self._schedule.ready_in(each, endpoint.name)]
                openings += [endpoint.gate.opens_at(each, now) for each in classes]
        return openings

    def _fill(self) -> None:
        """Start calls as long as there are lanes that may go and places for them."""
        self._looked_at = self._fill_places(self._first)
        for endpoint in self._others:
            self._looked_at = min(self._looked_at, self._fill_places(endpoint))

    def _fill_places(self, endpoint: Endpoint) -> float:
        """Start calls to one endpoint; return when it was looked last whether one may go."""
        flights, gate, schedule, pace = self._flights, endpoint.gate, self._schedule, endpoint.retries
        now = self._clock.monotonic()
        while flights.group is not None and not self._closed:
            if endpoint.starting and gate.holds_back:
                break  # the gate has not counted it yet
            if endpoint.looks >= _LOOKS:
                self._goes_on = True
                self._work.set()
                break
            classes = gate.open_classes(now, endpoint.in_flight)
            retries = pace.left >= 1.0 or pace.is_open(now)
            lane = schedule.take(now, classes, endpoint.name, retries=retries) if classes else None
            if lane is None:
                break
            if flights.may_go(lane, now):
                if lane.attempts:
                    pace.began(now)
                self._start(endpoint, lane, now)
                endpoint.looks += endpoint.cost
            else:
                endpoint.looks += _ASIDE
            now = self._clock.monotonic()
        return now

    def _start(self, endpoint: Endpoint, lane: Lane, now: float) -> None:
        bounds = endpoint.sender.bounds
        if lane.plain and bounds is None:
            self._begin(lane, (lane.waiting[0],), now)
            return
        todo = plan(lane.waiting, self._flights.telemetry.age, None if lane.alone else bounds)
        if not todo.superseded:
            self._begin(lane, todo.call, now)
            return
        self._settle(lane, todo.superseded)
        if lane.route_class not in endpoint.gate.open_classes(now, endpoint.in_flight):
            self._schedule.release(lane)  # its head is of another class now, and waits with that
            self._work.set()
        elif self._flights.may_go(lane, now):
            self._begin(lane, todo.call, now)

    def _begin(self, lane: Lane, call: Sequence[BufferedEntry], now: float) -> None:
        """Begin a call, or keep its lane until there is room for the bodies that stand beside the streams."""
        has_bodies = bool(call[0].entry.body_ref) or len(call) > 1
        if not has_bodies or self._flights.bodies.reserve(call):
            Flight(self._flights, lane, call, now).begin()
        else:
            self._without_room.append(lane)

    def _on_room(self) -> None:
        for _ in range(min(len(self._without_room), _AT_ONCE)):
            self._schedule.release(self._without_room.popleft())
        self._work.set()

    def _settle(self, lane: Lane, superseded: Sequence[BufferedEntry]) -> None:
        """Take entries out of the queue that need not go, because a newer one waits."""
        self._schedule.remove(lane, superseded)
        lane.partition.began_call(lane.home)
        self._flights.settler.settle(superseded, partial(self._settled, lane, superseded))

    def _settled(self, lane: Lane, superseded: Sequence[BufferedEntry], certain: bool) -> None:
        lane.partition.ended_call(lane.home)
        for buffered in superseded if certain else ():
            self._flights.telemetry.superseded(buffered)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._work.set()
