"""The journal records order, duplicates, concurrency, tokens and connections, and is bounded."""

import asyncio
import hashlib

import httpx

from emulator.control.journal import Journal
from emulator.http import Request, request_of
from tests.emulator.running import Service, until
from tests.fakes import FakeClock


def a_call(path: str = "/api/hubs/chat/:send") -> Request:
    return request_of(
        {
            "scheme": "http",
            "method": "POST",
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "path": path,
        }
    )


def a_journal(entries: int = 100, size: int = 10_000) -> Journal:
    return Journal(FakeClock(), max_entries=entries, max_bytes=size)


def record(journal: Journal, body: bytes = b"", path: str = "/x", token: str = "", connection: int = 1) -> None:
    entry = journal.start(a_call(path), hub="chat", connection=connection, token=token)
    journal.add_body(entry, body)
    entry.delivered = True
    journal.finish(entry, 202)


async def test_calls_are_recorded_in_order_with_what_was_answered(service: Service) -> None:
    await service.send("users/a%2Fb/:send", '{"target":"é"}', query="excluded=x")
    await service.call("HEAD", "groups/g")
    first, second = service.emulator.journal.entries()
    assert (first.sequence, first.method, first.path) == (1, "POST", "/api/hubs/chat/users/a%2Fb/:send")
    assert (first.query, first.hub, first.status) == ("api-version=2022-06-01&excluded=x", "chat", 202)
    assert first.body.decode() == '{"target":"é"}'
    token = service.token(service.base + second.path)
    assert second.token == hashlib.sha256(token.encode()).hexdigest()
    assert (second.sequence, second.status, second.connection) == (2, 404, first.connection)
    assert first.monotonic <= second.monotonic
    assert first.wall > 1_700_000_000


async def test_calls_in_flight_and_connections_are_counted(timed: Service, clock: FakeClock) -> None:
    timed.emulator.faults.set([{"kind": "latency", "seconds": 1}])
    journal = timed.emulator.journal
    async with httpx.AsyncClient() as other, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(timed.send("users/a/:send"))
        tasks.create_task(other.post(timed.base + "/api/hubs/chat/:send"))
        await until(lambda: journal.in_flight == 4)
        await clock.advance(1.5)
    assert (journal.in_flight, journal.max_in_flight, journal.max_in_flight_per_path) == (0, 4, 3)
    assert journal.connections_used == 4
    assert journal.distinct_tokens == 1


def test_entries_since_a_number_are_found_after_old_ones_were_removed() -> None:
    journal = a_journal(entries=3)
    for _ in range(5):
        record(journal)
    assert [entry.sequence for entry in journal.entries()] == [3, 4, 5]
    assert [entry.sequence for entry in journal.entries(since=3, limit=1)] == [4]
    assert journal.entries(since=5) == []
    journal.clear()
    record(journal)
    assert [entry.sequence for entry in journal.entries(since=5)] == [6]


def test_bodies_are_bounded_in_bytes() -> None:
    journal = a_journal(size=250)
    for _ in range(5):
        record(journal, b"x" * 100)
    assert len(journal) == 2


def test_duplicates_are_delivered_repeats_of_one_body_at_one_path() -> None:
    journal = a_journal()
    for body, path in ((b"a", "/x"), (b"a", "/x"), (b"a", "/x"), (b"b", "/x"), (b"a", "/y")):
        record(journal, body, path)
    lost = journal.start(a_call("/y"), hub="chat", connection=1, token="")
    journal.add_body(lost, b"a")
    journal.finish(lost, 500)
    assert journal.duplicates() == {"/x": 2}


def test_tokens_and_connections_count_once_and_are_not_shown() -> None:
    journal = a_journal()
    for token, connection in (("t1", 1), ("t1", 2), ("t2", 2), ("", 0)):
        record(journal, token=token, connection=connection)
    assert (journal.distinct_tokens, journal.connections_used) == (2, 2)
    assert "t1" not in repr(journal.entries()[0])


def test_after_a_clear_calls_in_flight_are_still_counted() -> None:
    journal = a_journal()
    entry = journal.start(a_call(), hub="chat", connection=1, token="")
    record(journal)
    journal.clear()
    assert (journal.in_flight, journal.max_in_flight, journal.statuses()) == (1, 1, {})
    journal.finish(entry, None)
    assert (journal.in_flight, journal.statuses()) == (0, {"reset": 1})


def test_a_body_read_after_the_clear_does_not_count() -> None:
    journal = a_journal(size=250)
    entry = journal.start(a_call(), hub="chat", connection=1, token="")
    journal.clear()
    journal.add_body(entry, b"x" * 240)
    journal.finish(entry, 202)
    record(journal, b"x" * 100)
    record(journal, b"x" * 100)
    assert len(journal) == 2
