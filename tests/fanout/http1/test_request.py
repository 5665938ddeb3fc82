"""A request becomes exactly one message, whatever its values try."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.http1.messages import HeaderLines, Request, RequestHead
from fanout.http1.pool import encode, encode_with


def written(
    method: str, target: str, headers: bytes = b"", body: bytes = b"", *, authorization: bytes = b"", host: bytes = b"h"
) -> bytes:
    head = RequestHead(method, target, HeaderLines(headers))
    return encode(Request(head, body, HeaderLines(authorization)), host)


def test_the_message_is_the_request_line_host_fields_length_and_body() -> None:
    message = written(
        "POST",
        "/a?b=c",
        b"Content-Type: text/plain\r\n",
        b"body",
        authorization=b"Authorization: Bearer t\r\n",
        host=b"h:1",
    )
    assert message == (
        b"POST /a?b=c HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer t\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 4\r\n\r\nbody"
    )


def test_further_lines_of_the_moment_stand_behind_the_authorization_and_are_checked() -> None:
    request = Request(RequestHead("POST", "/a"), b"x", HeaderLines(b"Authorization: t\r\n"))
    plain = encode(request, b"h")
    assert encode_with(lambda: b"", encode, request, b"h") == plain
    more = encode_with(lambda: b"traceparent: 00\r\n", encode, request, b"h")
    assert more == plain.replace(b"Authorization: t\r\n", b"Authorization: t\r\ntraceparent: 00\r\n")
    with pytest.raises(ValueError, match="Header lines"):
        encode_with(lambda: b"a: b\r\nHost: c\r\n", encode, request, b"h")


def test_a_body_may_hold_anything_and_be_empty() -> None:
    assert written("PUT", "/", body=b"\r\n\r\n\0").endswith(b"Content-Length: 5\r\n\r\n\r\n\r\n\0")
    assert written("DELETE", "/") == b"DELETE / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("method", ["", "post", "POST ", "GET / HTTP/1.1\r\nX: ", "CONNECT", "TRACE", "P\0"])
def test_an_unknown_method_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        RequestHead(method, "/")


@pytest.mark.parametrize(
    "target", ["", "x", "*", "http://h/", "/a b", "/a\r\nX: y", "/a\n", "/a\t", "/\0", "/\x7f", "/\u00e9", "/\u2028"]
)
def test_a_target_with_more_than_visible_ascii_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        RequestHead("POST", target)


@pytest.mark.parametrize(
    "headers",
    [
        b"A: b",
        b"A: b\n",
        b"A: b\r\n\r\n",
        b"\r\n",
        b"A: b\nC: d\r\n",
        b"A: b\rC: d\r\n",
        b"A: b\r\n C: folded\r\n",
        b"A : b\r\n",
        b": b\r\n",
        b"no colon\r\n",
        b"A: \0\r\n",
        b"\xc3\xa9: b\r\n",
        b"A: b\r\nGET / HTTP/1.1\r\n",
        b"A: b\n\r\r\n",
        b"Host: evil\r\n",
        b"A: b\r\ncontent-LENGTH: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
        b"TE: trailers\r\n",
    ],
)
def test_header_lines_that_end_wrongly_or_are_the_clients_own_are_refused(headers: bytes) -> None:
    with pytest.raises(ValueError, match="Header lines"):
        HeaderLines(headers)


@pytest.mark.parametrize("headers", [b"X-Host: a\r\n", b"Hosts: a\r\n", b"Content-Length-Hint: 1\r\n", b"Tea: 1\r\n"])
def test_names_that_only_begin_like_the_clients_own_are_let_through(headers: bytes) -> None:
    assert headers in written("POST", "/", headers)


def test_no_repr_shows_a_token_a_body_or_the_value_of_a_header() -> None:
    secret = HeaderLines(b"Authorization: Bearer secret\r\nX-A: secret\r\n")
    request = Request(RequestHead("POST", "/x", secret), b"secret", secret)
    for value in (request, request.head, secret):
        assert "secret" not in repr(value)
    assert repr(secret) == "<HeaderLines Authorization, X-A>"


class _Seen:
    def __init__(self) -> None:
        self.begun = 0
        self.body = b""

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_body(self, data: bytes) -> None:
        self.body += data


@given(
    target=st.text(max_size=20).map(lambda text: f"/{text}"),
    headers=st.one_of(
        st.binary(max_size=30),
        st.lists(
            st.sampled_from(
                [b"A: b\r\n", b"\r\n", b"\n", b"\r", b" ", b"X:", b"Content-Length: 1\r\n", b"GET / HTTP/1.1"]
            )
        ).map(b"".join),
    ),
    body=st.binary(max_size=30),
)
def test_whatever_is_not_refused_is_one_request_with_this_body(target: str, headers: bytes, body: bytes) -> None:
    try:
        message = written("POST", target, headers, body)
    except ValueError:
        return
    seen = _Seen()
    try:
        httptools.HttpRequestParser(seen).feed_data(message)
    except httptools.HttpParserError:  # a control character in a value: refused by the server, but no second request
        assert any(byte < 32 for byte in headers.replace(b"\r\n", b"").replace(b"\t", b""))
        return
    assert (seen.begun, seen.body) == (1, body)
