"""What is counted, logged and traced of each call.

Rules guarded: one wide line for each settled entry (`delivery.settled`) and one for each attempt that did not deliver,
both with the message's id, so that a message can be followed. A reader of logs or metrics needs no other place. What an
operator has to act on is a warning: dead letters, refused credentials and pauses. Of each kind one line is written in a
while, which says how many were left out.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import isinf
from typing import Final, Literal

from fanout.clock import Clock
from fanout.instruments import DeliveryLog
from fanout.log import LimitedWarnings, Logger, masked
from fanout.metrics import CLASSES, Metrics
from fanout.queue.dead_letters import DeathCause
from fanout.queue.entry import Entry
from fanout.queue.traces import Detail, TraceEvent, Traces, What
from fanout.signalr.message import UNNAMED, Message, RouteClass, class_of, label_of, operation_of, recipient_of
from fanout.signalr.outcome import Answered, Outcome
from workers.partition import BufferedEntry, StoreClock
from workers.slowdown import Slowdown
from workers.verdicts import Again, Attempt, Dead, Delivered, Gone, Verdict, describe

End = Literal["delivered", "gone"]
DELIVERED: Final = "delivered"
GONE: Final = "gone"
_MAX_TRACED: Final = 200  # characters of a cause in a trace, which has many events
_CREDENTIALS = frozenset({"unauthorized", "forbidden"})


class Telemetry:
    """The counters, log lines and traces of one worker. Without a `delivery_log` all lines go to `log`."""

    def __init__(
        self,
        metrics: Metrics,
        log: Logger,
        clock: Clock,
        store_clock: StoreClock,
        delivery_log: DeliveryLog | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._metrics = metrics
        self._wait_seconds = metrics.queue_wait_seconds
        self._delivery_seconds = [metrics.delivery_seconds[each.label,] for each in RouteClass]
        self._by_hub = metrics.by_hub if metrics.by_hub.is_enabled else None
        self._by_endpoint = metrics.by_endpoint
        self._log = log
        self._clock = clock
        self._store_clock = store_clock
        self._delivery_log = delivery_log
        self._warnings = LimitedWarnings(log, clock)
        self._sample = _always if delivery_log is None else delivery_log.sample
        self.traces = traces if traces is not None and traces.is_enabled else None

    def age(self, buffered: BufferedEntry) -> float:
        """Return how long ago an entry was stored, in seconds by the store's clock."""
        return self._store_clock.age(buffered, self._clock.monotonic())

    def began(self, call: Sequence[BufferedEntry], attempts: int, now: float, *, uncounted: bool) -> None:
        """Record that a call is sent; `uncounted` if a call of its head was made before and not counted."""
        if uncounted:
            return
        if attempts == 1:
            for buffered in call:
                self._wait_seconds.observe(self._store_clock.age(buffered, now))
                if self.traces is not None:
                    self._trace(buffered, "read", {"partition": buffered.partition.number})
        else:
            self._metrics.retries.inc()

    def judged(self, call: Sequence[BufferedEntry], attempt: Attempt, outcome: Outcome, verdict: Verdict) -> None:
        """Record how a call ended that did not deliver."""
        if self.traces is not None:
            self._trace_attempt(call, attempt, outcome, verdict)
        if isinstance(verdict, Delivered | Gone):
            return
        self._metrics.failures[verdict.failure].inc()
        if verdict.failure in _CREDENTIALS:
            self._warn_of_credentials(call[0].entry, verdict.failure, outcome)
        self._log_attempt(call, attempt, outcome, verdict)

    def _log_attempt(
        self, call: Sequence[BufferedEntry], attempt: Attempt, outcome: Outcome, verdict: Again | Dead
    ) -> None:
        if self._delivery_log is not None and not self._delivery_log.is_enabled:
            return
        detail = _masked(describe(outcome))
        delay = round(verdict.delay, 3) if isinstance(verdict, Again) else None
        for buffered in call:
            fields = {
                "id": buffered.entry.message_id,
                "hub": buffered.entry.hub,
                "endpoint": label_of(buffered.entry.endpoint),
                "attempt": attempt.number,
                "failure": verdict.failure,
                "status": _status(outcome),
                "detail": detail,
                "again_in": delay,
            }
            if self._delivery_log is None:
                self._log.info("delivery.attempt", **fields)
            else:
                self._delivery_log.write(fields, event="delivery.attempt")

    def _warn_of_credentials(self, entry: Entry, failure: str, outcome: Outcome) -> None:
        self._warnings.warn(
            "delivery.credentials_refused",
            failure,
            status=_status(outcome),
            id=entry.message_id,
            hub=entry.hub,
            operation=operation_of(entry.item),
            endpoint=label_of(entry.endpoint),
        )

    def slowed(self, endpoint: str, route_class: RouteClass, slowdown: Slowdown) -> None:
        """Record that an endpoint refused a call for its speed and how long the class pauses, or what was learned."""
        name = CLASSES[route_class]
        rate = None if isinf(slowdown.found.rate) else round(slowdown.found.rate, 3)
        if not slowdown.pause:
            share = round(slowdown.share, 4)
            about = {"class": name, "endpoint": endpoint}
            self._warnings.warn("delivery.paced", f"{name} {endpoint}", rate=rate, refused_anyway=share, **about)
            return
        self._metrics.slowdowns[name].inc()
        self._warnings.warn(
            "delivery.paused",
            f"{name} {endpoint}",
            seconds=round(slowdown.pause, 3),
            rate=rate,
            asked=slowdown.asked,
            **{"class": name, "endpoint": endpoint},
        )

    def ended(self, call: Sequence[BufferedEntry], end: End) -> None:
        """Count entries that were delivered, or whose recipient is gone; those of one call are of one kind."""
        head, count = call[0], len(call)
        counters = self._metrics.gone if end == GONE else self._metrics.delivered
        item = head.entry.item
        operation = head.flow.operation if type(item) is Message else operation_of(item)
        counters[operation].value += count
        self._by_endpoint.settled[head.flow.endpoint].value += count
        if self._by_hub is not None:
            self._by_hub.settled(head.entry.hub, count)

    def settled(
        self, call: Sequence[BufferedEntry], end: End, outcome: Outcome, *, attempts: int, took: float, certain: bool
    ) -> None:
        """Write the line of each entry; not `certain`: the lease was lost before it was settled."""
        head = call[0]
        item = head.entry.item
        seconds = self._delivery_seconds[head.flow.route_class if type(item) is Message else class_of(item)]
        by_hub = None if self._by_hub is None else self._by_hub.seconds(head.entry.hub)
        important = attempts > 1 or not certain or end == GONE
        now = self._clock.monotonic()
        for buffered in call:
            age = self._store_clock.age(buffered, now)
            seconds.observe(age)
            if by_hub is not None:
                by_hub.observe(age)
            stands_for = self._sample(important=important)
            if stands_for or self.traces is not None:
                word = end if certain else f"{end}, not settled"
                self._record_end(buffered, word, _status(outcome), stands_for, attempts=attempts, took=took, age=age)

    def superseded(self, buffered: BufferedEntry) -> None:
        """Record an entry that was settled because a newer one waits."""
        self._metrics.superseded.inc()
        self._count_apart(buffered)
        self._record_end(buffered, "superseded", 0, self._sample(important=True), attempts=0, took=0.0)

    def expired(self, buffered: BufferedEntry, attempts: int) -> None:
        """Record a message whose time to live is over."""
        self._metrics.expired.inc()
        self._count_apart(buffered)
        self._record_end(buffered, "expired", 0, self._sample(important=True), attempts=attempts, took=0.0)

    def parked(self, buffered: BufferedEntry, cause: DeathCause) -> None:
        """Record an entry that is in the dead letters now."""
        self._metrics.dead[cause.reason].inc()
        if buffered.flow.endpoint in self._by_endpoint.names:  # what waited for another one dies of its age
            self._by_endpoint.dead[buffered.flow.endpoint].inc()
        if self._by_hub is not None:
            self._by_hub.died(buffered.entry.hub)
        stands_for = self._sample(important=True)
        self._record_end(buffered, f"dead: {cause.reason}", cause.status, stands_for, attempts=cause.attempts, took=0.0)
        self._warnings.warn(
            "delivery.dead",
            cause.reason,
            reason=cause.reason,
            id=buffered.entry.message_id,
            hub=buffered.entry.hub,
            endpoint=label_of(buffered.entry.endpoint),
            operation=operation_of(buffered.entry.item),
            status=cause.status,
            attempts=cause.attempts,
            detail=cause.detail,
        )

    def _count_apart(self, buffered: BufferedEntry) -> None:
        if buffered.flow.endpoint in self._by_endpoint.names:
            self._by_endpoint.settled[buffered.flow.endpoint].inc()
        if self._by_hub is not None:
            self._by_hub.settled(buffered.entry.hub, 1)

    def _trace_attempt(
        self, call: Sequence[BufferedEntry], attempt: Attempt, outcome: Outcome, verdict: Verdict
    ) -> None:
        detail: dict[str, str | int | float] = {"number": attempt.number, "status": _status(outcome)}
        match verdict:
            case Delivered():
                detail["verdict"] = DELIVERED
            case Gone():
                detail["verdict"] = GONE
            case Again(delay, failure):
                detail |= {"verdict": "again", "failure": failure, "delay": round(delay, 3)}
                detail["detail"] = describe(outcome)[:_MAX_TRACED]
            case Dead(reason, failure, _, _):
                detail |= {"verdict": f"dead: {reason}", "failure": failure}
                detail["detail"] = describe(outcome)[:_MAX_TRACED]
        for buffered in call:
            self._trace(buffered, "attempt", detail)

    def _record_end(
        self, buffered: BufferedEntry, end: str, status: int, stands_for: int,
        *, attempts: int, took: float, age: float | None = None,
    ) -> None:  # fmt: skip
        if self.traces is not None:
            self._trace(buffered, "settled", {"end": end, "status": status, "attempts": attempts})
        if not stands_for:
            return
        item, flow = buffered.entry.item, buffered.flow
        fields = {
            "end": end,
            "id": buffered.entry.message_id,
            "hub": buffered.entry.hub,
            "endpoint": buffered.entry.endpoint or UNNAMED,
            "operation": flow.operation if type(item) is Message else operation_of(item),
            "partition": flow.partition.number,
            "entry": buffered.id.decode(),
            "status": status,
            "attempts": attempts,
            "age": round(self.age(buffered) if age is None else age, 4),
            "took": round(took, 4),
        }
        if self._delivery_log is None:
            self._log.info("delivery.settled", **fields)
        else:
            self._delivery_log.write(fields, stands_for)

    def _trace(self, buffered: BufferedEntry, what: What, detail: Detail) -> None:
        if self.traces is not None:
            # A message for several has an entry for each of them.
            leg = {"to": recipient_of(buffered.entry.item), **detail, "entry": buffered.id.decode()}
            if buffered.entry.endpoint:
                leg["endpoint"] = buffered.entry.endpoint
            event = TraceEvent(self._clock.wall(), what, leg)
            self.traces.record(buffered.entry.message_id, event)


_masked = lru_cache(maxsize=256)(masked)  # causes repeat, and to look for secrets takes longer than all else in a line


def _always(*, important: bool) -> int:
    del important
    return 1


def _status(outcome: Outcome) -> int:
    return outcome.status if isinstance(outcome, Answered) else 0
