"""The values of an exchange: origins, headers, errors, reprs."""

import pytest

from fanout.errors import MaybeSentError
from fanout.http1.exchange import (
    BrokenExchangeError,
    ExchangeTimeoutError,
    Headers,
    Limits,
    MalformedAnswerError,
    Origin,
    StaleConnectionError,
)


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("https://a.service.signalr.net", Origin("https", "a.service.signalr.net", 443), "a.service.signalr.net"),
        ("https://A.Example/", Origin("https", "a.example", 443), "a.example"),
        ("http://localhost:8888", Origin("http", "localhost", 8888), "localhost:8888"),
        ("http://h:80", Origin("http", "h", 80), "h"),
        ("https://h:80", Origin("https", "h", 80), "h:80"),
        ("http://[::1]:8080", Origin("http", "::1", 8080), "[::1]:8080"),
        ("https://[2001:db8::1]", Origin("https", "2001:db8::1", 443), "[2001:db8::1]"),
    ],
)
def test_an_origin_is_read_from_a_url_and_named_in_the_host_header(url: str, origin: Origin, authority: str) -> None:
    assert Origin.parse(url) == origin
    assert origin.authority == authority
    assert str(origin) == f"{origin.scheme}://{authority}"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h",
        "h:80",
        "//h",
        "http://",
        "http://u:p@h",
        "http://u@h",
        "http://h/path",
        "http://h?q",
        "http://h#f",
        "http://h:99999",
        "http://h:x",
        "http://h\u00e9",
        "http://[fe80::1%25eth0]",
        "http://a b",
        "",
    ],
)
def test_what_an_origin_cannot_hold_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the standard library and the class both raise it bare
        Origin.parse(url)


def test_headers_give_the_first_value_without_regard_to_case() -> None:
    headers = Headers(b"Retry-After:  7 \r\nX-A: 1\r\nretry-after: 9\r\nX-B:\r\n")
    assert headers.get("RETRY-after") == "7"
    assert headers.get("x-b") == ""
    assert headers.get("x-c") is None
    assert list(headers) == [("retry-after", "7"), ("x-a", "1"), ("retry-after", "9"), ("x-b", "")]
    assert len(headers) == 4


def test_headers_are_values() -> None:
    assert Headers(b"A: 1\r\n") == Headers(b"A: 1\r\n")
    assert hash(Headers(b"A: 1\r\n")) == hash(Headers(b"A: 1\r\n"))
    assert Headers(b"A: 1\r\n") != Headers()


def test_no_repr_shows_a_header_value() -> None:
    assert repr(Headers(b"Set-Cookie: secret\r\n")) == "<Headers set-cookie>"


def test_limits_have_working_defaults() -> None:
    assert Limits() == Limits(128, 5.0, 10.0, 30.0, 300.0, 65536, 65536)


@pytest.mark.parametrize(
    "kind", [BrokenExchangeError, ExchangeTimeoutError, MalformedAnswerError, StaleConnectionError]
)
def test_each_error_is_maybe_sent_and_carries_reuse_and_status(kind: type[BrokenExchangeError]) -> None:
    error = kind("why", reused=True, answered=202)
    assert isinstance(error, MaybeSentError)
    assert (str(error), error.reused, error.answered, error.label) == ("why", True, 202, "maybeSent")
    assert kind("why", reused=False).answered is None
