"""What the couriers of one worker share besides lanes, sender and settler: clocks, chance, policy, gate and voice.

Rule guarded: numbers that decide (jitter, time, limits) are handed in, so a run can be repeated exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fanout.clock import Clock
from fanout.delivery_log import DeliveryLog
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.traces import Traces
from workers.gate import Gate
from workers.pace import Slowdown
from workers.retry import RetryPolicy
from workers.route_class import RouteClass
from workers.store_time import StoreTime


class Voice(Protocol):
    """How the other workers hear of a slowdown."""

    def __call__(self, route_class: RouteClass, slowdown: Slowdown) -> None:
        """Tell them; returns at once."""


@dataclass(frozen=True, slots=True)
class Trade:
    """The tools of the trade. `random` gives numbers in [0, 1)."""

    clock: Clock
    metrics: Metrics
    log: Logger
    policy: RetryPolicy
    random: Callable[[], float]
    gate: Gate
    tell: Voice
    delivery_log: DeliveryLog | None = None  # None: settled deliveries are told to `log`, as everything else
    traces: Traces | None = None
    store_time: StoreTime = field(default_factory=StoreTime)
