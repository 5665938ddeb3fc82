"""One connection, seen through a transport that is a real socket pair."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from fanout.http1.connection import Connection
from fanout.http1.exchange import BrokenExchangeError, ExchangeTimeoutError, Limits, StaleConnectionError
from tests.fanout.http1.scripted import ACCEPTED, OK

LIMITS = Limits(idle_seconds=30.0, max_age_seconds=100.0)


class Wire:
    """A connection and the other end of its socket."""

    def __init__(self) -> None:
        self.ours, self.peer = socket.socketpair()
        self.lost: list[Connection] = []
        self.over = asyncio.Event()
        self.connection = Connection(LIMITS, 0.0, self.on_lost)

    def on_lost(self, connection: Connection) -> None:
        self.lost.append(connection)
        self.over.set()

    async def until_lost(self) -> None:
        await asyncio.wait_for(self.over.wait(), 5.0)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    await asyncio.get_running_loop().create_connection(lambda: wire.connection, sock=wire.ours)
    yield wire
    wire.connection.abort()
    await wire.until_lost()
    wire.peer.close()


async def test_an_answer_leaves_the_connection_fit_for_one_more(wire: Wire) -> None:
    for count in (1, 2):
        answer = wire.connection.exchange(b"request", "POST", 99.0)
        wire.peer.send(OK)
        response = await answer
        assert (response.status, response.body, response.reused) == (200, b"ok", count == 2)
        assert wire.connection.rest(1.0)
    assert wire.peer.recv(100) == b"requestrequest"
    assert repr(wire.connection) == "<Connection idle, 2 answers>"


async def test_it_is_fit_until_it_rested_too_long_or_is_too_old(wire: Wire) -> None:
    assert wire.connection.rest(10.0)
    assert wire.connection.is_fit(39.9)
    assert not wire.connection.is_fit(40.0)
    assert wire.connection.rest(99.0)
    assert not wire.connection.is_fit(100.0)


async def test_it_rests_a_second_less_than_the_server_promises(wire: Wire) -> None:
    answer = wire.connection.exchange(b"request", "POST", 99.0)
    wire.peer.send(b"HTTP/1.1 204 No\r\nKeep-Alive: timeout=5\r\n\r\n")
    await answer
    assert wire.connection.rest(0.0)
    assert wire.connection.is_fit(3.9)
    assert not wire.connection.is_fit(4.0)


@pytest.mark.parametrize("stray", [b"\r\n", OK, b"\0"])
async def test_bytes_nobody_asked_for_end_it(wire: Wire, stray: bytes) -> None:
    wire.peer.send(stray)
    await wire.until_lost()
    assert not wire.connection.is_fit(0.0)


async def test_stray_bytes_still_in_the_kernel_are_seen_before_a_request(wire: Wire) -> None:
    assert wire.connection.is_silent()
    wire.peer.send(OK)
    assert not wire.connection.is_silent()


async def test_an_end_still_in_the_kernel_is_seen_before_a_request(wire: Wire) -> None:
    wire.peer.close()
    assert not wire.connection.is_silent()


async def test_an_end_before_any_answer_is_a_stale_connection(wire: Wire) -> None:
    answer = wire.connection.exchange(b"request", "POST", 99.0)
    wire.peer.close()
    with pytest.raises(StaleConnectionError) as caught:
        await answer
    assert caught.value.reused is False


async def test_a_half_close_within_an_answer_breaks_it(wire: Wire) -> None:
    answer = wire.connection.exchange(b"request", "POST", 99.0)
    wire.peer.send(OK[:-1])
    wire.peer.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenExchangeError, match="ended before the end of an answer 200") as caught:
        await answer
    assert caught.value.answered == 200


async def test_an_answer_before_the_request_is_written_is_given_and_closes(wire: Wire) -> None:
    answer = wire.connection.exchange(b"x" * 10_000_000, "POST", 99.0)
    wire.peer.send(ACCEPTED)
    assert (await answer).status == 202
    assert not wire.connection.rest(0.0)


async def test_resting_within_an_exchange_closes(wire: Wire) -> None:
    answer = wire.connection.exchange(b"request", "POST", 99.0)
    assert repr(wire.connection) == "<Connection busy, 0 answers>"
    assert not wire.connection.rest(0.0)
    await wire.until_lost()
    answer.cancel()
    assert repr(wire.connection) == "<Connection closed, 0 answers>"


async def test_time_out_fails_the_exchange_and_closes(wire: Wire) -> None:
    answer = wire.connection.exchange(b"request", "POST", 99.0)
    assert wire.connection.deadline == 99.0
    wire.connection.time_out()
    with pytest.raises(ExchangeTimeoutError, match="10 s passed before any answer"):
        await answer
    await wire.until_lost()


async def test_time_out_between_exchanges_does_nothing(wire: Wire) -> None:
    wire.connection.time_out()
    assert wire.connection.is_fit(0.0)


async def test_the_loss_is_told_once(wire: Wire) -> None:
    wire.connection.abort()
    wire.connection.abort()
    await wire.until_lost()
    await asyncio.sleep(0.01)
    assert wire.lost == [wire.connection]
