"""Answers those who watch: liveness, readiness, metrics, and what waits as plain numbers for an autoscaler.

Rules guarded: liveness never looks at Redis (a restart heals no Redis); readiness does, within a second; metrics are
served even when Redis is silent.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from fanout import __version__
from fanout.clock import Clock
from fanout.errors import FanoutError, QueueError
from fanout.metrics import Metrics
from fanout.queue.pauses import Pause, Pauses
from service.callers.caller import Right
from service.measurements import MeasuredQueue, QueueReadings
from service.openapi.describe import READ_REFUSALS, answer, busy, callers, refusal, text
from service.openapi.model import Count, Document

PROBE_PATHS = ("/livez", "/readyz")
_WITHIN = 1.0
Check = Callable[[], Awaitable[None]]


class Queue(MeasuredQueue, Protocol):
    """The queue as the probes see it; each call raises QueueError when the store does not answer."""

    async def ping(self) -> None:
        """Return when the store answers."""


class Readiness:
    """Whether this process wants traffic: not while it drains, and only when each check returns.

    A check is an async callable that raises a FanoutError whose text says what is missing.
    """

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, Check] = {}
        self._warnings: dict[str, str] = {}
        self._sources: dict[str, Callable[[], str]] = {}

    def __repr__(self) -> str:
        return f"<Readiness {'draining' if self.draining else 'open'}, checks: {', '.join(self._checks) or 'none'}>"

    def add(self, name: str, check: Check) -> None:
        """Ask `check` at each probe; `name` stands before its reason."""
        self._checks[name] = check

    @property
    def warnings(self) -> list[str]:
        """What is wrong although the process accepts traffic."""
        asked = {name: source() for name, source in self._sources.items()}
        return [f"{name}: {text}" for name, text in (*self._warnings.items(), *asked.items()) if text]

    def watch(self, name: str, source: Callable[[], str]) -> None:
        """Ask `source` at each probe for a warning, "" for none."""
        self._sources[name] = source

    def warn(self, name: str, text: str) -> None:
        """Report something that is wrong and does not stop traffic, until `clear_warning`."""
        self._warnings[name] = text

    def clear_warning(self, name: str) -> None:
        """Stop reporting it."""
        self._warnings.pop(name, None)

    async def reasons(self, clock: Clock, within: float) -> list[str]:
        """Return why there should be no traffic, an empty list when nothing speaks against it.

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


class Liveness(Document):
    """The process runs."""

    status: Literal["alive"] = "alive"


class ReadinessReport(Document):
    """Whether the process accepts traffic, and every reason why not. Warnings do not stop traffic."""

    status: Literal["ready", "notReady"]
    reasons: list[str]
    warnings: list[str]
    version: str


class Backlog(Document):
    """What waits in the whole queue, whichever process is asked."""

    entries: Count
    oldest_age_seconds: float
    dead_letters: Count
    partitions: Count
    unowned_partitions: Count


class Probes:
    """The handlers of /livez, /readyz, /metrics and /backlog."""

    def __init__(
        self, queue: Queue, metrics: Metrics, readiness: Readiness, clock: Clock, pauses: Pauses | None = None
    ) -> None:
        self._queue = queue
        self._metrics = metrics
        self._readiness = readiness
        self._clock = clock
        self._pauses = pauses
        readiness.add("queue", queue.ping)
        self._readings = QueueReadings(queue, metrics, clock, pauses)

    def router(self) -> APIRouter:
        """Return the routes with their descriptions."""
        router = APIRouter(tags=["operation"], default_response_class=JSONResponse)
        router.add_api_route(
            "/livez",
            self.livez,
            operation_id="livez",
            summary="Report that the process is alive; never asks the queue",
            response_model=Liveness,
            response_description="Alive.",
        )
        router.add_api_route(
            "/readyz",
            self.readyz,
            operation_id="readyz",
            summary="Report whether the process accepts traffic",
            response_model=ReadinessReport,
            response_description="Ready.",
            responses={503: answer(ReadinessReport, "Not ready; every reason is listed.")},
        )
        return router

    def metrics_router(self, dependencies: Sequence[Any] = ()) -> APIRouter:
        """Return the routes of the metrics and the backlog; `dependencies` decide who may read them."""
        router = APIRouter(tags=["operation"], dependencies=list(dependencies))
        router.add_api_route(
            "/metrics",
            self.metrics,
            operation_id="metrics",
            summary="Return the metrics in the Prometheus text format",
            response_class=PlainTextResponse,
            responses={
                200: text("The metrics."),
                503: busy("The API keys cannot be read.", "callersUnavailable"),
                **READ_REFUSALS,
            },
            openapi_extra={"security": callers(Right.READ)},
        )
        router.add_api_route(
            "/backlog",
            self.backlog,
            operation_id="backlog",
            summary="Return what waits in the queue, for an autoscaler that asks for JSON",
            response_model=Backlog,
            response_description="What waits.",
            responses={
                503: refusal("The queue does not answer, so nothing is known.", "queueUnavailable"),
                **READ_REFUSALS,
            },
            openapi_extra={"security": callers(Right.READ)},
        )
        return router

    async def livez(self) -> Liveness:
        """Answer; that the event loop came here is the whole check."""
        return Liveness(status="alive")

    async def readyz(self, response: Response) -> ReadinessReport:
        """Report whether there should be traffic, and why not."""
        reasons = await self._readiness.reasons(self._clock, _WITHIN)
        response.status_code = 503 if reasons else 200
        return ReadinessReport(
            status="notReady" if reasons else "ready",
            reasons=reasons,
            warnings=[*self._readiness.warnings, *await self._pause_warnings()],
            version=__version__,
        )

    async def _pause_warnings(self) -> list[str]:
        if self._pauses is None:
            return []
        try:
            async with self._clock.timeout(_WITHIN):
                return [_text_of(pause) for pause in await self._pauses.current()]
        except (QueueError, TimeoutError):
            return []  # the reasons say that the queue does not answer

    async def metrics(self, request: Request) -> Response:
        """Return the metrics as text."""
        await self._readings.refresh()
        text, content_type = self._metrics.rendered(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    async def backlog(self) -> Backlog:
        """Return what waits; QueueError when it is not known, so that nobody takes silence for an empty queue."""
        await self._readings.refresh()
        depth = self._readings.depth
        if depth is None:
            raise QueueError("The queue does not answer, so what waits is not known.")
        return Backlog(
            entries=sum(depth.entries),
            oldest_age_seconds=round(depth.oldest_age, 3),
            dead_letters=depth.dead_letters,
            partitions=len(depth.entries),
            unowned_partitions=depth.unowned,
        )


def _text_of(pause: Pause) -> str:
    until = "it is resumed" if pause.until is None else datetime.fromtimestamp(pause.until, UTC).isoformat()
    cause = f": {pause.cause}" if pause.cause else ""
    return f"delivery is paused ({pause.target}) until {until}, by {pause.by}{cause}"
