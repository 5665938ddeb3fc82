"""After the write every error is *maybe sent* and says what was known."""

import pytest

from fanout.errors import MaybeSentError
from fanout.http1.failures import (
    BrokenExchangeError,
    ExchangeTimeoutError,
    MalformedAnswerError,
    StaleConnectionError,
)


@pytest.mark.parametrize(
    "kind", [BrokenExchangeError, ExchangeTimeoutError, MalformedAnswerError, StaleConnectionError]
)
def test_each_is_maybe_sent_and_tells_reuse_and_status(kind: type[BrokenExchangeError]) -> None:
    error = kind("why", reused=True, answered=202)
    assert isinstance(error, MaybeSentError)
    assert (str(error), error.reused, error.answered, error.label) == ("why", True, 202, "maybeSent")
    assert kind("why", reused=False).answered is None
