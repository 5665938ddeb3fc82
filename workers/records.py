"""What is counted, logged and traced of each call: the books of the couriers.

Rules guarded: one wide line per settled entry (`delivery.settled`) and one for each attempt that did not deliver, both
with the message's id, so that a message can be followed; a reader of logs or metrics needs no other place to look.
"""

from collections.abc import Sequence

from fanout.queue.dead_letters import DeathCause
from fanout.queue.traces import Detail, TraceEvent, What
from fanout.signalr.message import operation_of
from workers.retry import Again, Answered, Attempt, Dead, Delivered, Outcome, Verdict
from workers.tenure import Held
from workers.trade import Trade

DELIVERED = "delivered"


class Records:
    """The books of one worker."""

    def __init__(self, trade: Trade) -> None:
        self._trade = trade
        self._metrics = trade.metrics
        self._store_now = trade.store_time.now
        self._wants = _always if trade.delivery_log is None else trade.delivery_log.sample
        self.traces = trade.traces if trade.traces is not None and trade.traces.is_enabled else None

    def age(self, held: Held) -> float:
        """Give how long ago an entry was stored, in seconds by the store's clock."""
        return max(0.0, self._store_now(self._trade.clock.monotonic()) - held.stored_at)

    def began(self, call: Sequence[Held], attempts: int, *, throttled: bool) -> None:
        """Note that a call goes out; `throttled` when one was refused for speed before."""
        if throttled:
            return
        if attempts == 1:
            for held in call:
                self._metrics.queue_wait_seconds.observe(self.age(held))
                if self.traces is not None:
                    self._note(held, "read", {"partition": held.tenure.partition, "entry": held.id.decode()})
        else:
            self._metrics.retries.inc()

    def judged(self, call: Sequence[Held], attempt: Attempt, outcome: Outcome, verdict: Verdict) -> None:
        """Note how a call ended, when it did not deliver."""
        if self.traces is not None:
            self._trace_attempt(call, attempt, outcome, verdict)
        if isinstance(verdict, Delivered):
            return
        self._metrics.failures[verdict.failure].inc()
        for held in call:
            self._trade.log.info(
                "delivery.attempt",
                id=held.entry.message_id,
                hub=held.entry.hub,
                attempt=attempt.number,
                failure=verdict.failure,
                status=_status(outcome),
                again_in=round(verdict.delay, 3) if isinstance(verdict, Again) else None,
            )

    def _trace_attempt(self, call: Sequence[Held], attempt: Attempt, outcome: Outcome, verdict: Verdict) -> None:
        detail: dict[str, str | int | float] = {"number": attempt.number, "status": _status(outcome)}
        match verdict:
            case Delivered():
                detail["verdict"] = DELIVERED
            case Again(delay, failure, _):
                detail |= {"verdict": "again", "failure": failure, "delay": round(delay, 3)}
            case Dead(reason, failure, _, _):
                detail |= {"verdict": f"dead: {reason}", "failure": failure}
        for held in call:
            self._note(held, "attempt", {"entry": held.id.decode(), **detail})

    def delivered(self, call: Sequence[Held]) -> None:
        """Count delivered entries."""
        for held in call:
            self._metrics.delivered[operation_of(held.entry.item)].inc()

    def settled(self, call: Sequence[Held], outcome: Outcome, *, attempts: int, took: float, certain: bool) -> None:
        """Write the line of each delivered entry; not `certain` when the lease was lost before it was settled."""
        for held in call:
            stands_for = self._wants(important=attempts > 1 or not certain)
            if stands_for or self.traces is not None:
                end = DELIVERED if certain else "delivered, not settled"
                self._say(held, end, _status(outcome), stands_for, attempts=attempts, took=took)

    def superseded(self, held: Held) -> None:
        """Note an entry that was settled because a newer one waits."""
        self._metrics.superseded.inc()
        self._say(held, "superseded", 0, self._wants(important=True), attempts=0, took=0.0)

    def expired(self, held: Held, attempts: int) -> None:
        """Note a message whose own time ran out."""
        self._metrics.expired.inc()
        self._say(held, "expired", 0, self._wants(important=True), attempts=attempts, took=0.0)

    def verdict(self, dead: Dead, attempts: int) -> DeathCause:
        """Give what a dead letter says about itself."""
        return DeathCause(reason=dead.reason, status=dead.status, attempts=attempts, detail=dead.detail)

    def parked(self, held: Held, dead: Dead, attempts: int) -> None:
        """Note an entry that lies in the dead letters now."""
        self._metrics.dead[dead.reason].inc()
        self._say(held, f"dead: {dead.reason}", dead.status, self._wants(important=True), attempts=attempts, took=0.0)

    def _say(self, held: Held, end: str, status: int, stands_for: int, *, attempts: int, took: float) -> None:
        if self.traces is not None:
            detail: Detail = {"entry": held.id.decode(), "end": end, "status": status, "attempts": attempts}
            self._note(held, "settled", detail)
        if not stands_for:
            return
        fields = {
            "end": end,
            "id": held.entry.message_id,
            "hub": held.entry.hub,
            "operation": operation_of(held.entry.item),
            "partition": held.tenure.partition,
            "entry": held.id.decode(),
            "status": status,
            "attempts": attempts,
            "age": round(self.age(held), 4),
            "took": round(took, 4),
        }
        if self._trade.delivery_log is None:
            self._trade.log.info("delivery.settled", **fields)
        else:
            self._trade.delivery_log.write(fields, stands_for)

    def _note(self, held: Held, what: What, detail: Detail) -> None:
        if self.traces is not None:
            self.traces.record(held.entry.message_id, TraceEvent(self._trade.clock.wall(), what, detail))


def _always(*, important: bool) -> int:
    del important
    return 1


def _status(outcome: Outcome) -> int:
    return outcome.status if isinstance(outcome, Answered) else 0
