"""One call, timed, its end returned as a value."""

import asyncio
import socket

import pytest

from fanout.clock import SystemClock
from fanout.metrics import Metrics
from fanout.signalr.client import CacheStats, Sender
from fanout.signalr.outcome import TAKEN, Answered, MaybeSent, NotSent, Outcome
from tests.builders import a_join, a_message, an_entry
from tests.workers.scripted_service import ACCEPTED, Received, calling, scripted_service


def timed(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("fanout_send_seconds_count")


async def test_an_answer_is_told_with_status_error_code_and_retry_after() -> None:
    async def answer(_request: Received) -> bytes:
        return (
            b"HTTP/1.1 429 Slow\r\nContent-Length: 4\r\nRetry-After: 3\r\nx-ms-error-code: Too.Fast\r\n"
            b"x-ms-request-id: r-7\r\n\r\nwait"
        )

    metrics = Metrics()
    async with scripted_service(answer) as end, calling(end.port) as client:
        outcome = await Sender(client, SystemClock(), metrics).send([an_entry(a_message("alice", text="yo"))])
    assert outcome == Answered(429, "Too.Fast", 3.0, "r-7", b"wait")
    assert end.received[0].target.startswith("/api/hubs/chat/users/alice/:send?")
    assert end.received[0].body == b'{"target":"newMessage","arguments":["yo"]}'
    assert timed(metrics) == 1


async def test_an_answer_without_these_fields_has_none() -> None:
    async with scripted_service() as end, calling(end.port) as client:
        outcome = await Sender(client, SystemClock(), Metrics()).send([an_entry()])
    assert outcome == Answered(202, "", None)


@pytest.mark.parametrize(
    ("head", "body", "foreign"),
    [
        (b"Content-Type: text/html; charset=utf-8", b"<html>", True),
        (b"content-type: Text/HTML", b"<html>", True),
        (b"Content-Type: text/html", b"", False),
        (b"Content-Type: application/json", b"{}", False),
        (b"X: y", b"ok", False),
    ],
)
async def test_a_web_page_is_no_success_of_the_service(head: bytes, body: bytes, foreign: bool) -> None:
    async def answer(_request: Received) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n\r\n%s" % (len(body), head, body)

    async with scripted_service(answer) as end, calling(end.port) as client:
        outcome = await Sender(client, SystemClock(), Metrics()).send([an_entry()])
    assert (outcome is not TAKEN) is foreign
    assert outcome == (Answered(200, body=body, foreign=True) if foreign else TAKEN)


async def test_nobody_there_is_not_sent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        metrics = Metrics()
        async with calling(free.getsockname()[1]) as client:
            outcome = await Sender(client, SystemClock(), metrics).send([an_entry()])
    assert isinstance(outcome, NotSent)
    assert outcome.detail
    assert timed(metrics) == 1


async def test_a_server_that_hangs_up_on_a_new_connection_is_maybe_sent_and_not_stale() -> None:
    async def hang_up(_request: Received) -> bytes:
        return b""

    async with scripted_service(hang_up) as end, calling(end.port) as client:
        outcome = await Sender(client, SystemClock(), Metrics()).send([an_entry()])
    assert isinstance(outcome, MaybeSent)
    assert not outcome.stale


async def test_a_kept_connection_that_dies_under_a_request_is_stale() -> None:
    answers = [ACCEPTED, b""]

    async def answer(_request: Received) -> bytes:
        return answers.pop(0)

    async with scripted_service(answer) as end, calling(end.port) as client:
        sender = Sender(client, SystemClock(), Metrics())
        await sender.send([an_entry()])
        outcome = await sender.send([an_entry()])
    assert isinstance(outcome, MaybeSent)
    assert outcome.stale


async def test_a_service_that_takes_too_long_on_a_kept_connection_is_not_stale() -> None:
    """Stale is repeated at once; a service that is slow must not be."""
    never, answers = asyncio.Event(), [ACCEPTED]

    async def answer(_request: Received) -> bytes:
        if not answers:
            await never.wait()
        return answers.pop()

    async with scripted_service(answer) as end, calling(end.port, request_timeout=0.2) as client:
        sender = Sender(client, SystemClock(), Metrics())
        await sender.send([an_entry()])
        outcome = await sender.send([an_entry()])
        never.set()
        answers.append(b"")
    assert isinstance(outcome, MaybeSent)
    assert not outcome.stale


async def test_an_answer_cut_off_in_its_body_on_a_kept_connection_is_not_stale() -> None:
    answers = [ACCEPTED, b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nhalf", b""]

    async def answer(_request: Received) -> bytes:
        first = answers.pop(0)
        if b"half" in first:
            answers.clear()
        return first

    async with scripted_service(answer) as end, calling(end.port, request_timeout=0.3) as client:
        sender = Sender(client, SystemClock(), Metrics())
        await sender.send([an_entry()])
        outcome = await sender.send([an_entry()])
    assert isinstance(outcome, MaybeSent)
    assert not outcome.stale


async def test_a_renewed_token_is_signed_anew_for_that_address_alone() -> None:
    async with scripted_service() as end, calling(end.port) as client:
        sender = Sender(client, SystemClock(), Metrics())
        alice, bob = an_entry(a_message("alice")), an_entry(a_message("bob"))
        for entry in (alice, bob, alice):
            await sender.send([entry])
        assert client.cache_stats == CacheStats(kept=2, hits=1, misses=2)
        sender.renew_token([alice])
        for entry in (alice, bob):
            await sender.send([entry])
        assert client.cache_stats == CacheStats(kept=2, hits=2, misses=3)


async def test_a_call_is_begun_at_once_where_a_connection_rests_and_its_outcome_is_told() -> None:
    metrics = Metrics()
    async with scripted_service() as end, calling(end.port) as client:
        sender, left = Sender(client, SystemClock(), metrics), list[str]()
        told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        assert not sender.start(an_entry(), lambda: left.append("left"), told.set_result)  # no connection is open yet
        await sender.send([an_entry()])
        assert sender.start(an_entry(a_join()), lambda: left.append("left"), told.set_result)
        assert left == ["left"]
        assert await asyncio.wait_for(told, 5) is TAKEN
    assert len(end.received) == 2
    assert sum(metrics.send_seconds.counts) == 2
