"""Answers those who watch: liveness, readiness, metrics.

Rules guarded: liveness never looks at Redis (a restart heals no Redis); readiness does, within a second; metrics are
served even when Redis is silent, and a scrape asks it at most once a second however many scrape.
"""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from fanout.errors import QueueError
from fanout.metrics import CONTENT_TYPE
from service.door import Door

_WITHIN = 1.0


class Health:
    """The handlers of /livez, /readyz and /metrics."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._refreshed = float("-inf")

    async def livez(self, request: Request) -> Response:  # noqa: ARG002 - the framework calls it so
        """Answer; that the event loop came here is the whole check."""
        return _json(200, {"status": "alive"})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002 - the framework calls it so
        """Say whether there should be traffic, and why not."""
        reasons = await self._door.readiness.reasons(self._door.clock, _WITHIN)
        if reasons:
            return _json(503, {"status": "notReady", "reasons": reasons})
        return _json(200, {"status": "ready", "reasons": []})

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002 - the framework calls it so
        """Give the Prometheus text."""
        await self._refresh()
        return Response(self._door.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def _refresh(self) -> None:
        now = self._door.clock.monotonic()
        if now - self._refreshed < _WITHIN:
            return
        self._refreshed = now
        try:
            async with self._door.clock.timeout(_WITHIN):
                depth = await self._door.queue.depth()
        except (QueueError, TimeoutError):
            return  # the last known numbers stand; /readyz is the one that tells
        metrics = self._door.metrics
        for partition, entries in enumerate(depth.entries):
            metrics.depth.labels(str(partition)).set(entries)
        metrics.oldest_age.set(depth.oldest_age)
        metrics.dead_letters.set(depth.dead_letters)


def _json(status: int, document: dict[str, object]) -> Response:
    return Response(orjson.dumps(document), status, {"Cache-Control": "no-store"}, "application/json")
