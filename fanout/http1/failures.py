"""How an exchange fails once its request was written: always *maybe sent*, never more certain than the wire was.

Rule guarded: nothing written is repeated silently, so the caller must be able to tell the cases apart. Before the
write there is `fanout.errors.NotSentError`; after it every error is a `BrokenExchangeError`, which adds to
`MaybeSentError` whether the connection had served before and which status had already been read.
"""

from fanout.errors import MaybeSentError


class BrokenExchangeError(MaybeSentError):
    """The request was written and no complete answer came.

    `reused` tells whether the connection had carried an exchange before. `answered` is the status of an answer whose
    head was complete and whose body was not, None when no head was read.
    """

    def __init__(self, detail: str, *, reused: bool, answered: int | None = None) -> None:
        super().__init__(detail)
        self.reused = reused
        self.answered = answered


class StaleConnectionError(BrokenExchangeError):
    """The connection ended after the write and before the first byte of an answer.

    With `reused` set this is most often a server that closed an idle connection just as the request left.
    """


class MalformedAnswerError(BrokenExchangeError):
    """What came back is not an HTTP/1.1 answer this client accepts; the connection was closed."""


class ExchangeTimeoutError(BrokenExchangeError):
    """The whole exchange did not fit into `Limits.request_timeout`; the connection was closed."""
