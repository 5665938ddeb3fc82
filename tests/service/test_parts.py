"""What both sides of a process share, opened and looked over."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.queue.traces import TraceEvent
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.settings import load
from service.dev.private_redis import private_redis
from service.parts import open_parts
from tests.builders import a_submission
from tests.fakes import FakeClock


async def test_a_store_that_does_not_answer_is_waited_for_and_then_named_with_what_to_do(tmp_path: Path) -> None:
    clock, place = FakeClock(), tmp_path / "none.sock"
    opening = open_parts(load({}, redis_url=f"unix://{place}"), clock)
    entering = asyncio.ensure_future(opening.__aenter__())
    await settled(clock, 4.9)
    assert not entering.done()
    await settled(clock, 1.0)
    with pytest.raises(ConfigurationError, match="FANOUT_REDIS_URL"):
        await asyncio.wait_for(entering, 5)


async def settled(clock: FakeClock, seconds: float) -> None:
    """Let so much time pass in small steps: what waits for a socket needs the real loop to turn in between."""
    for _ in range(int(seconds * 10)):
        await clock.advance(0.1)
        await asyncio.sleep(0.001)


async def test_a_store_that_comes_up_in_time_is_used(tmp_path: Path) -> None:
    clock = SystemClock()
    async with private_redis(clock) as url:
        place = url.removeprefix("unix://").partition("?")[0]
        link = tmp_path / "late.sock"
        async with asyncio.TaskGroup() as group:
            opening = open_parts(load({}, redis_url=f"unix://{link}"), clock)
            entering = group.create_task(opening.__aenter__())
            await asyncio.sleep(0.3)
            assert not entering.done()
            link.symlink_to(place)
        parts = entering.result()
        await parts.stream.ping()
        await opening.__aexit__(None, None, None)


async def test_the_parts_work_together_and_are_closed_at_the_end(redis_url: str) -> None:
    settings = load({}, redis_url=redis_url, partitions=3, trace_keep=60)
    async with open_parts(settings, SystemClock()) as parts:
        assert parts.traces is not None
        assert [receipt.admission for receipt in await parts.stream.append([a_submission()])] == ["accepted"]
        parts.traces.note("m1", TraceEvent(1.0, "accepted"))
        text = parts.metrics.render().decode()
    assert 'fanout_queue_depth{partition="2"} 0.0' in text
    assert "fanout_trace_events_lost_total 0.0" in text
    async with open_parts(settings, SystemClock()) as again:
        assert again.traces is not None
        assert await again.traces.of("m1") == [TraceEvent(1.0, "accepted")]
        assert sum((await again.stream.depth()).entries) == 1


async def test_another_number_of_partitions_than_the_stores_is_refused(redis_url: str) -> None:
    async with open_parts(load({}, redis_url=redis_url, partitions=3), SystemClock()):
        pass
    with pytest.raises(ConfigurationError, match="3"):
        async with open_parts(load({}, redis_url=redis_url, partitions=4), SystemClock()):
            pytest.fail("it opened")


async def test_a_store_that_may_lose_what_was_accepted_is_named_at_start() -> None:
    clock = SystemClock()
    options = ("--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    async with private_redis(clock, options=options) as url:
        with capture_logs() as lines:
            async with open_parts(load({}, redis_url=url), clock):
                pass
    findings = " ".join(line["finding"] for line in lines if line["event"] == "store.unsafe")
    assert "allkeys-lru" in findings
    assert "append" in findings.lower()


async def test_in_the_end_no_connection_is_left(redis_url: str) -> None:
    redis_client = open_redis(redis_url, SystemClock())
    async with open_parts(load({}, redis_url=redis_url), SystemClock()) as parts:
        await parts.stream.ping()
        assert await connections(redis_client) >= 2
    async with asyncio.timeout(5):
        while await connections(redis_client) != 1:  # noqa: ASYNC110 - the server tells nobody when it has noticed
            await asyncio.sleep(0.01)
    await redis_client.aclose()


async def connections(redis_client: RedisClient) -> int:
    """Count the connections the server has."""
    text: bytes = await redis_client.ask("INFO", "clients")
    return int(text.split(b"connected_clients:")[1].split()[0])
