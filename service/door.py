"""What the front door is given: the queue as it needs it, the service to name, and how ready the process is.

Rule guarded: the HTTP side knows the queue by the four calls below, the traces and the dead letters and nothing else,
so that no route can reach Redis by a side path; everything a route needs is in one frozen `Door` that the composition
root fills in.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from fanout.clock import Clock
from fanout.delivery_log import DeliveryLog
from fanout.errors import FanoutError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import Depth, Receipt, Submission
from fanout.queue.traces import Traces
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString

Role = Literal["all", "ingress", "worker"]
Check = Callable[[], Awaitable[None]]


class QueuePort(Protocol):
    """The queue as the front door sees it; each call raises QueueError when the store does not answer."""

    async def append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store entries; one receipt for each submission, in the same order."""

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember an idempotency key; False when it was used before with another fingerprint."""

    async def depth(self) -> Depth:
        """Count what waits."""

    async def ping(self) -> None:
        """Return when the store answers."""


class Readiness:
    """Whether this process wants traffic: not while it drains, and only when each check returns.

    A check is an async callable that raises a FanoutError whose text says what is missing.
    """

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, Check] = {}

    def __repr__(self) -> str:
        return f"<Readiness {'draining' if self.draining else 'open'}, checks: {', '.join(self._checks) or 'none'}>"

    def add(self, name: str, check: Check) -> None:
        """Ask `check` at each probe; `name` stands before its reason."""
        self._checks[name] = check

    async def reasons(self, clock: Clock, within: float) -> list[str]:
        """Say why there should be no traffic, an empty list when nothing speaks against it.

        Each check may take `within` seconds.
        """
        reasons = ["draining"] if self.draining else []
        for name, check in self._checks.items():
            try:
                async with clock.timeout(within):
                    await check()
            except FanoutError as error:
                reasons.append(f"{name}: {error}")
            except TimeoutError:
                reasons.append(f"{name}: no answer within {within:g} s")
        return reasons


@dataclass(frozen=True, slots=True)
class Door:
    """Everything the HTTP side needs.

    `service` is None without a connection string, `page` without a page to show, `traces` where none are kept,
    `dead_letters` where nobody may look at them.
    """

    settings: Settings
    role: Role
    queue: QueuePort
    metrics: Metrics
    clock: Clock
    service: ConnectionString | None = None
    readiness: Readiness = field(default_factory=Readiness)
    page: Path | None = None
    traces: Traces | None = None
    delivery_log: DeliveryLog | None = None
    dead_letters: DeadLetters | None = None
