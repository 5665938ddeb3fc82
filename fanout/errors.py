"""One family of errors, so that no caller needs a ladder of isinstance checks.

Rule guarded: every error of ours answers three questions where it is defined: which HTTP status a caller sees
(`status`), whether repeating the same call can help (`retryable`), and which label metrics and problem details
carry (`label`). Translation from a library's errors happens once, at that library's door.
"""

from typing import ClassVar


class FanoutError(Exception):
    """Root of the family; `str(error)` is safe to show to a caller and to log."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    label: ClassVar[str] = "internal"


class ConfigurationError(FanoutError):
    """The process cannot start as configured; the text says which setting and what to do."""

    label = "configuration"


class BadRequestError(FanoutError):
    """A request as a whole is refused; `pointer` is the JSON pointer (RFC 6901) of the offending place."""

    status = 400
    label = "invalidRequest"

    def __init__(self, detail: str, *, label: str = "invalidRequest", pointer: str = "") -> None:
        """`label` narrows the class's own; `pointer` is "" for the whole document."""
        super().__init__(detail)
        self.code = label
        self.pointer = pointer


class BodyTooLargeError(FanoutError):
    """The request body is over the configured limit."""

    status = 413
    label = "bodyTooLarge"


class SlowBodyError(FanoutError):
    """The request body did not come in the configured time."""

    status = 408
    retryable = True
    label = "bodyTooSlow"


class UnsupportedMediaTypeError(FanoutError):
    """The request body is of a type this route does not read."""

    status = 415
    label = "unsupportedMediaType"


class UnauthorizedError(FanoutError):
    """The caller did not prove who it is."""

    status = 401
    label = "unauthorized"


class ForbiddenError(FanoutError):
    """The caller is known and may not do this."""

    status = 403
    label = "forbidden"


class IdempotencyConflictError(FanoutError):
    """An idempotency key was used before with another body."""

    status = 422
    label = "idempotencyConflict"


class QueueError(FanoutError):
    """The queue could not do it now; nothing is lost, the caller may repeat after `retry_after` seconds."""

    status = 503
    retryable = True
    label = "queueUnavailable"

    def __init__(self, detail: str, *, retry_after: float = 1.0) -> None:
        """`retry_after` is what a caller is told to wait, in seconds."""
        super().__init__(detail)
        self.retry_after = retry_after


class QueueSilentError(QueueError):
    """The store was asked and did not answer: what was asked may or may not have been done."""

    label = "queueSilent"


class QueueFullError(QueueError):
    """The queue is past its configured depth, or the store is out of memory."""

    label = "queueFull"


class LeaseLostError(FanoutError):
    """The lease of a partition is not ours any more: its holder must fall silent."""

    label = "leaseLost"


class TransportError(FanoutError):
    """An outgoing HTTP call brought no complete answer."""

    status = 502
    retryable = True
    label = "transport"


class NotSentError(TransportError):
    """No byte of the request reached the wire: repeating it cannot duplicate anything."""

    label = "notSent"


class MaybeSentError(TransportError):
    """The request was written, wholly or in part, and no answer came: its outcome is unknown."""

    label = "maybeSent"
