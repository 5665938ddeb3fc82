"""What a head says, and which heads are refused."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.http1.exchange import FramingError, Headers
from fanout.http1.messages import CHUNKED, FIRST_FINAL_STATUS, UNTIL_CLOSE, Head, read_head


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", method: str = "POST") -> Head:
    return read_head(b"\r\n".join((status, *lines, b"", b"")), method)


def test_a_counted_body_keeps_the_connection() -> None:
    assert head(b"Content-Length: 12") == Head(200, 12, True, None, b"Content-Length: 12\r\n")


def test_the_body_is_chunked_or_lasts_until_the_close() -> None:
    assert head(b"Transfer-Encoding: Chunked").length == CHUNKED
    assert head().length == UNTIL_CLOSE


def test_a_body_until_the_close_ends_the_connection() -> None:
    assert not head().keep_alive
    assert not head(b"Connection: keep-alive").keep_alive


@pytest.mark.parametrize("status", [b"HTTP/1.1 204 No", b"HTTP/1.1 304 Not", b"HTTP/1.1 100 C", b"HTTP/1.1 103 E"])
def test_some_statuses_have_no_body_whatever_they_say(status: bytes) -> None:
    assert head(b"Content-Length: 5", status=status).length == 0
    assert head(b"Transfer-Encoding: chunked", status=status).length == 0


def test_the_answer_to_head_has_no_body_whatever_it_says() -> None:
    assert head(b"Content-Length: 5", method="HEAD").length == 0
    assert head(method="HEAD").length == 0


def test_interim_heads_are_told_apart() -> None:
    assert head(status=b"HTTP/1.1 100 Continue").status < FIRST_FINAL_STATUS
    assert head().status >= FIRST_FINAL_STATUS


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"close", False),
        (b"1.1", b"Close", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.1", b"x-close", True),
        (b"1.1", b"keep-alive", True),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"x", False),
    ],
)
def test_the_connection_field_and_the_version_decide_persistence(version: bytes, connection: bytes, kept: bool) -> None:
    answer = head(b"Content-Length: 0", b"Connection: " + connection, status=b"HTTP/%b 200 OK" % version)
    assert answer.keep_alive is kept


def test_http_1_0_closes_by_default() -> None:
    assert not head(b"Content-Length: 0", status=b"HTTP/1.0 200 OK").keep_alive


def test_close_wins_over_keep_alive_in_another_line() -> None:
    assert not head(b"Connection: close", b"Connection: keep-alive", b"Content-Length: 0").keep_alive


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"timeout=5, max=100", 5.0),
        (b"max=3,timeout=7", 7.0),
        (b"timeout=x", None),
        (b"timeout=-1", None),
        (b"xtimeout=5", None),
        (b"timeout=99999999999999999999", None),
    ],
)
def test_the_servers_idle_promise_is_read(value: bytes, seconds: float | None) -> None:
    assert head(b"Keep-Alive: " + value, b"Content-Length: 0").idle_timeout == seconds


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 2", b"Content-Length: 2"),
        (b"Content-Length: 2", b"Content-Length: 3"),
        (b"Content-Length: 2, 2",),
        (b"Content-Length: +2",),
        (b"Content-Length: -2",),
        (b"Content-Length: 0x2",),
        (b"Content-Length: 2 2",),
        (b"Content-Length:",),
        (b"Content-Length: 9999999999999999999",),
        (b"Content-Length: \xb2",),
        (b"Transfer-Encoding: chunked", b"Content-Length: 2"),
        (b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, chunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding:",),
        (b"X: a", b" folded", b"Content-Length: 0"),
        (b"Content-Length: 1", b"\t0"),
        (b"Content-Length : 0",),
        (b" Content-Length: 0",),
        (b": x",),
        (b"no colon",),
        (b"X: a\rb",),
        (b"X: a\nb",),
        (b"X: a\0b",),
        (b"X: \x7f",),
        (b"N\xc3\xa9: x",),
        (b"X Y: z",),
    ],
)
def test_a_head_with_two_readings_or_stray_bytes_is_refused(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(FramingError):
        head(*lines)


@pytest.mark.parametrize(
    "status",
    [
        b"HTTP/2.0 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/0.9 200 OK",
        b"RTSP/1.0 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 99 OK",
        b"HTTP/1.1 000 OK",
        b"HTTP/1.1 600 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 200 O\0K",
        b"HTTP/1.1",
        b"",
        b"\r\nHTTP/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1 101 Switching Protocols",
    ],
)
def test_a_status_line_that_is_not_http_1_is_refused(status: bytes) -> None:
    with pytest.raises(FramingError):
        head(b"Content-Length: 0", status=status)


def test_transfer_encoding_does_not_exist_in_http_1_0() -> None:
    with pytest.raises(FramingError, match=r"HTTP/1\.0"):
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize("status", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200 \xe4", b"HTTP/1.1 599 A b"])
def test_the_reason_may_be_missing_or_anything_printable(status: bytes) -> None:
    assert head(b"Content-Length: 0", status=status).length == 0


class _Llhttp:
    """The other reader of the same bytes."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.heads = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.heads += 1


_NAMES = [b"Content-Length:", b"Transfer-Encoding:", b"Connection:", b"Keep-Alive:", b"X:"]
_VALUES = [b"0", b"5", b"chunked", b"close", b"keep-alive", b"timeout=5", b"a", b"\xff", b"\0"]
_PIECES = st.sampled_from([*_NAMES, *_VALUES, b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n", b",", b":"])


@given(
    status=st.sampled_from([b"200 OK", b"204", b"304 x", b"503 \xff", b"1", b"200"]),
    rest=st.lists(_PIECES, max_size=12).map(b"".join),
)
def test_whatever_is_accepted_llhttp_reads_the_same_way(status: bytes, rest: bytes) -> None:
    text = b"HTTP/1.1 %b\r\n%b\r\n\r\n" % (status, rest.rstrip(b"\r\n")) if rest else b"HTTP/1.1 %b\r\n\r\n" % status
    try:
        ours = read_head(text, "POST")
    except FramingError:
        return
    seen = _Llhttp()
    theirs = httptools.HttpResponseParser(seen)
    theirs.feed_data(text)
    assert (seen.heads, theirs.get_status_code()) == (1, ours.status)
    assert list(Headers(ours.lines)) == [
        (name.lower().decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, value in seen.fields
    ]
    for name, value in seen.fields:
        if name.lower() == b"content-length" and ours.length >= 0 and ours.status == 200:
            assert int(value) == ours.length
