"""What the outcome of a call means: delivered, gone, again after a while, or dead. Pure.

Source: docs/sources.md, statuses. Rules guarded:
- A status has one meaning, in one table that the code reads and the documentation prints.
- Retries are bounded by age and, far above what an outage needs, by count. A call refused for speed is no attempt.
- Backoff is exponential with full jitter and never shorter than the service's own Retry-After.
- A token is renewed once for each entry. Where no identity token can be had, entries wait, however old they become.
- What is refused by something before the service, or for a reason that concerns everybody (401, 403, 404 without a
  known code, a redirect, a web page), waits until others are served while it is refused. It does not die of an outage.
- Gone is an outcome of its own: what the call names does not exist any more. There is nothing to repeat, and nobody was
  reached. The service says so by a code. Leaving a group and closing may also be answered 404 without one, as by the
  vendor's local emulator. That counts where the endpoint is known to work.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from functools import lru_cache

from fanout.log import masked
from fanout.queue.entry import Entry
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Verb
from fanout.signalr.outcome import Answered, MaybeSent, NotSent, Outcome

THROTTLED = "throttled"
OUTCOME_UNKNOWN = "outcomeUnknown"
NO_TOKEN = "noToken"  # noqa: S105 - the name of a failure
_MAX_DOUBLINGS = 30
_NOT_FOUND = 404
_SERVER_ERROR = 500
_MAX_EXCERPT = 500  # characters of an answer that are worth keeping
_KEPT_EXCERPTS = 64  # of bodies of up to 2 KB: thousands of calls are refused with the same words

# 404 with one of these in x-ms-error-code is an answer about the world, not a wrong address.
GONE = frozenset(
    {
        "Warning.Connection.NotExisted",
        "Warning.User.NotExisted",
        "Warning.Group.NotExisted",
        "Info.User.NotInGroup",
        "Error.Connection.NotExisted",
    }
)


class Ruling(StrEnum):
    """What to do with a call that ended a certain way."""

    DELIVERED = "delivered"
    RETRY = "retry"
    RENEW_TOKEN = "renewToken"  # noqa: S105 - the name of a ruling
    UNKNOWN = "unknown"  # it may have been delivered: retry or park, by setting
    WAIT = "wait"  # as long as others are refused too: something stands between us and the service
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: what statuses `first` to `last` mean. `failure` and `reason` are metric labels."""

    first: int
    last: int
    message: Ruling
    action: Ruling
    failure: str
    reason: str
    why: str


_D, _R, _T, _X, _W = Ruling.DELIVERED, Ruling.RETRY, Ruling.RENEW_TOKEN, Ruling.DEAD, Ruling.WAIT
TABLE: Sequence[Rule] = (
    Rule(200, 299, _D, _D, "", "", "Accepted. The number differs between api-versions."),
    Rule(300, 399, _W, _W, "redirected", "wrongEndpoint", "Something else answers at this address."),
    Rule(401, 401, _T, _T, "unauthorized", "unauthorized", "A new token once, then backoff."),
    Rule(403, 403, _W, _W, "forbidden", "unauthorized", "A role or network rule is missing."),
    Rule(404, 404, _W, _W, "notFound", "wrongEndpoint", "Wrong address, unless x-ms-error-code is a known one."),
    Rule(408, 408, _R, _R, "unavailable", "refused", "The service did not get the request in time."),
    Rule(413, 414, _X, _X, "refused", "tooLarge", "Body over 1 MB or address too long."),
    Rule(429, 429, _R, _R, "throttled", "refused", "Too fast: wait for Retry-After and for the pace."),
    Rule(431, 431, _X, _X, "refused", "tooLarge", "Headers over 16 KB."),
    Rule(500, 500, Ruling.UNKNOWN, _R, "serverError", "outcomeUnknown", "Also a time-out inside the service."),
    Rule(501, 599, _R, _R, "unavailable", "refused", "Not processed: Retry-After, else backoff."),
)
_FOREIGN = Rule(200, 299, _W, _W, "foreign", "wrongEndpoint", "A page of something that is not the service.")
_REST = Rule(0, 999, Ruling.DEAD, Ruling.DEAD, "refused", "refused", "Any other answer is a final refusal.")


# The reason of an entry that was refused until it was too old, by failure: the cause lies outside the entry.
_OUTSIDE = {rule.failure: rule.reason for rule in (*TABLE, _FOREIGN) if rule.message in {_W, _T}}


def rule_of(status: int) -> Rule:
    """Return the row for a status."""
    for rule in TABLE:
        if rule.first <= status <= rule.last:
            return rule
    return _REST


@dataclass(frozen=True, slots=True)
class Delivered:
    """Settle it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Settle it: what it names is not there any more."""


@dataclass(frozen=True, slots=True)
class Again:
    """Repeat after `delay` seconds, with a new token if `renew`; `failure` is the metric label.

    `asked` says that the service asked for this wait.
    """

    delay: float
    failure: str
    renew: bool = False
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Move it to the dead letters; `reason` and `failure` are metric labels."""

    reason: str
    failure: str
    status: int
    detail: str


Verdict = Delivered | Gone | Again | Dead


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The bounds of retrying, durations in seconds.

    `retry_unknown`: repeat a message whose outcome is unknown. `pause_cap`: obey no longer Retry-After.
    """

    base: float
    cap: float
    max_age: float
    max_attempts: int
    retry_unknown: bool
    pause_cap: float = 300.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call: its number (1 is the first), the entry's age, a jitter in [0, 1), whether its token was renewed.

    `proven`: the endpoint has taken calls before and its breaker is closed, so that a 404 is not due to its address.
    `alone`: the destination is refused although others of its hub are served.
    """

    number: int
    age: float
    jitter: float
    renewed: bool = False
    proven: bool = False
    alone: bool = False


def judge(entry: Entry, outcome: Outcome, attempt: Attempt, policy: RetryPolicy) -> Verdict:
    """Return what follows from `outcome`."""
    verdict = _ruled(entry, outcome, attempt, policy)
    if not isinstance(verdict, Again) or verdict.failure == THROTTLED:
        return verdict  # where the service sets the pace, nothing becomes too old by waiting for it
    if verdict.failure == NO_TOKEN:
        return verdict  # no entry is the cause
    status = outcome.status if isinstance(outcome, Answered) else 0
    outside = _OUTSIDE.get(verdict.failure)
    if attempt.age >= policy.max_age:
        reason = outside or "tooOld"
        detail = f"not delivered within {policy.max_age:g} s, last: {describe(outcome)}"
        return Dead(reason, verdict.failure, status, detail)
    if attempt.number >= policy.max_attempts and outside is None:
        detail = f"not delivered in {attempt.number} attempts, last: {describe(outcome)}"
        return Dead("tooManyAttempts", verdict.failure, status, detail)
    last_chance = policy.max_age - attempt.age  # what would come later than that is tried once more at that time
    return verdict if verdict.delay <= last_chance else replace(verdict, delay=last_chance)


def backoff(policy: RetryPolicy, attempt: int, jitter: float) -> float:
    """Return a wait between 0 and the ceiling of this attempt: `base`, doubled each time, at most `cap`."""
    return jitter * min(policy.cap, policy.base * float(2 ** min(attempt - 1, _MAX_DOUBLINGS)))


class Sign(Enum):
    """What an outcome says about the health of the service."""

    SERVED = auto()  # it has dealt with the call, if only to refuse it
    THROTTLED = auto()
    REFUSED = auto()  # it, or something before it, refuses for a reason that lies outside the call
    FAILED = auto()


def sign_of(entry: Entry, outcome: Outcome, *, proven: bool) -> Sign:
    """Return what an outcome says about the health of the service; `proven` as in `Attempt`."""
    if not isinstance(outcome, Answered) or outcome.status >= _SERVER_ERROR:
        return Sign.FAILED
    rule = _rule_for(outcome)
    if rule.failure == THROTTLED:
        return Sign.THROTTLED
    outside = rule.message in {Ruling.WAIT, Ruling.RENEW_TOKEN}
    return Sign.REFUSED if outside and not _is_gone(entry.item, outcome, proven=proven) else Sign.SERVED


def _rule_for(outcome: Answered) -> Rule:
    return _FOREIGN if outcome.foreign else rule_of(outcome.status)


def _is_gone(item: Item, outcome: Answered, *, proven: bool) -> bool:
    # A 404 with a known code, or one without to leaving or closing where the endpoint is known to work.
    if outcome.status != _NOT_FOUND:
        return False
    return outcome.error_code in GONE or (proven and not outcome.error_code and _takes_away(item))


def _ruled(entry: Entry, outcome: Outcome, attempt: Attempt, policy: RetryPolicy) -> Verdict:
    wait = backoff(policy, attempt.number, attempt.jitter)
    match outcome:
        case Answered() if _is_gone(entry.item, outcome, proven=attempt.proven):
            return Gone()
        case Answered():
            return _answered(entry, outcome, attempt, policy, wait)
        case NotSent(no_token=no_token):
            return Again(wait, NO_TOKEN if no_token else "notSent")
        case MaybeSent(detail, stale):
            if isinstance(entry.item, Message) and not _repeats_unknown(entry.item, policy):
                return Dead(OUTCOME_UNKNOWN, "maybeSent", 0, detail)
            return Again(0.0 if stale and attempt.number == 1 else wait, "maybeSent")


def _answered(entry: Entry, outcome: Answered, attempt: Attempt, policy: RetryPolicy, wait: float) -> Verdict:
    rule = _rule_for(outcome)
    ruling = rule.message if isinstance(entry.item, Message) else rule.action
    if ruling is Ruling.RENEW_TOKEN:
        return Again(wait, rule.failure) if attempt.renewed else Again(0.0, rule.failure, renew=True)
    if ruling is Ruling.UNKNOWN:
        repeats = isinstance(entry.item, Message) and _repeats_unknown(entry.item, policy)
        ruling = Ruling.RETRY if repeats else Ruling.DEAD
    match ruling:
        case Ruling.DELIVERED:
            return Delivered()
        case Ruling.WAIT if not attempt.alone:
            return Again(wait, rule.failure)
        case Ruling.RETRY:
            asked = min(outcome.retry_after or 0.0, policy.pause_cap)
            # What is refused for speed is held back by the pace of its class; a backoff on top would starve it.
            if rule.failure == THROTTLED:
                return Again(asked, rule.failure, asked=True)
            return Again(max(wait, asked), rule.failure, asked=asked > 0)
        case _:
            return Dead(rule.reason, rule.failure, outcome.status, describe(outcome))


def _takes_away(item: Item) -> bool:
    return isinstance(item, CloseConnections) or (isinstance(item, GroupAction) and item.verb is not Verb.ADD)


def _repeats_unknown(message: Message, policy: RetryPolicy) -> bool:
    return policy.retry_unknown if message.at_most_once is None else not message.at_most_once


def describe(outcome: Outcome) -> str:
    """Return how a call ended, in words and without secrets: the cause, or what the service answered."""
    if isinstance(outcome, NotSent | MaybeSent):
        return outcome.detail
    code = f" {outcome.error_code}" if outcome.error_code else ""
    request = f" (request {outcome.request_id})" if outcome.request_id else ""
    after = "" if outcome.retry_after is None else f" (Retry-After: {outcome.retry_after:.9g} s)"
    body = _excerpt(outcome.body) if outcome.body else ""
    return f"status {outcome.status}{code}{request}{after}{f': {body}' if body else ''}"


@lru_cache(maxsize=_KEPT_EXCERPTS)
def _excerpt(body: bytes) -> str:
    text = masked(body.decode("utf-8", "replace"))
    printable = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:_MAX_EXCERPT]
