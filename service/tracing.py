"""The span of an ingress, `accept`: a request, from its head to the answer, and the link that its entries carry.

Rules guarded: without FANOUT_OTEL none of this is in the way of a request, and no library for traces is imported. A
`traceparent` that is malformed counts as none, and the request is taken all the same.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar

from msgspec import structs
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fanout.clock import Clock
from fanout.errors import ConfigurationError
from fanout.metrics import Metrics
from fanout.queue.entry import Receipt, Submission
from fanout.tracing import Span, SpanKind, Tracing, link_of
from service.callers.caller import Caller
from service.http.request import Guard, request_id_of
from service.ingress.intake import Queue

_FIRST_FAILED = 500


class Accepting:
    """A request that is being accepted: its span, and what is known of its batch so far."""

    __slots__ = ("caller", "entries", "hub", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.caller = ""
        self.hub = ""
        self.entries = 0


_accepting: ContextVar[Accepting | None] = ContextVar("accepting", default=None)


class TracedRoute:
    """An ASGI application whose requests are spans; `route` is what their path looks like."""

    def __init__(self, app: ASGIApp, tracing: Tracing, route: str) -> None:
        self._app = app
        self._tracing = tracing
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        about = {"http.request.method": scope["method"], "http.route": self._route}
        about["fanout.request_id"] = request_id_of(scope)
        accepting = Accepting(self._tracing.start("accept", SpanKind.SERVER, [_link_in(scope)], about))
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        token = _accepting.set(accepting)
        try:
            await self._app(scope, receive, noting)
        finally:
            _accepting.reset(token)
            _end(accepting, status)


class TracedGuard(Guard):
    """A guard that names callers in the spans of their requests."""

    def caller_of(self, scope: Scope, headers: Mapping[str, str], origins: Collection[str] = ()) -> Caller:
        """Recognise the caller of a request."""
        caller = super().caller_of(scope, headers, origins)
        accepting = _accepting.get()
        if accepting is not None:
            accepting.caller = caller.name
        return caller


class TracedQueue:
    """A queue whose entries carry the link of the request they came with."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store entries. Return one receipt for each submission, in the same order."""
        accepting = _accepting.get()
        if accepting is None or not (link := accepting.span.link):
            return await self._queue.append(submissions)
        accepting.hub = submissions[0].entry.hub
        accepting.entries += len(submissions)
        linked = [structs.replace(each, entry=structs.replace(each.entry, link=link)) for each in submissions]
        return await self._queue.append(linked)

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember an idempotency key. Return False when it was used before with another fingerprint."""
        return await self._queue.claim_key(hub, key, fingerprint)


@asynccontextmanager
async def open_tracing(clock: Clock, metrics: Metrics, *, enabled: bool) -> AsyncIterator[Tracing | None]:
    """Yield what makes spans for the duration of the block, None where they are not `enabled`.

    Raises ConfigurationError when the extra that makes them is not installed, or cannot be used as configured.
    """
    if not enabled:
        metrics.gauges.watch(spans_exported=lambda: 0, spans_lost=lambda: 0)
        yield None
        return
    try:
        from fanout.spans import open_spans  # noqa: PLC0415 - what it imports is there with the extra only
    except ImportError:
        raise ConfigurationError("FANOUT_OTEL: spans need an extra: pip install 'signalr-fanout[otel]'.") from None
    async with open_spans(clock) as (spans, counts):
        metrics.gauges.watch(spans_exported=lambda: counts.exported, spans_lost=lambda: counts.lost)
        yield spans


def _link_in(scope: Scope) -> str:
    def values(wanted: bytes) -> list[str]:
        return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]

    return link_of(values(b"traceparent"), values(b"tracestate"))


def _end(accepting: Accepting, status: int) -> None:
    about: dict[str, str | int] = {"http.response.status_code": status} if status else {}
    if accepting.caller:
        about["fanout.caller"] = accepting.caller
    if accepting.entries:
        about |= {"messaging.destination.name": accepting.hub, "messaging.batch.message_count": accepting.entries}
    failed = not status or status >= _FIRST_FAILED
    accepting.span.end(about, error=(str(status) if status else "disconnected") if failed else "")
