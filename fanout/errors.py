"""One family of errors, so that no caller needs a ladder of isinstance checks.

Rule guarded: every error answers two questions where it is defined: which HTTP status a caller sees (`status`), and
which label names it in metrics and as the `code` of problem details (`label`). A library's errors are translated once,
in the module that wraps the library.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

# Why a request or a connection was refused, besides the codes of items: the codes of problem documents, and of a
# connection that was closed because its answer was not read.
REFUSALS: Final = (
    "invalidRequest",
    "invalidItems",
    "invalidIdempotencyKey",
    "unauthorized",
    "wrongKey",
    "invalidToken",
    "forbidden",
    "notFound",
    "unknownHub",
    "notConfigured",
    "traceOff",
    "traceUnknown",
    "deadLetterUnknown",
    "methodNotAllowed",
    "headTooSlow",
    "headTooLarge",
    "bodyTooSlow",
    "bodyTooLarge",
    "tokenTooLong",
    "unsupportedMediaType",
    "idempotencyConflict",
    "messageIdConflict",
    "callersUnavailable",
    "rateLimited",
    "overloaded",
    "queueFull",
    "queueUnavailable",
    "queueSilent",
    "notConfirmed",
    "serviceUnavailable",
    "persistentTransport",
    "entraCaller",
    "loop",
    "configuration",
    "internal",
    "answerUnread",
)


class FanoutError(Exception):
    """Root of the family; `str(error)` is safe to show to a caller and to log."""

    status: ClassVar[int] = 500
    label: str = "internal"


class ConfigurationError(FanoutError):
    """The process cannot run as configured. Each finding names the setting and says what to do."""

    label = "configuration"

    def __init__(self, *findings: str) -> None:
        """Store the findings; the text of the error is all of them."""
        super().__init__(" ".join(findings))
        self.findings = findings


class BadRequestError(FanoutError):
    """A request as a whole is refused; `pointer` is the JSON pointer (RFC 6901) of the offending place."""

    status = 400
    label = "invalidRequest"

    def __init__(self, detail: str, *, label: str = "", pointer: str = "") -> None:
        """Store the details; `label` narrows that of the class, `pointer` is "" for the whole document."""
        super().__init__(detail)
        self.label = label or self.label
        self.pointer = pointer


class TokenTooLongError(BadRequestError):
    """The access token that was asked for would be longer than the service accepts."""

    status = 413
    label = "tokenTooLong"


class BodyTooLargeError(FanoutError):
    """The request body is over the configured limit."""

    status = 413
    label = "bodyTooLarge"


class SlowBodyError(FanoutError):
    """The request body did not arrive within the configured time."""

    status = 408
    label = "bodyTooSlow"


class UnsupportedMediaTypeError(FanoutError):
    """The request body has a media type that the route does not accept."""

    status = 415
    label = "unsupportedMediaType"


class UnauthorizedError(FanoutError):
    """The caller did not authenticate; `label` may say more precisely why."""

    status = 401
    label = "unauthorized"

    def __init__(self, detail: str, *, label: str = "unauthorized") -> None:
        super().__init__(detail)
        self.label = label


class ForbiddenError(FanoutError):
    """The caller is authenticated and lacks the permission."""

    status = 403
    label = "forbidden"


class NotConfiguredError(FanoutError):
    """A setting that the request needs is missing; the text says which one."""

    status = 503
    label = "notConfigured"


class IdempotencyConflictError(FanoutError):
    """An idempotency key was used before with another body."""

    status = 422
    label = "idempotencyConflict"


class QueueError(FanoutError):
    """The queue cannot do it now. Nothing is lost: the caller may repeat after `retry_after` seconds."""

    status = 503
    label = "queueUnavailable"

    def __init__(self, detail: str, *, retry_after: float = 1.0) -> None:
        """Store the details; `retry_after` is the wait to suggest to the caller, in seconds."""
        super().__init__(detail)
        self.retry_after = retry_after


class CallersUnavailableError(QueueError):
    """The API keys of callers cannot be read, so none can be judged."""

    label = "callersUnavailable"


class QueueSilentError(QueueError):
    """The store received the command and did not answer: it may or may not have been carried out."""

    label = "queueSilent"


class QueueFullError(QueueError):
    """The queue is at its configured depth, or the store is out of memory."""

    label = "queueFull"


class RateLimitedError(FanoutError):
    """A caller sent more than it may. `headers` say how much it may send, and it may come again after `retry_after`."""

    status = 429
    label = "rateLimited"

    def __init__(self, detail: str, *, retry_after: float, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.headers = headers


class OverloadedError(FanoutError):
    """There is no memory for the request now. The caller may repeat it after `retry_after` seconds."""

    status = 503
    label = "overloaded"
    retry_after = 1.0


class LeaseLostError(FanoutError):
    """The lease of a partition is no longer ours: its holder must not write any more."""

    label = "leaseLost"


class TransportError(FanoutError):
    """An outgoing HTTP call received no complete answer."""

    status = 502
    label = "transport"


class NotSentError(TransportError):
    """No byte of the request was written: repeating it cannot duplicate anything."""

    label = "notSent"


class TokenUnavailableError(NotSentError):
    """No identity token can be had now, so that no call can be made; the text says why."""


class WithheldError(FanoutError):
    """The request was not written: when it could be, its sender said that it may not go any more."""

    label = "withheld"


class MaybeSentError(TransportError):
    """The request was written, wholly or in part, and no answer arrived: its outcome is unknown."""

    label = "maybeSent"
