"""Judges how a call ended: delivered, again after a while, or dead. Pure.

Rules guarded: retries are bounded by age and, far above what an outage needs, by count; being throttled counts as no
attempt; backoff is exponential with full jitter and never shorter than the service's own Retry-After; a token is
renewed once per entry (design section 5).
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from fanout.queue.entry import Entry
from fanout.signalr.message import Message
from workers.verdicts import GONE, Ruling, rule_of

THROTTLED = "throttled"
OUTCOME_UNKNOWN = "outcomeUnknown"
_MAX_DOUBLINGS = 30
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Answered:
    """The service answered: status, x-ms-error-code ("" without) and the seconds Retry-After asks for."""

    status: int
    error_code: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing of the request was written."""

    detail: str


@dataclass(frozen=True, slots=True)
class MaybeSent:
    """The request was written and no answer came; `stale` when a kept-alive connection died under it."""

    detail: str
    stale: bool = False


Outcome = Answered | NotSent | MaybeSent


@dataclass(frozen=True, slots=True)
class Delivered:
    """Settle it."""


@dataclass(frozen=True, slots=True)
class Again:
    """Repeat after `delay` seconds, with a fresh token when `renew`; `failure` is the metric label."""

    delay: float
    failure: str
    renew: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Park it: `reason` and `failure` are metric labels."""

    reason: str
    failure: str
    status: int
    detail: str


Verdict = Delivered | Again | Dead


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Durations in seconds; `retry_unknown` repeats a message whose outcome is unknown instead of parking it."""

    base: float
    cap: float
    max_age: float
    max_attempts: int
    retry_unknown: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call: its number (1 is the first), the entry's age in seconds, a jitter in [0, 1), a token renewed for it."""

    number: int
    age: float
    jitter: float
    renewed: bool = False


def judge(entry: Entry, outcome: Outcome, attempt: Attempt, policy: RetryPolicy) -> Verdict:
    """Decide what happens after a call ended with `outcome`."""
    verdict = _ruled(entry, outcome, attempt, policy)
    if isinstance(verdict, Again) and verdict.failure == THROTTLED:
        return verdict  # it is the service that sets the pace: nothing grows too old by waiting for it
    if isinstance(verdict, Again) and attempt.age + verdict.delay > policy.max_age:
        status = outcome.status if isinstance(outcome, Answered) else 0
        reason = "unauthorized" if verdict.failure == "unauthorized" else "tooOld"
        detail = f"not delivered within {policy.max_age:g} s, last: {_describe(outcome)}"
        return Dead(reason, verdict.failure, status, detail)
    if isinstance(verdict, Again) and attempt.number >= policy.max_attempts:
        status = outcome.status if isinstance(outcome, Answered) else 0
        detail = f"not delivered in {attempt.number} attempts, last: {_describe(outcome)}"
        return Dead("tooManyAttempts", verdict.failure, status, detail)
    return verdict


def backoff(policy: RetryPolicy, attempt: int, jitter: float) -> float:
    """Give a wait between 0 and the ceiling of this attempt: base, doubled each time, at most cap."""
    return jitter * min(policy.cap, policy.base * float(2 ** min(attempt - 1, _MAX_DOUBLINGS)))


def retry_after(text: str | None, now: float) -> float | None:
    """Read a Retry-After header (seconds or an HTTP date, RFC 9110 10.2.3) as seconds from `now` (unix time)."""
    if not text:
        return None
    try:
        seconds = (
            float(text) if text.isascii() and text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - now
        )
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds)


def _ruled(entry: Entry, outcome: Outcome, attempt: Attempt, policy: RetryPolicy) -> Verdict:
    wait = backoff(policy, attempt.number, attempt.jitter)
    match outcome:
        case Answered():
            return _answered(entry, outcome, policy, wait=wait, renewed=attempt.renewed)
        case NotSent():
            return Again(wait, "notSent")
        case MaybeSent(detail, stale):
            if isinstance(entry.item, Message) and not _repeats_unknown(entry.item, policy):
                return Dead(OUTCOME_UNKNOWN, "maybeSent", 0, detail)
            return Again(0.0 if stale and attempt.number == 1 else wait, "maybeSent")


def _answered(entry: Entry, outcome: Answered, policy: RetryPolicy, *, wait: float, renewed: bool) -> Verdict:
    if outcome.status == _NOT_FOUND and outcome.error_code in GONE:
        return Delivered()
    rule = rule_of(outcome.status)
    ruling = rule.message if isinstance(entry.item, Message) else rule.action
    if ruling is Ruling.RENEW_TOKEN:
        return Again(wait, rule.failure) if renewed else Again(0.0, rule.failure, renew=True)
    if ruling is Ruling.UNKNOWN:
        repeats = isinstance(entry.item, Message) and _repeats_unknown(entry.item, policy)
        ruling = Ruling.RETRY if repeats else Ruling.DEAD
    match ruling:
        case Ruling.DELIVERED:
            return Delivered()
        case Ruling.RETRY:
            if rule.failure == THROTTLED:  # the pace of its class holds it back; backing off as well would starve it
                return Again(outcome.retry_after or 0.0, rule.failure)
            return Again(max(wait, outcome.retry_after or 0.0), rule.failure)
        case _:
            return Dead(rule.reason, rule.failure, outcome.status, _describe(outcome))


def _repeats_unknown(message: Message, policy: RetryPolicy) -> bool:
    return policy.retry_unknown if message.at_most_once is None else not message.at_most_once


def _describe(outcome: Outcome) -> str:
    match outcome:
        case Answered(status, error_code, _):
            return f"status {status}" + (f" {error_code}" if error_code else "")
        case NotSent(detail) | MaybeSent(detail):
            return detail
