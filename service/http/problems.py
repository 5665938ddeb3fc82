"""How a refusal looks to a caller: RFC 9457 problem details, made in one place.

Rule guarded: every answer that is not a success has the same shape and a `code` from the closed table below; `type` is
the address of that code's explanation, which this service itself serves. Texts come from our own error family, so
nothing internal and no secret reaches a caller; an error we do not know says only that it was logged.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from pydantic import Field, WithJsonSchema
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fanout.binding.refusals import ITEM_CODES
from fanout.errors import (
    BadRequestError,
    FanoutError,
    OverloadedError,
    QueueError,
    RateLimitedError,
    SlowBodyError,
    UnauthorizedError,
)
from service.openapi.model import Absent, Count, Document

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="signalr-fanout"'
PREFIX = "fanout.prefix"  # in the scope of a request: the path prefix that was removed from its address
_IN_SCOPE = "fanout.problem"
_RESULTS = Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"$ref": "#/components/schemas/Result"}})]


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One code: the status it is answered with, its unchanging title, and what a caller can do about it."""

    status: int
    title: str
    advice: str


PROBLEM_TYPES: Mapping[str, ProblemType] = {
    "invalidRequest": ProblemType(400, "The request is not valid", "Correct the place that `errors` points at."),
    "invalidItems": ProblemType(
        400,
        "Some items are not valid",
        "Correct the items in `errors` and send the batch again; nothing of it was queued. "
        "`Prefer: handling=lenient` queues the valid ones.",
    ),
    "unknownHub": ProblemType(400, "There is no such hub", "Use one of the hubs that `detail` names."),
    "invalidIdempotencyKey": ProblemType(
        400, "The Idempotency-Key cannot be used", "Send one key of 1 to 255 printable ASCII characters."
    ),
    "unauthorized": ProblemType(401, "The caller is not known", "Send Authorization: Bearer <API key>, or X-API-Key."),
    "wrongKey": ProblemType(
        401,
        "The key is not one of this service",
        "Send a key that the service has, and that was not revoked and has not expired.",
    ),
    "invalidToken": ProblemType(
        401,
        "The token is not accepted",
        "Send a token of an issuer that the service knows, for its audience, that has not expired.",
    ),
    "forbidden": ProblemType(403, "The caller may not do this", "Use a key that has the right."),
    "notFound": ProblemType(404, "There is nothing at this address", "/openapi.json lists what there is."),
    "traceOff": ProblemType(
        404,
        "Traces are not kept",
        "Set FANOUT_TRACE_KEEP on ingress and workers; until then the logs tell the life of a message by its id.",
    ),
    "traceUnknown": ProblemType(
        404,
        "No trace of this message is kept",
        "The id is wrong, the trace has expired (FANOUT_TRACE_KEEP), or too many messages were traced in that second "
        "(FANOUT_TRACE_MAX_PER_SECOND). The logs still have the message.",
    ),
    "deadLetterUnknown": ProblemType(
        404,
        "There is no such dead letter",
        "It was sent again or deleted, or never was; GET /v1/admin/dead-letters lists those there are.",
    ),
    "methodNotAllowed": ProblemType(
        405, "This address does not take this method", "The Allow header lists what it takes."
    ),
    "headTooSlow": ProblemType(
        408,
        "The head of the request came too slowly",
        "Send it within FANOUT_BODY_TIMEOUT seconds; the connection is closed.",
    ),
    "headTooLarge": ProblemType(
        431, "The head of the request is too large", "Send fewer or shorter headers: 64 KB in all."
    ),
    "bodyTooSlow": ProblemType(
        408,
        "The body came too slowly",
        "Send it within FANOUT_BODY_TIMEOUT seconds; nothing was queued. The connection is closed.",
    ),
    "bodyTooLarge": ProblemType(413, "The body is too large", "Send smaller batches."),
    "tokenTooLong": ProblemType(413, "The access token would be too long", "Ask for fewer or shorter claims."),
    "unsupportedMediaType": ProblemType(
        415, "The body is of a type that is not read here", "Send application/json in UTF-8."
    ),
    "idempotencyConflict": ProblemType(
        422, "The Idempotency-Key was used with another body", "Use a new key for a new body; nothing was queued."
    ),
    "messageIdConflict": ProblemType(
        422,
        "A messageId was used with another content",
        "`results` tells what became of each item; give the rejected ones new ids.",
    ),
    "callersUnavailable": ProblemType(
        503,
        "Whether a key or token counts cannot be found out",
        "Repeat after Retry-After; nothing was queued. Keys that Redis holds count for five minutes after it stopped "
        "answering; FANOUT_API_KEY and the keys of a file count without it. Keys of issuers of tokens count for a day.",
    ),
    "rateLimited": ProblemType(
        429,
        "The caller has sent as much as it may",
        "Repeat after Retry-After; nothing was queued. `RateLimit` tells what is left, `RateLimit-Policy` the limits. "
        "The compatible routes answer 503.",
    ),
    "overloaded": ProblemType(
        503,
        "Too many bytes are being handled",
        "Repeat after Retry-After; nothing was queued. Smaller batches find room sooner. The operator can raise the "
        "memory limit of the process, or FANOUT_MAX_BODIES.",
    ),
    "queueFull": ProblemType(
        503, "The queue is full", "Repeat after Retry-After with the same ids: what was stored answers `duplicate`."
    ),
    "queueUnavailable": ProblemType(
        503,
        "The queue does not answer",
        "Repeat after Retry-After with the same ids: what was stored answers `duplicate`.",
    ),
    "queueSilent": ProblemType(
        503,
        "The queue was asked and did not answer",
        "Repeat after Retry-After with the same ids: what was stored answers `duplicate`. Without an Idempotency-Key "
        "or messageIds a repeat may store an item twice.",
    ),
    "notConfirmed": ProblemType(
        503,
        "Stored, but not confirmed by enough replicas",
        "Repeat after Retry-After with the same ids: what was stored answers `duplicate` once it is confirmed. Without "
        "an Idempotency-Key or messageIds do not repeat: the items are stored and will be delivered, unless the primary"
        " is lost first.",
    ),
    "notConfigured": ProblemType(
        503, "A setting that this needs is missing", "The operator has to set what `detail` names."
    ),
    "serviceUnavailable": ProblemType(
        503,
        "The SignalR service did not answer a question that was passed through to it",
        "Repeat the request. `fanout doctor` finds out whether the service can be reached.",
    ),
    "persistentTransport": ProblemType(
        400,
        "The persistent transport of the SDK is not served",
        "Set AzureSignalRServiceTransportType=Transient, or remove the setting: transient is the default.",
    ),
    "entraCaller": ProblemType(
        400,
        "Callers of Microsoft Entra ID are not served",
        "Use a connection string with AccessKey= in the application: this service recognises its callers by that key.",
    ),
    "loop": ProblemType(
        508,
        "This service would deliver to itself",
        "AzureSignalRConnectionString of this service must name the SignalR service, not this service.",
    ),
    "configuration": ProblemType(500, "The service is not set up for this", "Its operator has to change a setting."),
    "internal": ProblemType(
        500, "Something went wrong here", "Quote `requestId` to the operator; the log has the rest."
    ),
}


class ProblemError(Document):
    """One bad place in a request."""

    index: Count | Absent = Field(None, description="The index of the item in the batch.")
    pointer: str = Field(description="JSON pointer (RFC 6901) into the body.")
    code: str
    detail: str


class ProblemDocument(Document):
    """A refusal (RFC 9457)."""

    type: str = Field(description="Where `code` is explained.", json_schema_extra={"format": "uri-reference"})
    title: str
    status: int
    detail: str
    code: str = Field(description="For programs: one word for each kind of refusal.")
    request_id: str = Field(description="Also in X-Request-Id.")
    errors: list[ProblemError] | Absent = None
    accepted: Count | Absent = None
    duplicates: Count | Absent = None
    rejected: Count | Absent = None
    failed: Count | Absent = None
    results: _RESULTS | Absent = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal on its way out. `members` are extension members of the document, e.g. `errors` and `results`."""

    code: str
    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)


def problem_of(error: FanoutError) -> Problem:
    """Translate an error of ours."""
    code = error.label
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    if isinstance(error, BadRequestError):
        members["errors"] = [{"pointer": error.pointer, "code": code, "detail": str(error)}]
    elif isinstance(error, QueueError | OverloadedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif isinstance(error, RateLimitedError):
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after))), **error.headers}
    elif isinstance(error, SlowBodyError):
        headers["Connection"] = "close"  # the rest of the body is not waited for
    elif isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = challenge_of(error)
    return Problem(code, error.status, str(error), headers, members)


def challenge_of(error: UnauthorizedError) -> str:
    """Return the challenge of a 401; it says what is wrong with a token (RFC 6750)."""
    if error.label != "invalidToken":
        return CHALLENGE
    reason = "".join(character for character in str(error) if character not in '"\\')
    return f'{CHALLENGE}, error="invalid_token", error_description="{reason}"'


def problem_of_status(status: int, headers: Mapping[str, str] | None = None) -> Problem:
    """Return the problem of a refusal that the router made."""
    code = {404: "notFound", 405: "methodNotAllowed"}.get(status, "invalidRequest")
    return Problem(code, status, PROBLEM_TYPES[code].advice, dict(headers or {}))


def unexpected() -> Problem:
    """Return the problem of an error that is not of our family."""
    return Problem("internal", 500, "An unexpected error happened; it was logged under this requestId.")


def title_of(code: str) -> str:
    """Name a code for people; codes of single items have their titles where they are found."""
    return (
        PROBLEM_TYPES[code].title
        if code in PROBLEM_TYPES
        else ITEM_CODES.get(code, PROBLEM_TYPES["invalidRequest"].title).removesuffix(".")
    )


def explanation_of(code: str) -> str | None:
    """Explain a code, as served under the problem's `type`; None when there is no such code."""
    if code in PROBLEM_TYPES:
        kind = PROBLEM_TYPES[code]
        return f"{code} (HTTP {kind.status})\n\n{kind.title}.\n{kind.advice}\n"
    return f"{code} (HTTP 400, or a rejected item)\n\n{ITEM_CODES[code]}\n" if code in ITEM_CODES else None


class ProblemResponse(Response):
    """A problem as an HTTP answer; it leaves the problem in the scope, for the counts and the log."""

    def __init__(self, problem: Problem, content: bytes) -> None:
        super().__init__(content, problem.status, dict(problem.headers), MEDIA_TYPE)
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; behind a prefix, the address of its explanation has the prefix too."""
        scope[_IN_SCOPE] = self._problem
        if prefix := scope.get(PREFIX):
            self.body = bytes(self.body).replace(b'"/problems/', b'"%b/problems/' % prefix.encode(), 1)
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def note_refusal(scope: Scope, problem: Problem) -> None:
    """Leave the problem of a refusal that has another shape in the scope."""
    scope[_IN_SCOPE] = problem


def refusal_in(scope: Scope) -> Problem | None:
    """Return the problem that a request was answered with, None when it was not refused."""
    problem: Problem | None = scope.get(_IN_SCOPE)
    return problem


def response_of(problem: Problem, request_id: str) -> Response:
    """Write a problem as an HTTP answer."""
    document = {
        "type": f"/problems/{problem.code}",
        "title": title_of(problem.code),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "requestId": request_id,
        **problem.members,
    }
    return ProblemResponse(problem, msgspec.json.encode(document))
