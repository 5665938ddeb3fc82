"""The chart's alerts from end to end: faults in a running stack, Prometheus, Alertmanager, and who is told."""

from pathlib import Path

import pytest

from tests.flow.stack import LEASE, PARTITIONS, Stack
from tests.flow.watching import PROGRAMS, watching

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(None in PROGRAMS.values(), reason="Prometheus or Alertmanager is not on PATH"),
    pytest.mark.timeout(300),
]
ITEMS = [{"target": "t", "arguments": ["x"], "userId": f"user{number}"} for number in range(50)]


async def test_a_service_that_fails_is_told_and_so_is_its_end(stack: Stack, hub: str, tmp_path: Path) -> None:
    worker = await stack.add_worker()
    await stack.shared_as(PARTITIONS)
    async with watching(tmp_path, {"heldBack": "3s"}) as watch:
        watch.scrape([stack.ingress, worker])
        await watch.scraped(2)
        await stack.post(hub, ITEMS)
        await stack.drained()
        await stack.faults({"kind": "status", "status": 503})
        await stack.post(hub, ITEMS)
        await watch.told("FanoutHeldBack")
        await stack.faults()
        await stack.drained(within=60.0)
        await watch.over()
    assert watch.ever == {"FanoutHeldBack"}


async def test_workers_that_are_not_scraped_are_not_taken_for_workers_that_do_not_run(
    stack: Stack, tmp_path: Path
) -> None:
    worker = await stack.add_worker()
    await stack.shared_as(PARTITIONS)
    async with watching(tmp_path, {"workersNotScraped": "5s"}) as watch:
        watch.scrape([stack.ingress])
        await watch.told("FanoutWorkersNotScraped")
        watch.scrape([stack.ingress, worker])
        await watch.over()
    assert watch.ever == {"FanoutWorkersNotScraped"}


async def test_partitions_whose_worker_died_are_told_until_another_one_has_them(stack: Stack, tmp_path: Path) -> None:
    worker = await stack.add_worker(lease_seconds=LEASE)
    await stack.shared_as(PARTITIONS)
    async with watching(tmp_path, {"partitionsWithoutOwner": "5s"}) as watch:
        watch.scrape([stack.ingress])
        await watch.scraped(1)
        await worker.kill()
        await watch.told("FanoutPartitionsWithoutOwner")
        watch.scrape([stack.ingress, await stack.add_worker()])
        await watch.over()
    assert watch.ever == {"FanoutPartitionsWithoutOwner"}


async def test_a_redis_that_dies_is_told_and_nothing_old_is_taken_for_new(stack: Stack, tmp_path: Path) -> None:
    worker = await stack.add_worker()
    await stack.shared_as(PARTITIONS)
    async with watching(tmp_path, {"redisDown": "3s"}) as watch:
        watch.scrape([stack.ingress, worker])
        await watch.scraped(2)
        await stack.redis.kill()
        try:
            await watch.told("FanoutRedisDown")
        finally:
            await stack.redis.revive()
        await watch.over()
    assert watch.ever == {"FanoutRedisDown"}
