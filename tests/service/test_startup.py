"""What is checked before a process serves, and what it waits for."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from fanout.environment import load
from fanout.errors import ConfigurationError, QueueError
from fanout.log import get_logger
from fanout.metrics import Metrics
from service.app import Role
from service.doctor.probe import Access, ProbeResult
from service.http.probes import Readiness
from service.startup import CheckedQueue, check_settings, open_queue, watch_access
from tests.fakes import FakeClock
from tests.service.memory_queue import MemoryQueue


@asynccontextmanager
async def during(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block; it has to end within it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        assert task.done()


GOOD = "Endpoint=https://a.example;AccessKey=key;Version=1.0;"


def test_settings_that_can_work_name_the_service() -> None:
    endpoints = check_settings(load({}, auth="none", connection_string=GOOD), "all")
    assert endpoints is not None
    assert [each.service.endpoint for each in endpoints] == ["https://a.example"]


@pytest.mark.parametrize(("role", "needed"), [("all", True), ("worker", True), ("ingress", False)])
def test_who_delivers_needs_a_service(role: Role, *, needed: bool) -> None:
    if not needed:
        assert check_settings(load({}, auth="none"), role) is None
        return
    with pytest.raises(ConfigurationError, match="AzureSignalRConnectionString is not set"):
        check_settings(load({}), role)


@pytest.mark.parametrize("role", ["all", "worker", "ingress"])
def test_a_connection_string_that_is_wrong_is_refused_for_every_role(role: Role) -> None:
    with pytest.raises(ConfigurationError, match="Endpoint"):
        check_settings(load({}, connection_string="Endpoint=nowhere;AccessKey=k;"), role)


def test_every_finding_is_reported_at_once() -> None:
    settings = load({}, connection_string="AccessKey=k", redis_url="http://x", host="0.0.0.0")
    with pytest.raises(ConfigurationError) as caught:
        check_settings(settings, "all")
    assert len(caught.value.findings) == 3
    with pytest.raises(ConfigurationError) as caught:
        check_settings(settings, "worker")
    assert len(caught.value.findings) == 2


def test_endpoints_have_the_weights_that_the_settings_give_them_by_name() -> None:
    environ = {
        "AzureSignalRConnectionString": GOOD,
        "Azure__SignalR__Endpoints__East": GOOD.replace("a.", "b."),
        "Azure__SignalR__Endpoints__west": GOOD.replace("a.", "c."),
        "FANOUT_AUTH": "none",
    }
    endpoints = check_settings(load({**environ, "FANOUT_NEGOTIATE_WEIGHTS": "DEFAULT=0, east=2.5"}), "all")
    assert endpoints is not None
    assert {each.label: each.weight for each in endpoints} == {"default": 0, "east": 2.5, "west": 1}
    unknown = load({**environ, "FANOUT_NEGOTIATE_WEIGHTS": "east=1,eats=2,north=1"})
    text = "NEGOTIATE_WEIGHTS names eats, north, and there is no such endpoint: default, east, west is configured"
    with pytest.raises(ConfigurationError, match=text):
        check_settings(unknown, "all")
    with pytest.raises(ConfigurationError, match="there is no such endpoint: none is configured"):
        check_settings(load({"FANOUT_AUTH": "none", "FANOUT_NEGOTIATE_WEIGHTS": "east=1"}), "ingress")
    with pytest.raises(ConfigurationError, match="FANOUT_NEGOTIATE_WEIGHTS"):
        load({"FANOUT_NEGOTIATE_WEIGHTS": ",".join(f"e{number}=1" for number in range(17))})
    for text in ("east", "east=-1", "east=x", "east=1,East=1"):
        with pytest.raises(ConfigurationError, match="FANOUT_NEGOTIATE_WEIGHTS: number"):
            load({"FANOUT_NEGOTIATE_WEIGHTS": text})


async def test_nothing_reaches_the_queue_before_it_has_been_checked() -> None:
    memory = MemoryQueue()
    queue = CheckedQueue(memory)
    queue.keep_closed("Redis is away.")
    for call in (queue.append([]), queue.claim_key("chat", "k", b""), queue.depth(), queue.ping()):
        with pytest.raises(QueueError, match=r"Redis is away\."):
            await call
    assert memory.asked_depth == 0
    queue.open()
    await queue.ping()
    assert await queue.claim_key("chat", "k", b"")
    assert await queue.append([]) == []
    assert (await queue.depth()).oldest_age == 0


async def test_redis_that_is_away_is_waited_for_with_a_line_now_and_then() -> None:
    clock, queue, attempts = FakeClock(), CheckedQueue(MemoryQueue()), []

    async def prepare() -> None:
        attempts.append(clock.monotonic())
        if len(attempts) < 40:
            raise QueueError("Redis cannot be reached.")

    with capture_logs() as lines:
        async with during(open_queue(queue, prepare, clock, get_logger())):
            await clock.settle()
            with pytest.raises(QueueError, match="cannot be reached"):
                await queue.ping()
            await clock.advance(600)
    await queue.ping()
    assert attempts[1] - attempts[0] < 1
    assert max(later - earlier for earlier, later in pairwise(attempts)) <= 5
    waited = attempts[-1] - attempts[0]
    assert 1 < len(lines) <= waited / 10 + 1
    assert {(line["event"], line["reason"]) for line in lines} == {("store.waiting", "Redis cannot be reached.")}


async def test_redis_that_cannot_be_used_ends_the_wait() -> None:
    async def prepare() -> None:
        raise ConfigurationError("It has 8 partitions.")

    with pytest.raises(ConfigurationError, match="8 partitions"):
        await open_queue(CheckedQueue(MemoryQueue()), prepare, FakeClock(), get_logger())


async def test_access_is_asked_for_until_it_is_granted_and_each_refusal_is_reported() -> None:
    clock, readiness, metrics = FakeClock(), Readiness(), Metrics()
    answers = [Access.UNAVAILABLE, Access.KEY_REFUSED, Access.VERSION_REFUSED, Access.GRANTED]
    seen: list[tuple[list[str], float]] = []

    async def ask() -> ProbeResult:
        seen.append((readiness.warnings, metrics.registry.get_sample_value("fanout_service_key_refused") or 0))
        return ProbeResult(answers[len(seen) - 1], f"answer {len(seen)}")

    with capture_logs() as lines:
        async with during(watch_access(ask, readiness, metrics, clock, get_logger(), asyncio.Event())):
            await clock.advance(600)
    assert seen == [([], 0), (["service: answer 1"], 0), (["service: answer 2"], 1), (["service: answer 3"], 0)]
    assert readiness.warnings == []
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "service.unavailable"),
        ("error", "service.key_refused"),
        ("error", "service.version_refused"),
        ("info", "service.access_granted"),
    ]


async def test_a_key_that_was_renewed_is_tried_at_once() -> None:
    clock, readiness, renewed = FakeClock(), Readiness(), asyncio.Event()
    answers = [Access.KEY_REFUSED, Access.KEY_REFUSED, Access.GRANTED]

    async def ask() -> ProbeResult:
        return ProbeResult(answers.pop(0), "the key is refused")

    async with during(watch_access(ask, readiness, Metrics(), clock, get_logger(), renewed)):
        for left in (2, 1, 0):
            await clock.advance(0)
            assert (len(answers), len(readiness.warnings)) == (left, 1 if left else 0)
            renewed.set()
