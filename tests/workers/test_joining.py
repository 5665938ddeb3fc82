"""`:execute` is used while there is a proof for it that no refusal has contradicted."""

import asyncio

from fanout.clock import SystemClock
from fanout.metrics import Metrics
from fanout.queue.evidence import Evidence
from fanout.redis.client import RedisClient
from fanout.signalr.client import Sender
from fanout.signalr.outcome import Answered
from tests.fakes import FakeClock
from tests.workers.helpers import Lines, until
from tests.workers.scripted_service import calling
from workers.joining import BACKLOG, Joining

HERE = "https://a.example"
REFUSED = Answered(404, "", None)


async def test_a_proof_is_found_trusted_until_a_refusal_and_replaced_by_a_later_one(redis_client: RedisClient) -> None:
    evidence, clock, lines = Evidence(redis_client), FakeClock(), Lines()
    async with calling(1) as client, asyncio.TaskGroup() as group:
        sender = Sender(client, SystemClock(), Metrics())
        task = group.create_task(Joining(evidence, HERE, sender, clock, lines.log).run())
        await until(lambda: clock.sleeping == 1)
        assert sender.bounds is None

        await evidence.record(HERE, proved=True, at=1.0)
        await clock.advance(30.0)
        await until(lambda: sender.bounds == BACKLOG)

        assert sender.refused_joining(REFUSED)
        await until(lambda: clock.sleeping == 1)
        await clock.advance(1000.0)
        await until(lambda: clock.sleeping == 1)
        assert sender.bounds is None

        await evidence.record(HERE, proved=True, at=2.0)
        await clock.advance(30.0)
        await until(lambda: sender.bounds == BACKLOG)
        await evidence.record(HERE, proved=False, at=3.0)
        await until(lambda: clock.sleeping == 1)
        await clock.advance(30.0)
        await until(lambda: sender.bounds is None)
        task.cancel()
    assert len(lines.of("execute.allowed")) == 2
