"""Exchanges limits with the other workers, and obeys the pauses that are kept in Redis.

Rules guarded: values of the queue become values of the gate here and nowhere else. Without an answer from the store the
gate keeps the share it has, which before the first answer is none, and the pauses it knows. A worker that starts makes
no call before it knows which pauses there are, unless the store does not answer for a while.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from math import inf, isinf
from typing import Any

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import LimitedWarnings, Logger
from fanout.queue.pace_channel import PaceChannel, PaceNotice
from fanout.queue.pauses import Pause, Pauses
from fanout.signalr.message import RouteClass
from workers.gate import Gate
from workers.limit import Found
from workers.pace import IDLE, Slowdown
from workers.schedule import Schedule

_LOOK_EVERY = 0.5  # seconds between two looks at the pauses
_WAIT_FOR_PAUSES = 5.0  # seconds after which a worker begins although it could not read them
_PRECISION = 0.1  # seconds by which the end of a pause may differ between two clocks
_WORTH_KEEPING = 1.0  # seconds: shorter pauses are over before anybody could look at them


class Peers:
    """The other workers and the operators, as one worker knows of them."""

    def __init__(
        self, channel: PaceChannel, pauses: Pauses, gate: Gate, schedule: Schedule, clock: Clock, log: Logger
    ) -> None:
        self._channel = channel
        self._pauses = pauses
        self._gate = gate
        self._schedule = schedule
        self._clock = clock
        self._log = log
        self._warnings = LimitedWarnings(log, clock)
        self._known: Mapping[str, tuple[Pause, float]] = {}  # with the time of our monotonic clock when it ends
        self._to_keep: dict[RouteClass, tuple[float, str]] = {}
        self._has_to_keep = asyncio.Event()

    def tell(self, route_class: RouteClass, slowdown: Slowdown, cause: str) -> None:
        """Have the others know of a slowdown, soon; return at once."""
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
        )
        self._channel.publish(notice)
        if slowdown.asked and slowdown.pause >= _WORTH_KEEPING:
            self._to_keep[route_class] = self._clock.monotonic() + slowdown.pause, cause
            self._has_to_keep.set()

    def tasks(self, on_change: Callable[[], None]) -> list[Coroutine[Any, Any, None]]:
        """Return what has to run while the worker delivers. `on_change` is called when the gate has changed."""

        def receive(notice: PaceNotice) -> None:
            found = Found(notice.rate, notice.taken, notice.refused)
            slowdown = Slowdown(notice.pause, found, notice.share, asked=notice.asked, capped=notice.capped)
            self._gate.heard(RouteClass(notice.route_class), slowdown, self._clock.monotonic())
            on_change()

        def share(others: Sequence[float]) -> None:
            mine = dict(zip(RouteClass, self._demand(), strict=True))
            self._gate.share(mine, dict(zip(RouteClass, others[: len(RouteClass)], strict=True)))
            self._gate.take_parts(others[len(RouteClass) :], self._clock.monotonic())
            on_change()

        self._gate.share({}, dict.fromkeys(RouteClass, inf))
        self._gate.set_pauses(dict.fromkeys(RouteClass, inf), {}, self._clock.monotonic())
        return [
            self._channel.run_publishing(),
            self._channel.run_receiving(receive),
            self._channel.run_exchanging_demand(lambda: [*self._demand(), *self._gate.parts()], share),
            self._run_obeying(on_change),
            self._run_keeping(),
        ]

    def _demand(self) -> Sequence[float]:
        return [max(IDLE, float(self._schedule.ready_in(each) + self._gate.in_flight(each))) for each in RouteClass]

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
                    self._gate.set_pauses({}, {}, self._clock.monotonic())
                    unknown_until = inf
                    on_change()
            await self._clock.sleep(_LOOK_EVERY)

    def _obey(self, left: Mapping[Pause, float]) -> None:
        now = self._clock.monotonic()
        classes: dict[RouteClass, float] = {}
        hubs: dict[str, float] = {}
        for pause, seconds in left.items():
            for route_class in pause.route_classes:
                classes[route_class] = max(classes.get(route_class, now), now + seconds)
            if pause.hub is not None:
                hubs[pause.hub] = now + seconds
        self._gate.set_pauses(classes, hubs, now)
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
            for route_class in pause.route_classes:
                self._gate.resume(route_class, now)
                self._schedule.hurry_refused(now, route_class)

    async def _run_keeping(self) -> None:
        """Keep the pauses that the service asked this worker for where everybody can see them."""
        while True:
            await self._has_to_keep.wait()
            self._has_to_keep.clear()
            asked, self._to_keep = self._to_keep, {}
            for route_class, (until, cause) in asked.items():
                seconds = until - self._clock.monotonic()
                with suppress(QueueError):  # it is obeyed all the same, but cannot be seen
                    await self._pauses.keep(route_class, seconds=seconds, by=self._channel.worker, cause=cause)
