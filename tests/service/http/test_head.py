"""What of a head counts, and which heads are refused."""

import pytest

from service.http.exchange import CHUNKED, MAX_FIELDS, HeadError, cannot_become_head, read_head


def head(start: str = "GET / HTTP/1.1", *lines: str) -> bytes:
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1")


def test_a_head_is_read_whole() -> None:
    found = read_head(head("POST /v1/a%20b?x=%31 HTTP/1.1", "Host: h", "X-A:  v w \t", "Content-Length: 12"))
    assert (found.method, found.path, found.raw_path, found.query) == ("POST", "/v1/a b", b"/v1/a%20b", b"x=%31")
    assert found.fields == [(b"host", b"h"), (b"x-a", b"v w"), (b"content-length", b"12")]
    assert (found.version, found.length, found.keep_alive, found.expects_continue) == ("1.1", 12, True, False)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b", "/a/b"),
        ("http://h:8080/a", "/a"),
        ("HTTPS://h", "/"),
        ("http://h?q", "/"),
        ("*", "*"),
        ("h:443", "/h:443"),
        ("//a", "//a"),
        ("/%ff", "/\ufffd"),
    ],
)
def test_the_path_is_that_of_the_target_in_each_of_its_forms(target: str, path: str) -> None:
    assert read_head(head(f"GET {target} HTTP/1.1")).path == path


@pytest.mark.parametrize(
    ("start", "lines", "keeps"),
    [
        ("GET / HTTP/1.1", (), True),
        ("GET / HTTP/1.1", ("Connection: close",), False),
        ("GET / HTTP/1.1", ("Connection: keep-alive, Close",), False),
        ("GET / HTTP/1.1", ("Connection: upgrade", "Upgrade: h2c"), True),
        ("GET / HTTP/1.0", (), False),
        ("GET / HTTP/1.0", ("Connection: keep-alive",), False),
    ],
)
def test_a_connection_is_kept_unless_it_is_old_or_the_client_says_close(
    start: str, lines: tuple[str, ...], *, keeps: bool
) -> None:
    assert read_head(head(start, *lines)).keep_alive is keeps


def test_the_length_of_the_body_is_one_number_or_chunks() -> None:
    assert read_head(head("POST / HTTP/1.1")).length == 0
    assert read_head(head("POST / HTTP/1.1", "Transfer-Encoding: Chunked")).length == CHUNKED
    assert read_head(head("POST / HTTP/1.1", "Expect: 100-Continue", "Content-Length: 1")).expects_continue


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\r\n\r\n",
        head("GET /"),
        head("GET / HTTP/1.2"),
        head("GET  / HTTP/1.1"),
        head("GET /\x7f HTTP/1.1"),
        head("GET /\xe4 HTTP/1.1"),
        head("G(T / HTTP/1.1"),
        head("GET / HTTP/1.1", "no colon"),
        head("GET / HTTP/1.1", "a : b"),
        head("GET / HTTP/1.1", " a: b"),
        head("GET / HTTP/1.1", "a: b\0c"),
        head("GET / HTTP/1.1", "a: b\rc"),
        head("GET / HTTP/1.1", ": b"),
        head("GET / HTTP/1.1", *["a: b"] * (MAX_FIELDS + 1)),
        head("GET / HTTP/1.1", "Host: a", "Host: a"),
        head("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1"),
        head("POST / HTTP/1.1", "Content-Length: 1, 1"),
        head("POST / HTTP/1.1", "Content-Length: +1"),
        head("POST / HTTP/1.1", "Content-Length: \xb2"),
        head("POST / HTTP/1.1", "Content-Length: " + "1" * 19),
        head("POST / HTTP/1.1", "Content-Length:"),
        head("POST / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
        head("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        head("POST / HTTP/1.1", "Transfer-Encoding: identity"),
        head("POST / HTTP/1.0", "Transfer-Encoding: chunked"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(text: bytes) -> None:
    with pytest.raises(HeadError):
        read_head(text)


@pytest.mark.parametrize(
    ("text", "cannot"),
    [
        (b"", False),
        (b"\r", False),
        (b"G", False),
        (b"get / HTTP/1.1\r\nho", False),
        (b"GET / HTTP/1.1\nHost", True),
        (b"\x16\x03\x01", True),
        (b" GET", True),
        (b"{", True),
    ],
)
def test_what_can_never_become_a_head_is_known_early(text: bytes, *, cannot: bool) -> None:
    assert cannot_become_head(text) is cannot
    assert cannot_become_head(bytearray(text)) is cannot
