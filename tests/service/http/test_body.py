"""What a body may be: its type, its size, what all of them take, and a client that leaves before its end."""

import asyncio
import json

import httpx
import pytest

from fanout.errors import OverloadedError
from service.http.request import ByteBudget
from tests.service.apps import BATCH, ITEM, an_app, client_of, metric, served
from tests.service.memory_queue import MemoryQueue


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=UTF-8", "text/json", "text/plain", "application/cloudevents+json"],
)
async def test_json_is_taken_under_each_of_its_names(content_type: str) -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(BATCH, content=json.dumps(ITEM), headers={"Content-Type": content_type})
    assert answer.status_code == 202


async def test_a_body_without_a_type_is_taken() -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(BATCH, content=json.dumps(ITEM).encode())
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_a_body_that_is_not_plain_json_is_refused_with_415(headers: dict[str, str]) -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(BATCH, content=json.dumps(ITEM), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupportedMediaType")


async def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    app = an_app(max_body=1024)
    async with served(app) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {BATCH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 413 ")


async def test_a_body_without_a_length_is_refused_as_soon_as_it_passes_the_limit() -> None:
    queue = MemoryQueue()
    async with served(an_app(queue, max_body=1024)) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {BATCH} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        writer.write(b"800\r\n" + b" " * 0x800 + b"\r\n")  # and no last chunk
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert queue.stored == []


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    body = json.dumps(ITEM).encode().ljust(1024)
    async with served(an_app(max_body=1024)) as url, httpx.AsyncClient() as client:
        assert (await client.post(url + BATCH, content=body)).status_code == 202
        assert (await client.post(url + BATCH, content=body + b" ")).status_code == 413
        assert (await client.post(url + BATCH, json=ITEM)).status_code == 202


async def test_a_client_that_leaves_in_the_middle_queues_nothing_and_makes_no_noise(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = MemoryQueue()
    app = an_app(queue)
    async with served(app) as url:
        host, port = url.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps(ITEM).encode()
        writer.write(
            f"POST {BATCH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body) + 1}\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(5):
            while metric(app, "fanout_ingress_requests_total", status="4xx") == 0:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.01)
    assert queue.stored == []
    assert [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")] == []
    assert "Traceback" not in "".join(capsys.readouterr())


def test_a_budget_refuses_what_does_not_fit_and_has_it_back_afterwards() -> None:
    budget = ByteBudget(100)
    with budget.hold(60) as first:
        with pytest.raises(OverloadedError):
            budget.hold(50)
        with budget.hold(40):
            assert budget.held == 100
            with pytest.raises(OverloadedError):
                first.resize(61)
            assert (budget.held, first.size) == (100, 60)
        first.resize(90)
        first.resize(10)
        with budget.hold(90):
            assert budget.held == 100
    assert budget.held == 0


def test_one_holder_alone_may_take_more_than_there_is() -> None:
    budget = ByteBudget(100)
    with budget.hold(500) as only:
        only.resize(600)
        with pytest.raises(OverloadedError):
            budget.hold(1)
        only.resize(10)
        with budget.hold(90):
            assert budget.held == 100
    assert budget.held == 0


def test_a_holder_that_fails_gives_everything_back() -> None:
    budget = ByteBudget(100)
    with pytest.raises(ValueError, match="x"), budget.hold(60):
        raise ValueError("x")
    assert budget.held == 0
