"""The spans of a worker: `wait` in the queue, `send` (one call to the service), `settle`.

Each continues from the link that the ingress stored in the entry. An entry without a link has no spans. Where several
messages share a call, its span stands under the first sampled one and is linked to the others.

Rules guarded: only a worker of a process with FANOUT_OTEL has these variants of sender and telemetry. No user, group or
connection is named in a span: a message is followed by its id.
"""

from collections.abc import Callable, Sequence
from functools import partial

from fanout.clock import Clock
from fanout.http1.pool import MayWrite
from fanout.instruments import DeliveryLog
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeathCause
from fanout.queue.traces import Traces
from fanout.signalr.client import Bounds, Call, Client, OnOutcome, Sender
from fanout.signalr.message import class_of, operation_of
from fanout.signalr.outcome import FIRST_NOT_TAKEN, TAKEN, Answered, NotSent, Outcome
from fanout.tracing import Attributes, Span, SpanKind, Tracing, calling, sampled_trace
from workers.partition import BufferedEntry, OwnedFlow, StoreClock
from workers.telemetry import End, Telemetry


class TracedSender(Sender):
    """A sender whose calls are spans and carry their trace context."""

    def __init__(
        self, client: Client, clock: Clock, metrics: Metrics, tracing: Tracing, *, joined: Bounds | None = None
    ) -> None:
        super().__init__(client, clock, metrics, joined=joined)
        self._tracing = tracing

    async def send(self, calls: Sequence[Call], may_write: MayWrite | None = None) -> Outcome:
        """Make one request for one or more calls, as `Sender.send`. One that was withheld is a span with that error."""
        span = self._begin(calls)
        if span is None:
            return await super().send(calls, may_write)
        token = calling.set(span.link)
        try:
            outcome = await super().send(calls, may_write)
        except BaseException as error:
            span.end({}, error=type(error).__name__)
            raise
        finally:
            calling.reset(token)
        _end(span, outcome)
        return outcome

    def start(self, call: Call, before_write: Callable[[], None], on_outcome: OnOutcome) -> bool:
        """Make the call at once, as `Sender.start`. A span of a call that was not made is dropped."""
        span = self._begin((call,)) if self._client.pool.may_start else None
        if span is None:
            return super().start(call, before_write, on_outcome)
        token = calling.set(span.link)
        try:
            return super().start(call, before_write, partial(_finish, span, on_outcome))
        finally:
            calling.reset(token)

    def _begin(self, calls: Sequence[Call]) -> Span | None:
        links = [call.link for call in calls if call.link]
        if not links:
            return None
        return self._tracing.start("send", SpanKind.CLIENT, links, _about(calls))


class TracedTelemetry(Telemetry):
    """Telemetry that records what happens to entries as spans too."""

    def __init__(
        self,
        tracing: Tracing,
        metrics: Metrics,
        log: Logger,
        clock: Clock,
        store_clock: StoreClock,
        delivery_log: DeliveryLog | None = None,
        traces: Traces | None = None,
    ) -> None:
        super().__init__(metrics, log, clock, store_clock, delivery_log, traces)
        self._tracing = tracing
        self._wall = clock.wall
        metrics.has_examples = True
        self._ended: dict[tuple[OwnedFlow, bytes], float] = {}  # of calls in flight: when the service had answered

    def began(self, call: Sequence[BufferedEntry], attempts: int, now: float, *, uncounted: bool) -> None:
        """Record that a call is sent, and how long its entries waited if it is their first."""
        super().began(call, attempts, now, uncounted=uncounted)
        if uncounted or attempts != 1:
            return
        end = self._wall()
        for buffered in call:
            if buffered.entry.link:
                attributes = {"fanout.partition": buffered.partition.number}
                self._record("wait", buffered, end - self._store_clock.age(buffered, now), end, attributes)

    def ended(self, call: Sequence[BufferedEntry], end: End) -> None:
        """Count entries that were delivered, or whose recipient is gone."""
        super().ended(call, end)
        self._ended[call[0].flow, call[0].id] = self._wall()

    def settled(
        self, call: Sequence[BufferedEntry], end: End, outcome: Outcome, *, attempts: int, took: float, certain: bool
    ) -> None:
        """Write the line of each entry, and record how long the store took to settle it."""
        super().settled(call, end, outcome, attempts=attempts, took=took, certain=certain)
        now = self._wall()
        since = self._ended.pop((call[0].flow, call[0].id), now)
        attributes: Attributes = {"fanout.end": end, "fanout.attempts": attempts}
        seconds = self._delivery_seconds[class_of(call[0].entry.item)]
        for buffered in call:
            self._record("settle", buffered, since, now, attributes, error="" if certain else "leaseLost")
            if trace := sampled_trace(buffered.entry.link):
                seconds.keep_example(self.age(buffered), trace, now)

    def superseded(self, buffered: BufferedEntry) -> None:
        """Record an entry that was settled because a newer one waits."""
        super().superseded(buffered)
        self._finished(buffered, "superseded")

    def expired(self, buffered: BufferedEntry, attempts: int) -> None:
        """Record a message whose time to live is over."""
        super().expired(buffered, attempts)
        self._finished(buffered, "expired")

    def parked(self, buffered: BufferedEntry, cause: DeathCause) -> None:
        """Record an entry that is in the dead letters now."""
        super().parked(buffered, cause)
        self._finished(buffered, "dead", error=cause.reason)

    def _finished(self, buffered: BufferedEntry, end: str, error: str = "") -> None:
        now = self._wall()
        self._record("settle", buffered, now, now, {"fanout.end": end}, error)

    def _record(
        self, name: str, buffered: BufferedEntry, start: float, end: float, attributes: Attributes, error: str = ""
    ) -> None:
        entry = buffered.entry
        if entry.link:
            self._tracing.record(name, entry.link, start, end, {**_about((entry,)), **attributes}, error)


def _about(calls: Sequence[Call]) -> dict[str, str | int | float | bool]:
    first = calls[0]
    about: dict[str, str | int | float | bool] = {
        "messaging.system": "signalr",
        "messaging.destination.name": first.hub,
        "messaging.operation.name": operation_of(first.item),
    }
    if len(calls) == 1:
        return about | {"messaging.message.id": first.message_id}
    return about | {"messaging.batch.message_count": len(calls)}


def _finish(span: Span, on_outcome: OnOutcome, outcome: Outcome) -> None:
    _end(span, outcome)
    on_outcome(outcome)


def _end(span: Span, outcome: Outcome) -> None:
    match outcome:
        case Answered(status=status, foreign=foreign):
            failed = foreign or status >= FIRST_NOT_TAKEN
            known = {} if outcome is TAKEN else {"http.response.status_code": status}
            span.end(known, error=str(status) if failed else "")
        case NotSent():
            span.end({}, error="notSent")
        case _:
            span.end({}, error="maybeSent")
