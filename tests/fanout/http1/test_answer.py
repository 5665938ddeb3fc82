"""The reader returns the same answer however the bytes were cut, and keeps no more than its limits."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.http1.exchange import BrokenExchangeError, Limits, MalformedAnswerError, StaleConnectionError
from fanout.http1.messages import AnswerReader, known_answer
from tests.examples import examples
from tests.fanout.http1.reading import Outcome
from tests.fanout.http1.reading import read as read_by_pieces

LIMITS = Limits(max_headers=2048, max_body=64)

COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: v\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + COUNTED
EMPTY = b"HTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5\r\n\r\n"
LONG = b"HTTP/1.1 413 No\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
LONG_CHUNKED = b"HTTP/1.1 413 No\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n"
TWO = COUNTED + b"HTTP/1.1 500 Other\r\nContent-Length: 0\r\n\r\n"
TRAILING_LINES = CHUNKED + b"\r\n\r\n"
BAD_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhexx"
BAD_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
ALL = [COUNTED, CHUNKED, UNTIL_CLOSE, INTERIM, EMPTY, LONG, LONG_CHUNKED, TWO, TRAILING_LINES, BAD_CHUNK, BAD_HEAD]


def read(*pieces: bytes, method: str = "POST", limits: Limits = LIMITS) -> Outcome:
    return read_by_pieces(*pieces, method=method, limits=limits)


def feed_all(reader: AnswerReader, pieces: list[bytes]) -> None:
    """Feed pieces of which none may end an answer."""
    for piece in pieces:
        assert reader.feed(piece) is None


def cut(text: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize(
    ("text", "status", "body", "kept"),
    [
        (COUNTED, 200, b"hello", True),
        (CHUNKED, 200, b"hello", True),
        (UNTIL_CLOSE, 200, b"hello", False),
        (INTERIM, 200, b"hello", True),
        (EMPTY, 204, b"", True),
        (LONG, 413, b"x" * 64, False),
        (LONG_CHUNKED, 413, b"x" * 64, False),
        (TWO, 200, b"hello", False),
        (TRAILING_LINES, 200, b"hello", False),
    ],
)
def test_an_answer_is_its_status_body_and_whether_the_connection_stays(
    text: bytes, status: int, body: bytes, kept: bool
) -> None:
    response, keep_alive, _ = read(text)
    assert response is not None
    assert (response.status, response.body, keep_alive) == (status, body, kept)


@pytest.mark.parametrize("text", ALL)
def test_every_cut_in_two_and_every_single_byte_gives_the_same(text: bytes) -> None:
    whole = read(text)
    assert read(*[text[i : i + 1] for i in range(len(text))]) == whole
    for place in range(1, len(text)):
        assert read(text[:place], text[place:]) == whole


@given(text=st.sampled_from(ALL), places=st.lists(st.integers(0, 1000), max_size=8))
def test_every_cut_in_many_gives_the_same(text: bytes, places: list[int]) -> None:
    assert read(*cut(text, places)) == read(text)


_WORDS = [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"]
_WORDS += [
    b"\r\n",
    b"\r",
    b"\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"abc",
    b"A: b\r\n",
    b"Connection: close\r\n",
    b";",
    b"\0",
]


@settings(max_examples=examples(400))
@given(
    pieces=st.lists(st.one_of(st.binary(max_size=12), st.sampled_from(_WORDS)), max_size=16),
    method=st.sampled_from(["POST", "HEAD"]),
    places=st.lists(st.integers(0, 1000), max_size=6),
)
def test_any_bytes_give_an_answer_or_our_error_whatever_the_cut(
    pieces: list[bytes], method: str, places: list[int]
) -> None:
    text = b"".join(pieces)
    whole = read(text, method=method)
    assert whole[2] in {"answered", "malformed", "broken"}
    assert whole[0] is None or len(whole[0].body) <= LIMITS.max_body
    in_pieces = read(*cut(text, places), method=method)
    if whole[2] == in_pieces[2]:  # a head that can never become one may be refused before or at the end of the bytes
        assert in_pieces == whole
    else:
        assert {whole[2], in_pieces[2]} <= {"malformed", "broken"}


def test_head_and_its_body_less_answer_keep_the_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert read(answer, method="HEAD")[1]
    assert not read(answer + b"hello", method="HEAD")[1]


@pytest.mark.parametrize(
    "start",
    [b"S", b"SSH-2.0-x\r\n", b"\r\n", b"\n", b" HTTP/1.1", b"HTTP/2", b"HTTP/1.1 200 OK\nX: y\n", b"HEAD / HTTP/1.1"],
)
def test_what_can_never_become_a_head_is_refused_before_its_end(start: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        AnswerReader("POST", LIMITS, reused=False).feed(start)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_head_over_its_bound_is_refused_however_it_comes(size: int) -> None:
    reader = AnswerReader("POST", LIMITS, reused=False)
    bomb = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000
    with pytest.raises(MalformedAnswerError, match="2048 bytes"):
        feed_all(reader, [bomb[start : start + size] for start in range(0, len(bomb), size)])


def test_a_head_of_exactly_its_bound_is_read() -> None:
    frame = b"HTTP/1.1 204 No\r\nX: %b\r\n\r\n"
    fitting = frame % (b"y" * (LIMITS.max_headers - len(frame) + 2))
    assert len(fitting) == LIMITS.max_headers
    assert read(fitting)[2] == "answered"
    assert read(fitting.replace(b"X: ", b"XX: "))[2] == "malformed"


def test_interim_answers_share_one_bound_so_that_they_cannot_go_on_for_ever() -> None:
    assert read(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)[2] == "malformed"
    assert read(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000)[2] == "malformed"


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"0\r\n", b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"),
        (b"1;", b"extension-that-never-ends"),
        (b"", b"0000000000"),
    ],
)
def test_chunk_framing_without_end_is_refused_within_bounded_memory(start: bytes, more: bytes) -> None:
    reader = AnswerReader("POST", LIMITS, reused=False)
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + start)
    with pytest.raises(MalformedAnswerError):
        feed_all(reader, [more] * 1000)


def test_memory_stays_bounded_under_a_flood() -> None:
    flood = b"x" * 65536
    tracemalloc.start()
    try:
        for head in (b"Content-Length: 99999999999", b"Connection: close", b"Transfer-Encoding: chunked"):
            reader = AnswerReader("POST", Limits(), reused=False)
            reader.feed(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
            if b"chunked" in head:
                reader.feed(b"fffffff\r\n")
            response = None
            for _ in range(4):
                response = response or reader.feed(flood)
            assert response is not None
            assert len(response.body) == Limits().max_body
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_an_error_says_how_far_the_answer_had_come() -> None:
    reader = AnswerReader("POST", LIMITS, reused=True)
    nothing = reader.broken_error("It broke")
    assert isinstance(nothing, StaleConnectionError)
    assert (str(nothing), nothing.reused, nothing.answered) == ("It broke before any answer.", True, None)
    reader.feed(b"HTTP/1.1 200")
    begun = reader.broken_error("It broke")
    assert type(begun) is BrokenExchangeError
    assert str(begun) == "It broke before the end of an answer's head."
    reader.feed(b" OK\r\nContent-Length: 5\r\n\r\nhe")
    late = reader.timeout_error()
    assert (str(late), late.answered) == ("10 s passed before the end of an answer 200.", 200)


def test_a_body_shorter_than_its_length_is_no_answer_at_the_end() -> None:
    assert read(COUNTED[:-1])[2] == "broken"
    assert read(CHUNKED[:-1])[2] == "broken"


def test_the_idle_promise_is_handed_on() -> None:
    reader = AnswerReader("POST", LIMITS, reused=False)
    assert reader.idle_timeout is None
    reader.feed(EMPTY)
    assert reader.idle_timeout == 5.0


def test_an_answer_that_was_read_before_is_the_same_value() -> None:
    first = known_answer(bytes(bytearray(COUNTED)), "POST", reused=True)
    again = known_answer(bytes(bytearray(COUNTED)), "POST", reused=True)
    assert first is not None
    assert again is first
    assert (first.response.status, first.response.body, first.response.reused) == (200, b"hello", True)
    fresh = known_answer(COUNTED, "POST", reused=False)
    assert fresh is not None
    assert not fresh.response.reused
    assert known_answer(COUNTED, "HEAD", reused=True) is None  # without a body something would follow it
