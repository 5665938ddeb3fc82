"""The probes and the metrics endpoint."""

import asyncio

import pytest

from fanout import __version__
from fanout.errors import FanoutError, QueueError
from fanout.metrics import DEAD_REASONS, FAILURES, STATUSES
from fanout.signalr.message import OPERATIONS
from service.http.probes import Readiness
from tests.fakes import FakeClock
from tests.service.apps import an_app, client_of, metric
from tests.service.memory_queue import MemoryQueue


async def test_liveness_answers_while_the_queue_is_silent() -> None:
    queue = MemoryQueue()
    queue.silent = True
    app = an_app(queue)
    app.readiness.draining = True
    async with client_of(app) as client:
        answer = await client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_ready_when_the_queue_answers() -> None:
    async with client_of(an_app()) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "reasons": [], "warnings": [], "version": __version__},
    )


async def test_not_ready_while_draining_whatever_else_is_well() -> None:
    app = an_app()
    async with client_of(app) as client:
        app.readiness.draining = True
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["draining"])


async def test_not_ready_when_the_queue_fails_or_a_check_of_the_process_does() -> None:
    queue = MemoryQueue()
    queue.error = QueueError("The queue is away.")
    app = an_app(queue)

    async def no_lease() -> None:
        raise FanoutError("no partition is ours yet")

    app.readiness.add("worker", no_lease)
    async with client_of(app) as client:
        answer = await client.get("/readyz")
    assert answer.json()["reasons"] == ["worker: no partition is ours yet", "queue: The queue is away."]


async def test_not_ready_when_the_queue_is_silent_for_a_second() -> None:
    queue, clock = MemoryQueue(), FakeClock()
    queue.silent = True
    async with client_of(an_app(queue, clock=clock)) as client, asyncio.TaskGroup() as group:
        asking = group.create_task(client.get("/readyz"))
        await clock.advance(0.9)
        assert not asking.done()
        await clock.advance(0.2)
        answer = await asking
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["queue: no answer within 1 s"])


async def test_every_series_is_there_at_zero_from_the_start() -> None:
    async with client_of(an_app()) as client:
        answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for name, label, values in (
        ("fanout_accepted_total", "operation", OPERATIONS),
        ("fanout_delivered_total", "operation", OPERATIONS),
        ("fanout_gone_total", "operation", OPERATIONS),
        ("fanout_failed_attempts_total", "failure", FAILURES),
        ("fanout_dead_total", "reason", DEAD_REASONS),
        ("fanout_ingress_requests_total", "status", STATUSES),
        ("fanout_negotiate_requests_total", "status", STATUSES),
        ("fanout_queue_depth", "partition", ("0", "1", "2", "3")),
    ):
        for value in values:
            assert f'{name}{{{label}="{value}"}} 0.0' in lines
    for name in ("duplicates_total", "rejected_total", "backpressure_total", "dead_letters"):
        assert f"fanout_{name} 0.0" in lines
    assert 'fanout_oldest_age_seconds{destination="user"} 0.0' in lines


async def test_a_scrape_asks_the_queue_at_most_once_a_second() -> None:
    queue, clock = MemoryQueue(), FakeClock()
    app = an_app(queue, clock=clock)
    async with client_of(app) as client:
        await client.get("/metrics")
        queue.waiting = (3, 0, 4, 0)
        await client.get("/metrics")
        assert (queue.asked_depth, metric(app, "fanout_queue_depth", partition="0")) == (1, 0)
        clock.jump(1.1)
        await client.get("/metrics")
    assert queue.asked_depth == 2
    assert metric(app, "fanout_queue_depth", partition="0") == 3
    assert metric(app, "fanout_queue_depth", partition="2") == 4
    assert metric(app, "fanout_oldest_age_seconds", destination="user") == 1.5


async def test_metrics_are_served_while_the_queue_fails_or_is_silent() -> None:
    queue, clock = MemoryQueue(), FakeClock()
    queue.error = QueueError("The queue is away.")
    async with client_of(an_app(queue, clock=clock)) as client, asyncio.TaskGroup() as group:
        failed = await client.get("/metrics")
        clock.jump(2)
        queue.error, queue.silent = None, True
        asking = group.create_task(client.get("/metrics"))
        await clock.advance(1.1)
        silent = await asking
    assert failed.status_code == silent.status_code == 200
    assert "fanout_accepted_total" in silent.text


async def test_the_backlog_is_what_waits_in_plain_numbers_and_unknown_while_the_queue_is_away() -> None:
    queue, clock = MemoryQueue(), FakeClock()
    queue.waiting = (3, 0, 4, 0)
    async with client_of(an_app(queue, clock=clock)) as client:
        known = await client.get("/backlog")
        clock.jump(1.1)
        queue.error = QueueError("The queue is away.")
        unknown = await client.get("/backlog")
    assert known.json() == {
        "entries": 7, "oldestAgeSeconds": 1.5, "deadLetters": 0, "partitions": 4, "unownedPartitions": 0,
    }  # fmt: skip
    assert (unknown.status_code, unknown.json()["code"]) == (503, "queueUnavailable")


# Readiness ------------------------------------------------------------------------------------------------------------


async def well() -> None:
    """Find nothing wrong."""


async def ill() -> None:
    raise FanoutError("something is missing")


async def never() -> None:
    await asyncio.Event().wait()


async def test_ready_is_who_is_not_draining_and_whose_checks_all_return() -> None:
    readiness = Readiness()
    assert await readiness.reasons(FakeClock(), 1.0) == []
    readiness.add("queue", well)
    assert await readiness.reasons(FakeClock(), 1.0) == []
    readiness.draining = True
    assert await readiness.reasons(FakeClock(), 1.0) == ["draining"]


async def test_every_reason_is_given_and_not_the_first_alone() -> None:
    readiness, clock = Readiness(), FakeClock()
    readiness.draining = True
    for name, check in {"queue": never, "worker": ill, "store": well, "other": never}.items():
        readiness.add(name, check)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(readiness.reasons(clock, 0.5))
        await clock.advance(0.5)
        assert not asking.done()
        await clock.advance(0.5)
    assert asking.result() == [
        "draining",
        "queue: no answer within 0.5 s",
        "worker: something is missing",
        "other: no answer within 0.5 s",
    ]


async def test_a_mistake_in_a_check_is_not_taken_for_a_reason() -> None:
    async def mistaken() -> None:
        raise ZeroDivisionError

    readiness = Readiness()
    readiness.add("worker", mistaken)
    with pytest.raises(ZeroDivisionError):
        await readiness.reasons(FakeClock(), 1.0)


def test_the_repr_names_the_checks() -> None:
    readiness = Readiness()
    assert repr(readiness) == "<Readiness open, checks: none>"
    readiness.add("queue", well)
    readiness.draining = True
    assert repr(readiness) == "<Readiness draining, checks: queue>"
