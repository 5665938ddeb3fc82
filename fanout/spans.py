"""Spans by the OpenTelemetry SDK, sent to a collector over OTLP (HTTP, protobuf). Only this file knows the library.

It is part of the extra `otel` and is imported where FANOUT_OTEL asks for it. The standard variables (OTEL_...) say
where the collector is, what is sampled and how much may wait; the SDK reads them.

Rules guarded: a span is worth less than any delivery. What waits for the collector is bounded, what finds no room or is
not taken is dropped and counted. Spans are sent from a thread of the SDK's own, and a process that ends waits for a
collector no longer than `_CLOSING`.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, NonRecordingSpan, SpanContext, Status, StatusCode, Tracer
from opentelemetry.trace import Span as AnySpan
from opentelemetry.trace import SpanKind as AnyKind
from opentelemetry.trace.propagation import get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fanout import __version__
from fanout.clock import Clock
from fanout.environment import standard_variable
from fanout.errors import ConfigurationError
from fanout.log import LimitedWarnings, get_logger
from fanout.tracing import Attributes, SpanKind

_CLOSING = 2.0  # seconds
_QUEUE_SIZE = ("OTEL_BSP_MAX_QUEUE_SIZE", 2048)  # and what the specification gives it
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"
_KINDS = {SpanKind.SERVER: AnyKind.SERVER, SpanKind.CLIENT: AnyKind.CLIENT, SpanKind.INTERNAL: AnyKind.INTERNAL}
_NANOSECONDS = 1_000_000_000
_KEPT_LINKS = 4096  # read ones; all items of a batch have the same
_propagator = TraceContextTextMapPropagator()


class Counts:
    """What became of sampled spans: handed to the queue, given to the exporter, exported, and lost on the way."""

    def __init__(self) -> None:
        self.queued = 0
        self.taken = 0
        self.exported = 0
        self.failed = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Spans in the queue."""
        return self.queued - self.taken - self.dropped

    @property
    def lost(self) -> int:
        """Spans for which there was no room, or that the collector did not take."""
        return self.failed + self.dropped


class CountedQueue(BatchSpanProcessor):
    """The queue of the SDK, which is never asked to take more than it has room for, so that nothing is lost uncounted.

    Its own thread takes spans out before the exporter hears of them. To count what the SDK itself would drop would
    therefore count some that found room.
    """

    def __init__(self, exporter: SpanExporter, counts: Counts, size: int) -> None:
        super().__init__(exporter, max_queue_size=size)
        self._counts = counts
        self._size = size

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that ended, if it is sampled."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        counts = self._counts
        counts.queued += 1
        if counts.waiting > self._size:
            counts.dropped += 1
            return
        super().on_end(span)


class CountedExporter(SpanExporter):
    """An exporter that counts, and warns once in a while when the collector does not take spans."""

    def __init__(self, exporter: SpanExporter, counts: Counts, warnings: LimitedWarnings) -> None:
        self._exporter = exporter
        self._counts = counts
        self._warnings = warnings

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; called by the thread of the queue."""
        self._counts.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self._counts.exported += len(spans)
            else:
                self._counts.failed += len(spans)
                self._warnings.warn("spans.lost", "export", spans=len(spans), lost=self._counts.lost)
        return result

    def shutdown(self) -> None:
        """Send nothing more, and break off what is tried again."""
        self._exporter.shutdown()


class RunningSpan:
    """A span of the SDK."""

    __slots__ = ("_clock", "_link", "_span")

    def __init__(self, span: AnySpan, clock: Clock) -> None:
        self._span = span
        self._clock = clock
        self._link: str | None = None

    @property
    def link(self) -> str:
        """Return the trace context that names it, for an entry or a request."""
        if self._link is None:
            carrier: dict[str, str] = {}
            _propagator.inject(carrier, set_span_in_context(self._span, Context()))
            self._link = " ".join(carrier[name] for name in ("traceparent", "tracestate") if name in carrier)
        return self._link

    def end(self, attributes: Attributes, error: str = "") -> None:
        """End it now; with an `error` it counts as failed."""
        self._span.set_attributes(attributes)
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(_nanoseconds(self._clock.wall()))


class Spans:
    """Makes the spans of one process; see `Tracing`."""

    def __init__(self, tracer: Tracer, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock

    def start(self, name: str, kind: SpanKind, links: Iterable[str], attributes: Attributes) -> RunningSpan:
        """Begin a span under the first sampled one of `links`, linked to the others; without any it begins a trace."""
        contexts = [context for link in dict.fromkeys(links) if (context := _context_of(link)).is_valid]
        parent = next((context for context in contexts if context.trace_flags.sampled), next(iter(contexts), None))
        span = self._tracer.start_span(
            name,
            _under(parent),
            _KINDS[kind],
            attributes,
            [Link(context) for context in contexts if context is not parent],
            _nanoseconds(self._clock.wall()),
        )
        return RunningSpan(span, self._clock)

    def record(self, name: str, link: str, start: float, end: float, attributes: Attributes, error: str = "") -> None:
        """Record a step under `link` that is over; times are unix seconds."""
        parent = _context_of(link)
        if not parent.trace_flags.sampled:
            return
        span = self._tracer.start_span(name, _under(parent), attributes=attributes, start_time=_nanoseconds(start))
        if error:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(end))


@asynccontextmanager
async def open_spans(clock: Clock) -> AsyncIterator[tuple[Spans, Counts]]:
    """Yield what makes spans, which are sent while the block runs, and the counts of them.

    Raises ConfigurationError when the standard variables ask for what cannot be.
    """
    _check_protocol()
    _silence("opentelemetry")
    counts = Counts()
    exporter = CountedExporter(OTLPSpanExporter(), counts, LimitedWarnings(get_logger(), clock))
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(CountedQueue(exporter, counts, _queue_size()))
    try:
        yield Spans(provider.get_tracer("signalr-fanout", __version__), clock), counts
    finally:
        await _close(provider, exporter, clock)


async def _close(provider: TracerProvider, exporter: CountedExporter, clock: Clock) -> None:
    # The SDK waits until all is sent, perhaps for half a minute. A thread that ends with the process does the waiting.
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the loop has been closed: nobody waited that long
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=shut_down, name="closing spans", daemon=True).start()
    with suppress(TimeoutError):
        async with clock.timeout(_CLOSING):
            await done.wait()
        return
    exporter.shutdown()


def _silence(name: str) -> None:
    # What the library would log of a collector that is away is one of our own warnings, and a count.
    logger = logging.getLogger(name)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _check_protocol() -> None:
    for name in _PROTOCOLS:
        asked = standard_variable(name)
        if asked == _SPOKEN:
            return
        if asked:
            raise ConfigurationError(
                f"{name}: spans are sent as {_SPOKEN} only (it is {asked!r}). A collector listens for it on port 4318."
            )


def _queue_size() -> int:
    name, default = _QUEUE_SIZE
    text = standard_variable(name)
    if not text:
        return default
    if not text.isdecimal() or not int(text):
        raise ConfigurationError(f"{name}: must be a whole number of spans (it is {text!r}).")
    return int(text)


def _resource() -> Resource:
    own = Resource({"service.name": "signalr-fanout", "service.version": __version__})
    return own.merge(OTELResourceDetector().detect())


@lru_cache(maxsize=_KEPT_LINKS)
def _context_of(link: str) -> SpanContext:
    """Read a link; what is malformed is the invalid context, as the specification asks for."""
    parent, _, state = link.partition(" ")
    if not parent:
        return INVALID_SPAN_CONTEXT
    carrier = {"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}
    return get_current_span(_propagator.extract(carrier, Context())).get_span_context()


def _under(parent: SpanContext | None) -> Context:
    return Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())


def _nanoseconds(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)
