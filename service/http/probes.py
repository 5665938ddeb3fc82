"""Answers those who watch: liveness, readiness, metrics.

Rules guarded: liveness never looks at Redis (a restart heals no Redis); readiness does, within a second; metrics are
served even when Redis is silent, and a scrape asks it at most once a second however many scrape.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from fanout.clock import Clock
from fanout.errors import FanoutError, QueueError
from fanout.metrics import CONTENT_TYPE, Metrics
from fanout.queue.entry import Depth

_WITHIN = 1.0
Check = Callable[[], Awaitable[None]]


class Queue(Protocol):
    """The queue as the probes see it; each call raises QueueError when the store does not answer."""

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


class Probes:
    """The handlers of /livez, /readyz and /metrics."""

    def __init__(self, queue: Queue, metrics: Metrics, readiness: Readiness, clock: Clock) -> None:
        self._queue = queue
        self._metrics = metrics
        self._readiness = readiness
        self._clock = clock
        readiness.add("queue", queue.ping)
        self._refreshed = float("-inf")

    async def livez(self, request: Request) -> Response:  # noqa: ARG002 - the framework calls it so
        """Answer; that the event loop came here is the whole check."""
        return _json(200, {"status": "alive"})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002 - the framework calls it so
        """Say whether there should be traffic, and why not."""
        reasons = await self._readiness.reasons(self._clock, _WITHIN)
        if reasons:
            return _json(503, {"status": "notReady", "reasons": reasons})
        return _json(200, {"status": "ready", "reasons": []})

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002 - the framework calls it so
        """Give the Prometheus text."""
        await self._refresh()
        return Response(self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def _refresh(self) -> None:
        now = self._clock.monotonic()
        if now - self._refreshed < _WITHIN:
            return
        self._refreshed = now
        try:
            async with self._clock.timeout(_WITHIN):
                depth = await self._queue.depth()
        except (QueueError, TimeoutError):
            return  # the last known numbers stand; /readyz is the one that tells
        metrics = self._metrics
        for partition, entries in enumerate(depth.entries):
            metrics.depth.labels(str(partition)).set(entries)
        metrics.oldest_age.set(depth.oldest_age)
        metrics.dead_letters.set(depth.dead_letters)


def _json(status: int, document: dict[str, object]) -> Response:
    return Response(orjson.dumps(document), status, {"Cache-Control": "no-store"}, "application/json")
