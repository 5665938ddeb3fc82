"""What is refused is counted each time and logged a few times."""

import asyncio

from structlog.testing import capture_logs

from fanout.errors import REFUSALS
from fanout.metrics import Metrics
from service.http.problems import PROBLEM_TYPES, Problem
from service.http.refusals import ANSWER_UNREAD, Refusals
from tests.fakes import FakeClock
from tests.service.apps import BATCH, ITEM, KEY, an_app, client_of, metric

WHERE = {"request_id": "r", "peer": "192.0.2.7", "method": "POST", "path": "/v1/hubs/chat/messages"}


def test_every_code_has_a_series() -> None:
    assert set(REFUSALS) == {*PROBLEM_TYPES, ANSWER_UNREAD}


def test_the_log_has_some_lines_of_many_and_each_says_what_it_left_out() -> None:
    clock, metrics = FakeClock(), Metrics()
    refusals = Refusals(metrics, clock)
    with capture_logs() as lines:
        for _ in range(100):
            refusals.note(Problem("unauthorized", 401, "No."), **WHERE)
        refusals.note(Problem("bodyTooLarge", 413, "No."), **WHERE)
        clock.jump(11)
        refusals.note(Problem("unauthorized", 401, "No."), **WHERE)
        refusals.note(Problem("unauthorized", 401, "No."), **WHERE)
    audited = [line for line in lines if line["event"] == "audit.refused"]
    lines = [line for line in lines if line not in audited]
    assert [line.get("left_out", 0) for line in audited] == [0] * 10 + [90, 0]
    unauthorized = [line for line in lines if line["code"] == "unauthorized"]
    assert len(unauthorized) == 12
    assert [line.get("left_out", 0) for line in unauthorized] == [0] * 10 + [90, 0]
    assert {line["log_level"] for line in unauthorized} == {"warning"}
    assert len(lines) == 13
    assert metrics.refused["unauthorized"].value == 102
    assert metrics.refused["bodyTooLarge"].value == 1


async def test_each_way_to_be_refused_leaves_a_line_without_secrets_and_a_count() -> None:
    app = an_app(api_key=KEY)
    with capture_logs() as lines:
        async with client_of(app, peer="192.0.2.7") as client:
            await client.post(BATCH, json=ITEM, headers={"X-API-Key": "a-wrong-key-of-some-length"})
            for content, media_type in ((b"{", "application/json"), (b"[]", "text/html"), (b"{}", "application/json")):
                headers = {"X-API-Key": KEY, "Content-Type": media_type}
                await client.post(f"{BATCH}?key={KEY}", content=content, headers=headers)
            await client.post("/chat/negotiate?userId=alice")
            await client.get(f"/nothing?key={KEY}")
    refused = [line for line in lines if line["event"] == "request.refused"]
    assert [(line["status"], line["code"]) for line in refused] == [
        (401, "wrongKey"),
        (400, "invalidJson"),
        (415, "unsupportedMediaType"),
        (400, "invalidItems"),
        (401, "unauthorized"),
        (404, "notFound"),
    ]
    assert {line["peer"] for line in refused} == {"192.0.2.7"}
    assert [line["path"] for line in refused[:2]] == [BATCH, BATCH]
    assert KEY not in str(lines)
    assert "wrong-key" not in str(lines)
    assert metric(app, "fanout_refused_requests_total", code="unauthorized") == 1
    assert metric(app, "fanout_refused_requests_total", code="invalidJson") == 1


async def test_many_wrong_keys_of_one_peer_are_answered_more_slowly_and_nobody_else_waits() -> None:
    clock, wrong = FakeClock(), {"X-API-Key": "a-wrong-key-of-some-length"}
    app = an_app(api_key=KEY, clock=clock)
    async with client_of(app, peer="192.0.2.7") as client, asyncio.TaskGroup() as group:
        for _ in range(10):
            assert (await client.post(BATCH, json=ITEM, headers=wrong)).status_code == 401
        eleventh = group.create_task(client.post(BATCH, json=ITEM, headers=wrong))
        await clock.settle()
        assert not eleventh.done()
        assert (await client.post(BATCH, json=ITEM, headers={"X-API-Key": KEY})).status_code == 202
        assert (await client.post(BATCH, json=ITEM)).status_code == 401
        await clock.advance(0.11)
        assert (await eleventh).json()["code"] == "wrongKey"
        clock.jump(61)
        assert (await client.post(BATCH, json=ITEM, headers=wrong)).status_code == 401


async def test_only_some_answers_wait_at_a_time() -> None:
    clock, metrics = FakeClock(), Metrics()
    refusals = Refusals(metrics, clock)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(refusals.slow_down(Problem("wrongKey", 401, ""), "p")) for _ in range(100)]
        await clock.settle()
        assert sum(not task.done() for task in waiting) == 32
        await clock.advance(2)
    assert all(task.done() for task in waiting)
