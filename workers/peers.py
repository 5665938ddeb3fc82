"""Exchanges limits with the other workers, and obeys the pauses that are kept in Redis.

Rules guarded: limits are those of one endpoint and concern no other. A pause that an operator sets holds back all of
them or the one that it names, and one that an endpoint asked for only that one. Values of the queue become values of
the gate here and nowhere else. Without an answer from the store the gate keeps the share it has, which before the first
answer is none, and the pauses it knows. A worker that starts makes no call before it knows which pauses there are,
unless the store does not answer for a while.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from math import inf, isinf
from typing import Any

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import LimitedWarnings, Logger
from fanout.queue.keys import hub_at
from fanout.queue.pace_channel import PaceChannel, PaceNotice
from fanout.queue.pauses import Pause, Pauses
from fanout.signalr.message import RouteClass
from workers.endpoint import Endpoint
from workers.limit import Found
from workers.schedule import Schedule
from workers.slowdown import IDLE, Slowdown

_LOOK_EVERY = 0.5  # seconds between two looks at the pauses
_WAIT_FOR_PAUSES = 5.0  # seconds after which a worker begins although it could not read them
_PRECISION = 0.1  # seconds by which the end of a pause may differ between two clocks
_WORTH_KEEPING = 1.0  # seconds: shorter pauses are over before anybody could look at them


class Peers:
    """The other workers and the operators, as one worker knows of them. `channels` has one for each endpoint."""

    def __init__(
        self,
        channels: Mapping[str, PaceChannel],
        pauses: Pauses,
        endpoints: Collection[Endpoint],
        schedule: Schedule,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._channels = channels
        self._pauses = pauses
        self._endpoints = endpoints
        self._schedule = schedule
        self._clock = clock
        self._log = log
        self._warnings = LimitedWarnings(log, clock)
        self._known: Mapping[str, tuple[Pause, float]] = {}  # with the time of our monotonic clock when it ends
        self._to_keep: dict[tuple[str, RouteClass], tuple[float, str]] = {}
        self._has_to_keep = asyncio.Event()

    def tell(self, endpoint: str, route_class: RouteClass, slowdown: Slowdown, cause: str) -> None:
        """Have the others know of a slowdown of an endpoint, soon; return at once."""
        found = slowdown.found
        notice = PaceNotice(
            int(route_class),
            slowdown.pause,
            found.rate,
            found.taken,
            found.refused,
            slowdown.share,
            asked=slowdown.asked,
            capped=slowdown.capped,
            is_test=slowdown.is_test,
        )
        self._channels[endpoint].publish(notice)
        if slowdown.asked and slowdown.pause >= _WORTH_KEEPING:
            self._to_keep[endpoint, route_class] = self._clock.monotonic() + slowdown.pause, cause
            self._has_to_keep.set()

    def tasks(self, on_change: Callable[[], None]) -> list[Coroutine[Any, Any, None]]:
        """Return what has to run while the worker delivers. `on_change` is called when a gate has changed."""
        for endpoint in self._endpoints:
            endpoint.gate.share({}, dict.fromkeys(RouteClass, inf))
            endpoint.gate.set_pauses(dict.fromkeys(RouteClass, inf), {}, self._clock.monotonic())
        exchanges = [task for endpoint in self._endpoints for task in self._exchange(endpoint, on_change)]
        return [*exchanges, self._run_obeying(on_change), self._run_keeping()]

    def _exchange(self, endpoint: Endpoint, on_change: Callable[[], None]) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what exchanges the limits of one endpoint with the other workers."""
        gate, channel = endpoint.gate, self._channels[endpoint.name]

        def receive(notice: PaceNotice) -> None:
            gate.heard(RouteClass(notice.route_class), _slowdown_of(notice), self._clock.monotonic())
            on_change()

        def share(others: Sequence[float]) -> None:
            mine = dict(zip(RouteClass, self._demand(endpoint), strict=True))
            gate.share(mine, dict(zip(RouteClass, others[: len(RouteClass)], strict=True)))
            gate.take_parts(others[len(RouteClass) :], self._clock.monotonic())
            on_change()

        return (
            channel.run_publishing(),
            channel.run_receiving(receive),
            channel.run_exchanging_demand(lambda: [*self._demand(endpoint), *gate.parts()], share),
        )

    def _demand(self, endpoint: Endpoint) -> Sequence[float]:
        ready_in, in_flight, name = self._schedule.ready_in, endpoint.gate.in_flight, endpoint.name
        return [max(IDLE, float(ready_in(each, name) + in_flight(each))) for each in RouteClass]

    async def _run_obeying(self, on_change: Callable[[], None]) -> None:
        """Look at the pauses again and again, and hold back what they name."""
        unknown_until = self._clock.monotonic() + _WAIT_FOR_PAUSES
        while True:
            try:
                self._obey(await self._pauses.current())
                unknown_until = inf
                on_change()
            except QueueError as error:
                if self._clock.monotonic() >= unknown_until:
                    self._log.warning("pauses.unknown", error=str(error))
                    for endpoint in self._endpoints:
                        endpoint.gate.set_pauses({}, {}, self._clock.monotonic())
                    unknown_until = inf
                    on_change()
            await self._clock.sleep(_LOOK_EVERY)

    def _obey(self, left: Mapping[Pause, float]) -> None:
        now = self._clock.monotonic()
        for endpoint in self._endpoints:
            _hold_back(endpoint, left, now)
        known, self._known = self._known, {pause.target: (pause, now + seconds) for pause, seconds in left.items()}
        for pause, seconds in left.items():
            if pause.target not in known:
                self._report(pause, seconds)
        for target in known.keys() - self._known.keys():
            self._ended(*known[target], now)

    def _report(self, pause: Pause, seconds: float) -> None:
        fields = {
            "target": pause.target,
            "seconds": None if isinf(seconds) else round(seconds, 3),
            "cause": pause.cause,
            "by": pause.by,
        }
        if pause.is_asked:
            self._warnings.warn("delivery.paused", pause.target, **fields)
        else:
            self._log.warning("delivery.paused", **fields)

    def _ended(self, pause: Pause, until: float, now: float) -> None:
        lifted = now < until - _PRECISION
        if not pause.is_asked or lifted:
            self._log.warning("delivery.resumed", target=pause.target, lifted=lifted)
        if pause.is_asked and lifted:
            for endpoint in self._endpoints:
                if pause.endpoint != endpoint.name:
                    continue
                for route_class in pause.route_classes:
                    endpoint.gate.resume(route_class, now)
                    self._schedule.hurry_refused(route_class, endpoint.name)

    async def _run_keeping(self) -> None:
        """Keep the pauses that the service asked this worker for where everybody can see them."""
        while True:
            await self._has_to_keep.wait()
            self._has_to_keep.clear()
            asked, self._to_keep = self._to_keep, {}
            for (endpoint, route_class), (until, cause) in asked.items():
                seconds, by = until - self._clock.monotonic(), self._channels[endpoint].worker
                with suppress(QueueError):  # it is obeyed all the same, but cannot be seen
                    await self._pauses.keep(route_class, endpoint, seconds=seconds, by=by, cause=cause)


def _hold_back(endpoint: Endpoint, left: Mapping[Pause, float], now: float) -> None:
    """Hold back at one endpoint what these pauses name, for the seconds that they have left."""
    classes: dict[RouteClass, float] = {}
    hubs: dict[str, float] = {}
    for pause, seconds in left.items():
        if pause.endpoint not in (None, endpoint.name):
            continue
        for route_class in pause.route_classes:
            classes[route_class] = max(classes.get(route_class, now), now + seconds)
        if pause.hub is not None:
            hub = hub_at(pause.hub, endpoint.name)
            hubs[hub] = max(hubs.get(hub, now), now + seconds)
    endpoint.gate.set_pauses(classes, hubs, now)


def _slowdown_of(notice: PaceNotice) -> Slowdown:
    found = Found(notice.rate, notice.taken, notice.refused)
    return Slowdown(notice.pause, found, notice.share, asked=notice.asked, capped=notice.capped, is_test=notice.is_test)
