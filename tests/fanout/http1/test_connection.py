"""One connection over a transport that is a real socket pair."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from fanout.http1.connection import Connection, Transport
from fanout.http1.exchange import BrokenExchangeError, ExchangeTimeoutError, Limits, StaleConnectionError
from tests.fanout.http1.scripted import ACCEPTED, OK

LIMITS = Limits(idle_seconds=30.0, max_age_seconds=100.0)


class Pair:
    """A connection and the other end of its socket."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.lost: list[Connection] = []
        self.over = asyncio.Event()
        self.connection = Connection(Transport(ours), limits, 0.0, self.on_lost)
        assert self.connection.open()

    def on_lost(self, connection: Connection) -> None:
        self.lost.append(connection)
        self.over.set()

    async def until_lost(self) -> None:
        await asyncio.wait_for(self.over.wait(), 5.0)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    yield pair
    pair.connection.abort()
    await pair.until_lost()
    pair.peer.close()


async def test_an_answer_leaves_the_connection_usable_for_one_more(pair: Pair) -> None:
    for count in (1, 2):
        answer = pair.connection.exchange(b"request", "POST", 99.0)
        pair.peer.send(OK)
        response = await answer
        assert (response.status, response.body, response.reused) == (200, b"ok", count == 2)
        assert pair.connection.release(1.0)
    assert pair.peer.recv(100) == b"requestrequest"
    assert repr(pair.connection) == "<Connection idle, 2 answers>"


async def test_an_answer_that_was_read_before_is_held_to_the_limits_of_each_connection(pair: Pair) -> None:
    answer = pair.connection.exchange(b"request", "POST", 99.0)
    pair.peer.send(OK)
    assert (await answer).body == b"ok"
    for limits, body in ((Limits(max_body=1), b"o"), (Limits(max_headers=len(OK) - len("ok") - 1), None)):
        other = Pair(limits)
        answer = other.connection.exchange(b"request", "POST", 99.0)
        other.peer.send(OK)
        if body is None:
            with pytest.raises(BrokenExchangeError, match="a head over"):
                await answer
        else:
            assert (await answer).body == body
        await other.until_lost()
        other.peer.close()


async def test_it_is_fresh_until_it_was_idle_too_long_or_is_too_old(pair: Pair) -> None:
    assert pair.connection.release(10.0)
    assert pair.connection.is_fresh(39.9)
    assert not pair.connection.is_fresh(40.0)
    assert pair.connection.release(99.0)
    assert not pair.connection.is_fresh(100.0)


async def test_it_is_idle_for_a_second_less_than_the_server_promises(pair: Pair) -> None:
    answer = pair.connection.exchange(b"request", "POST", 99.0)
    pair.peer.send(b"HTTP/1.1 204 No\r\nKeep-Alive: timeout=5\r\n\r\n")
    await answer
    assert pair.connection.release(0.0)
    assert pair.connection.is_fresh(3.9)
    assert not pair.connection.is_fresh(4.0)


@pytest.mark.parametrize("stray", [b"\r\n", OK, b"\0"])
async def test_stray_bytes_end_it(pair: Pair, stray: bytes) -> None:
    pair.peer.send(stray)
    await pair.until_lost()
    assert not pair.connection.is_fresh(0.0)


async def test_stray_bytes_still_in_the_kernel_are_seen_before_a_request(pair: Pair) -> None:
    assert pair.connection.is_usable(0.0)
    pair.peer.send(OK)
    assert not pair.connection.is_usable(0.0)


async def test_an_end_still_in_the_kernel_is_seen_before_a_request(pair: Pair) -> None:
    pair.peer.close()
    assert not pair.connection.is_usable(0.0)


async def test_an_end_before_any_answer_is_a_stale_connection(pair: Pair) -> None:
    answer = pair.connection.exchange(b"request", "POST", 99.0)
    pair.peer.close()
    with pytest.raises(StaleConnectionError) as caught:
        await answer
    assert caught.value.reused is False


async def test_a_half_close_within_an_answer_breaks_it(pair: Pair) -> None:
    answer = pair.connection.exchange(b"request", "POST", 99.0)
    pair.peer.send(OK[:-1])
    pair.peer.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenExchangeError, match="ended before the end of an answer 200") as caught:
        await answer
    assert caught.value.answered == 200


async def test_an_answer_before_the_request_is_written_is_given_and_closes(pair: Pair) -> None:
    answer = pair.connection.exchange(b"x" * 10_000_000, "POST", 99.0)
    pair.peer.send(ACCEPTED)
    assert (await answer).status == 202
    assert not pair.connection.release(0.0)


async def test_a_release_within_an_exchange_closes(pair: Pair) -> None:
    answer = pair.connection.exchange(b"request", "POST", 99.0)
    assert repr(pair.connection) == "<Connection busy, 0 answers>"
    assert not pair.connection.release(0.0)
    await pair.until_lost()
    answer.cancel()
    assert repr(pair.connection) == "<Connection closed, 0 answers>"


async def test_time_out_fails_the_exchange_and_closes(pair: Pair) -> None:
    answer = pair.connection.exchange(b"request", "POST", 99.0)
    assert pair.connection.deadline == 99.0
    pair.connection.time_out()
    with pytest.raises(ExchangeTimeoutError, match="10 s passed before any answer"):
        await answer
    await pair.until_lost()


async def test_time_out_between_exchanges_does_nothing(pair: Pair) -> None:
    pair.connection.time_out()
    assert pair.connection.is_fresh(0.0)


async def test_the_loss_is_reported_once(pair: Pair) -> None:
    pair.connection.abort()
    pair.connection.abort()
    await pair.until_lost()
    await asyncio.sleep(0.01)
    assert pair.lost == [pair.connection]
