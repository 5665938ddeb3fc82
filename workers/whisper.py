"""Joins a worker's gate to the other workers: what it learns of limits is told, what they learn is heard.

Rules guarded: values of the queue's room become values of the gate here and nowhere else; without an answer from the
store the gate keeps the share it has, which before the first one is none.
"""

from collections.abc import Coroutine, Sequence
from math import inf
from typing import Any

from fanout.clock import Clock
from fanout.metrics import CLASSES, Metrics
from fanout.queue.pace_channel import PaceChannel, PaceNotice
from workers.bell import Bell
from workers.gate import Gate
from workers.lanes import Lanes
from workers.pace import IDLE, Slowdown
from workers.route_class import RouteClass


class Whisper:
    """One worker's ear and mouth."""

    def __init__(self, pace_channel: PaceChannel, gate: Gate, lanes: Lanes, bell: Bell, clock: Clock) -> None:
        self._pace_channel = pace_channel
        self._gate = gate
        self._lanes = lanes
        self._bell = bell
        self._clock = clock

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Give what has to run for as long as the worker delivers."""
        pace_channel = self._pace_channel
        self._gate.share({}, dict.fromkeys(RouteClass, inf))
        return [
            pace_channel.run_publishing(),
            pace_channel.run_receiving(self._hear),
            pace_channel.run_exchanging_demand(self._demand, self._share),
        ]

    def _hear(self, notice: PaceNotice) -> None:
        slowdown = Slowdown(pause=notice.pause, rate=notice.rate, factor=notice.factor, asked=notice.asked)
        self._gate.heard(RouteClass(notice.route_class), slowdown, self._clock.monotonic())
        self._bell.due.set()

    def _demand(self) -> Sequence[float]:
        return [max(IDLE, float(self._lanes.ready_in(kind) + self._gate.flying(kind))) for kind in RouteClass]

    def _share(self, others: Sequence[float]) -> None:
        mine = dict(zip(RouteClass, self._demand(), strict=True))
        self._gate.share(mine, dict(zip(RouteClass, others, strict=True)))
        self._bell.due.set()


class Mouth:
    """Tells the others of a slowdown, and counts it."""

    def __init__(self, pace_channel: PaceChannel, metrics: Metrics) -> None:
        self._pace_channel = pace_channel
        self._metrics = metrics

    def __call__(self, route_class: RouteClass, slowdown: Slowdown) -> None:
        """Tell; returns at once."""
        self._metrics.slowdowns[CLASSES[route_class]].inc()
        self._pace_channel.publish(
            PaceNotice(int(route_class), slowdown.pause, slowdown.rate, slowdown.factor, asked=slowdown.asked)
        )
