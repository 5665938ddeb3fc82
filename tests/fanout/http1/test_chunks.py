"""A chunked body ends exactly where it ends."""

import pytest

from fanout.http1.chunks import ChunkedBody
from fanout.http1.exchange import FramingError


def fed(*pieces: bytes, max_size: int = 100) -> tuple[ChunkedBody, list[bool]]:
    body = ChunkedBody(max_size)
    return body, [body.feed(piece) for piece in pieces]


@pytest.mark.parametrize(
    "text",
    [
        b"3\r\nabc\r\n0\r\n\r\n",
        b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        b"3;ext=1\r\nabc\r\n0\r\n\r\n",
        b"0003\r\nabc\r\n000\r\n\r\n",
        b"3\r\nabc\r\n0\r\nTrailer: x\r\nContent-Type: y\r\n\r\n",
    ],
)
def test_chunks_in_any_cut_give_the_body(text: bytes) -> None:
    for place in range(1, len(text)):
        body, over = fed(text[:place], text[place:])
        assert (body.body, over, body.truncated, body.has_trailing_bytes) == (b"abc", [False, True], False, False)


@pytest.mark.parametrize("more", [b"\r\n", b"\r", b"\n", b"H", b"HTTP/1.1 200 OK\r\n\r\n", b"0\r\n\r\n", b"\0"])
def test_bytes_after_the_end_are_seen_even_when_they_are_empty_lines(more: bytes) -> None:
    body, over = fed(b"3\r\nabc\r\n0\r\n\r\n" + more)
    assert (body.body, over, body.has_trailing_bytes) == (b"abc", [True], True)


@pytest.mark.parametrize(
    "text",
    [
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"\r\n",
        b"1\na\n0\n\n",
        b"1\r\nab\r\n",
        b"1\r\na0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"1;\x01\r\na",
        b"0\r\nfolded: a\r\n b\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_broken_chunks_are_refused(text: bytes) -> None:
    with pytest.raises(FramingError, match="chunks"):
        fed(text)


def test_a_body_over_its_maximum_is_truncated_there() -> None:
    body, over = fed(b"5\r\nabcde\r\n0\r\n\r\n", max_size=3)
    assert (body.body, over, body.truncated) == (b"abc", [True], True)


def test_a_body_of_exactly_its_maximum_is_whole() -> None:
    body, over = fed(b"3\r\nabc\r\n0\r\n\r\n", max_size=3)
    assert (body.body, over, body.truncated) == (b"abc", [True], False)


def test_trailers_are_not_kept() -> None:
    body, over = fed(b"0\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 50)
    assert (len(body), over[-1]) == (0, False)
