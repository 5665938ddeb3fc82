"""Servers that misbehave: never a hang, never an answer to the wrong request, always an error of ours."""

import asyncio
import ssl
import time

import pytest
import trustme

from fanout.errors import MaybeSentError, NotSentError
from fanout.http1.dial import default_tls
from fanout.http1.exchange import (
    BrokenExchangeError,
    ExchangeTimeoutError,
    Limits,
    MalformedAnswerError,
    StaleConnectionError,
)
from tests.fanout.http1.scripted import (
    ACCEPTED,
    OK,
    PoolOf,
    Script,
    Visit,
    a_request,
    echo,
    none_idle,
    saying,
    served,
)

pytestmark = pytest.mark.slow

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT = Limits(connections=1, request_timeout=0.3)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["plain", "tls"])
def sides(request: pytest.FixtureRequest, authority: trustme.CA) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The server's and the client's TLS context; both None for plain TCP."""
    if request.param == "plain":
        return None, None
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), default_tls()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


Sides = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


def first_then_echo(script: Script) -> Script:
    """Misbehave on the first connection, be good on all others."""

    async def visit(one: Visit) -> None:
        await (script if one.number == 1 else echo)(one)

    return visit


def answering(*pieces: bytes) -> Script:
    """Answer the first request with these segments and then wait for the client to leave."""

    async def visit(one: Visit) -> None:
        await one.answer(*pieces)
        await one.gone()

    return visit


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-", b"Length: 2\r\n\r", b"\no", b"k"), b"ok"),
        (tuple(OK[i : i + 1] for i in range(len(OK))), b"ok"),
        ((CHUNKED, b"1\r\no\r\n", b"1\r\nk\r\n0\r", b"\n\r\n"), b"ok"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK), b"ok"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" + OK,), b"ok"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b""),
        ((b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",), b""),
    ],
)
async def test_answers_in_pieces_are_read_and_keep_the_connection(
    pool_of: PoolOf, sides: Sides, pieces: tuple[bytes, ...], body: bytes
) -> None:
    async def visit(one: Visit) -> None:
        await one.answer(*pieces)
        await echo(one)

    async with served(visit, tls=sides[0]) as server:
        pool = pool_of(server.origin, tls=sides[1])
        assert (await pool.send(a_request())).body == body
        following = await pool.send(a_request(b"next"))
        assert (following.body, following.reused) == (b"next", True)


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",), 200),
        ((b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",), 200),
        ((OK + b"\r\n",), 200),
        ((OK + OK,), 200),
        ((OK + b"\0",), 200),
        ((CHUNKED + b"0\r\n\r\n\r\n",), 200),
        ((b"HTTP/1.1 204 No Content\r\n\r\nbody",), 204),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999,), 200),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 70000,), 200),
        ((b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70000,), 200),
        ((CHUNKED + b"fffff\r\n" + b"x" * 70000,), 200),
    ],
)
async def test_these_answers_are_given_and_their_connection_is_not_used_again(
    pool_of: PoolOf, pieces: tuple[bytes, ...], status: int
) -> None:
    async with served(first_then_echo(answering(*pieces))) as server:
        pool = pool_of(server.origin)
        assert (await pool.send(a_request())).status == status
        following = await pool.send(a_request(b"next"))
        assert (following.body, following.reused) == (b"next", False)


@pytest.mark.parametrize("delay", [0.0, 0.0001, 0.02])
async def test_a_second_answer_is_never_given_to_the_next_request(pool_of: PoolOf, delay: float) -> None:
    async def twice(visit: Visit) -> None:
        await visit.read()
        visit.writer.write(saying(b"first"))
        await asyncio.sleep(delay)
        visit.writer.write(saying(b"stray"))
        await visit.gone()

    async with served(first_then_echo(twice)) as server:
        pool = pool_of(server.origin)
        assert (await pool.send(a_request())).body == b"first"
        await asyncio.sleep(delay * 2)
        time.sleep(0.005)  # noqa: ASYNC251 - the loop must not see what the kernel holds
        assert (await pool.send(a_request(b"next"))).body == b"next"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        CHUNKED + b"zz\r\nok\r\n",
        CHUNKED + b"2\r\nokk\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\r\n" + OK,
    ],
)
async def test_a_malformed_answer_is_maybe_sent_and_closes(pool_of: PoolOf, sides: Sides, answer: bytes) -> None:
    async with served(first_then_echo(answering(answer)), tls=sides[0]) as server:
        pool = pool_of(server.origin, tls=sides[1])
        with pytest.raises(MalformedAnswerError, match="Malformed answer") as caught:
            await pool.send(a_request())
        assert not caught.value.reused
        following = await pool.send(a_request(b"next"))
        assert (following.body, following.reused) == (b"next", False)


async def test_a_body_until_the_close_is_an_answer(pool_of: PoolOf, sides: Sides) -> None:
    async def visit(one: Visit) -> None:
        await one.answer(b"HTTP/1.1 200 OK\r\n\r\n", b"until ", b"the end")

    async with served(first_then_echo(visit), tls=sides[0]) as server:
        pool = pool_of(server.origin, tls=sides[1])
        assert (await pool.send(a_request())).body == b"until the end"
        assert not (await pool.send(a_request())).reused


async def test_a_half_close_after_an_answer_ends_the_connection_between_requests(pool_of: PoolOf) -> None:
    async def visit(one: Visit) -> None:
        await one.answer(OK)
        one.writer.write_eof()
        await one.gone()

    async with served(first_then_echo(visit)) as server:
        pool = pool_of(server.origin)
        await pool.send(a_request())
        await none_idle(pool)
        assert (await pool.send(a_request(b"next"))).body == b"next"


STEPS = [b"", b"HTTP", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", OK[:-1]]


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("sent", STEPS)
async def test_an_end_at_each_step_of_an_answer_is_maybe_sent(
    pool_of: PoolOf, sides: Sides, sent: bytes, ending: str
) -> None:
    async def visit(one: Visit) -> None:
        await one.answer(*([sent] if sent else []))
        if ending == "reset":
            one.reset()

    async with served(first_then_echo(visit), tls=sides[0]) as server:
        pool = pool_of(server.origin, tls=sides[1])
        with pytest.raises(BrokenExchangeError) as caught:
            await pool.send(a_request())
        assert isinstance(caught.value, StaleConnectionError) is (sent == b"")
        assert caught.value.answered == (200 if b"\r\n\r\n" in sent else None)
        assert (await pool.send(a_request(b"next"))).body == b"next"


async def test_a_connection_reset_at_once_is_an_error_of_ours(pool_of: PoolOf) -> None:
    async def visit(one: Visit) -> None:
        one.reset()

    async with served(visit) as server:
        pool = pool_of(server.origin)
        with pytest.raises((NotSentError, MaybeSentError)):
            await pool.send(a_request())
        assert pool.stats.busy == 0


@pytest.mark.parametrize("sent", STEPS)
async def test_a_server_that_falls_silent_is_left_at_the_deadline(pool_of: PoolOf, sides: Sides, sent: bytes) -> None:
    visit = answering(*([sent] if sent else []))
    async with served(first_then_echo(visit), tls=sides[0]) as server:
        pool = pool_of(server.origin, SHORT, tls=sides[1])
        async with asyncio.timeout(10.0):
            with pytest.raises(ExchangeTimeoutError, match=r"0\.3 s passed"):
                await pool.send(a_request())
        assert (await pool.send(a_request(b"next"))).body == b"next"


async def test_an_answer_that_drips_does_not_move_the_deadline(pool_of: PoolOf) -> None:
    async def drip(visit: Visit) -> None:
        await visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await visit.say(b"x")
            await asyncio.sleep(0.05)

    async with served(first_then_echo(drip)) as server:
        pool = pool_of(server.origin, SHORT)
        async with asyncio.timeout(10.0):
            with pytest.raises(ExchangeTimeoutError):
                await pool.send(a_request())


async def test_a_server_that_does_not_read_is_left_at_the_deadline(pool_of: PoolOf, sides: Sides) -> None:
    async def deaf(visit: Visit) -> None:
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport can
        await asyncio.sleep(5)

    async with served(first_then_echo(deaf), tls=sides[0]) as server:
        pool = pool_of(server.origin, SHORT, tls=sides[1])
        async with asyncio.timeout(10.0):
            with pytest.raises(ExchangeTimeoutError):
                await pool.send(a_request(b"x" * 20_000_000))
        assert (await pool.send(a_request(b"next"))).body == b"next"


async def test_a_megabyte_is_written_to_a_server_that_reads_slowly(pool_of: PoolOf, sides: Sides) -> None:
    async def slow(visit: Visit) -> None:
        head = await visit.reader.readuntil(b"\r\n\r\n")
        left = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        while left:
            left -= len(await visit.reader.read(65536))
            await asyncio.sleep(0.001)
        await visit.say(ACCEPTED)
        await echo(visit)

    async with served(slow, tls=sides[0]) as server:
        pool = pool_of(server.origin, tls=sides[1])
        assert (await pool.send(a_request(b"x" * 1_000_000))).status == 202
        assert (await pool.send(a_request(b"next"))).reused


async def test_an_answer_before_the_body_was_read_is_given_and_closes(pool_of: PoolOf) -> None:
    async def refuse(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport can
        await visit.say(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(5)

    async with served(first_then_echo(refuse)) as server:
        pool = pool_of(server.origin, Limits(connections=1, request_timeout=5.0))
        assert (await pool.send(a_request(b"x" * 20_000_000))).status == 413
        following = await pool.send(a_request(b"next"))
        assert (following.body, following.reused) == (b"next", False)


async def test_no_cookie_is_ever_sent_back(pool_of: PoolOf) -> None:
    async def cookies(visit: Visit) -> None:
        while True:
            await visit.answer(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async with served(cookies) as server:
        pool = pool_of(server.origin)
        await pool.send(a_request())
        await pool.send(a_request())
        assert not any(b"ookie" in request for visit in server.visits for request in visit.requests)


async def test_tls_connections_are_kept_like_others(pool_of: PoolOf, sides: Sides) -> None:
    async with served(echo, tls=sides[0]) as server:
        pool = pool_of(server.origin, tls=sides[1])
        answers = await asyncio.gather(*(pool.send(a_request(b"%d" % number)) for number in range(20)))
        assert [answer.body for answer in answers] == [b"%d" % number for number in range(20)]
        again = await asyncio.gather(*(pool.send(a_request()) for _ in range(20)))
        assert all(answer.reused for answer in again)
