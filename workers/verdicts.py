"""What an answer of the service means, as data: one table, read by the code and printed into the docs.

Source: contract 2.5 and 4.1. Rule guarded: a status has one meaning, written once. `Ruling` says what to do; how long
to wait and when to give up is retry.py's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# 404 with one of these in x-ms-error-code is an answer about the world, not a wrong address (contract 2.5).
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
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: for statuses `first` to `last`; `failure` and `reason` are metric labels; `why` is for the docs."""

    first: int
    last: int
    message: Ruling
    action: Ruling
    failure: str
    reason: str
    why: str


_D, _R, _T, _X = Ruling.DELIVERED, Ruling.RETRY, Ruling.RENEW_TOKEN, Ruling.DEAD
TABLE: Sequence[Rule] = (
    Rule(200, 299, _D, _D, "", "", "Accepted. The code differs by api-version; any 2xx is."),
    Rule(401, 401, _T, _T, "unauthorized", "unauthorized", "A new token once, then backoff."),
    Rule(403, 403, _X, _X, "forbidden", "unauthorized", "A role or network rule is missing."),
    Rule(404, 404, _X, _X, "notFound", "wrongEndpoint", "Without a known x-ms-error-code: wrong address."),
    Rule(408, 408, _R, _R, "unavailable", "refused", "The service did not get the request in time."),
    Rule(413, 414, _X, _X, "refused", "tooLarge", "Body over 1 MB or address too long."),
    Rule(429, 429, _R, _R, "throttled", "refused", "Too fast: wait for Retry-After, else backoff."),
    Rule(431, 431, _X, _X, "refused", "tooLarge", "Headers over 16 KB."),
    Rule(500, 500, Ruling.UNKNOWN, _R, "serverError", "outcomeUnknown", "Also a time-out inside the service."),
    Rule(501, 599, _R, _R, "unavailable", "refused", "Not processed: Retry-After, else backoff."),
)
_REST = Rule(0, 999, Ruling.DEAD, Ruling.DEAD, "refused", "refused", "Anything else is a refusal that will not change.")


def rule_of(status: int) -> Rule:
    """Find the row for a status."""
    for rule in TABLE:
        if rule.first <= status <= rule.last:
            return rule
    return _REST
