"""Exchanges limits with the other workers: what this one learns is published, what they learn reaches its gate.

Rules guarded: values of the queue become values of the gate here and nowhere else. Without an answer from the store the
gate keeps the share it has, which before the first answer is none.
"""

from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any

from fanout.clock import Clock
from fanout.queue.pace_channel import PaceChannel, PaceNotice
from fanout.signalr.routes import RouteClass
from workers.gate import Gate
from workers.pace import IDLE, Slowdown
from workers.schedule import Schedule


class Peers:
    """The other workers, as one worker sees them."""

    def __init__(self, channel: PaceChannel, gate: Gate, schedule: Schedule, clock: Clock) -> None:
        self._channel = channel
        self._gate = gate
        self._schedule = schedule
        self._clock = clock

    def tell(self, route_class: RouteClass, slowdown: Slowdown) -> None:
        """Have the others know of a slowdown, soon; return at once."""
        self._channel.publish(
            PaceNotice(int(route_class), slowdown.pause, slowdown.rate, slowdown.factor, asked=slowdown.asked)
        )

    def tasks(self, on_change: Callable[[], None]) -> list[Coroutine[Any, Any, None]]:
        """Return what has to run while the worker delivers. `on_change` is called when the gate has changed."""

        def receive(notice: PaceNotice) -> None:
            slowdown = Slowdown(pause=notice.pause, rate=notice.rate, factor=notice.factor, asked=notice.asked)
            self._gate.heard(RouteClass(notice.route_class), slowdown, self._clock.monotonic())
            on_change()

        def share(others: Sequence[float]) -> None:
            mine = dict(zip(RouteClass, self._demand(), strict=True))
            self._gate.share(mine, dict(zip(RouteClass, others, strict=True)))
            on_change()

        self._gate.share({}, dict.fromkeys(RouteClass, inf))
        return [
            self._channel.run_publishing(),
            self._channel.run_receiving(receive),
            self._channel.run_exchanging_demand(self._demand, share),
        ]

    def _demand(self) -> Sequence[float]:
        return [max(IDLE, float(self._schedule.ready_in(each) + self._gate.in_flight(each))) for each in RouteClass]
