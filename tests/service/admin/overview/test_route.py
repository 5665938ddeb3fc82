"""The route of the overview, on a real store: what it answers, and how often it asks."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.queue.pauses import ALL, Pauses
from fanout.queue.stream import Stream
from fanout.queue.survey import Survey, Surveyor
from fanout.redis.client import RedisClient
from service.admin.overview.looks import Looks
from tests.fakes import FakeClock
from tests.fanout.queue.test_survey import PARTITIONS, entry
from tests.service.apps import KEY, App, an_app, client_of
from tests.service.memory_queue import MemoryQueue

PATH = "/v1/admin/overview"


class CountingSurveyor(Surveyor):
    """Counts how often it looks, and fails while it is told to."""

    looks = 0
    error: QueueError | None = None

    async def look(self) -> Survey:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return await super().look()


def an_app_on(one_redis: RedisClient, **settings: Any) -> App:
    surveyor = Surveyor(one_redis, SystemClock(), partitions=PARTITIONS)
    return replace(an_app(**settings), surveyor=surveyor, pauses=Pauses(one_redis))


@pytest.mark.lengthy
async def test_the_whole_queue_is_one_document(one_redis: RedisClient) -> None:
    stream = Stream(one_redis, SystemClock(), partitions=PARTITIONS, max_bytes=0, dedup_window=60.0)
    await stream.append([entry("chat"), entry("chat", "alice"), entry("news")])
    await Pauses(one_redis).put(ALL, seconds=None, by="operator", cause="an update")
    async with client_of(an_app_on(one_redis)) as client:
        answer = await client.get(PATH, params={"hubs": "1"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    found = answer.json()
    assert [(each["hub"], each["entries"], each["acceptedPerSecond"]) for each in found["hubs"]] == [("chat", 2, None)]
    assert (found["otherHubs"]["hubs"], found["otherHubs"]["entries"], found["queue"]["entries"]) == (1, 1, 3)
    assert [each["partition"] for each in found["partitions"]] == list(range(PARTITIONS))
    assert {each["owner"] for each in found["partitions"]} == {None}
    assert [each["cause"] for each in found["pauses"]] == ["an update"]
    assert [(each["endpoint"], each["configured"], each["entries"]) for each in found["endpoints"]] == [
        ("default", True, 3)
    ]


@pytest.mark.parametrize("query", ["hubs=0", "hubs=201", "hubs=many", "hubs=1e1", "hub=chat", "hubs=-1", "hubs="])
async def test_a_query_that_means_nothing_is_refused(one_redis: RedisClient, query: str) -> None:
    async with client_of(an_app_on(one_redis)) as client:
        assert (await client.get(f"{PATH}?{query}")).status_code == 400


async def test_without_a_key_nothing_is_told(one_redis: RedisClient) -> None:
    async with client_of(an_app_on(one_redis, api_key=KEY)) as client:
        assert (await client.get(PATH)).status_code == 401
        assert (await client.get(PATH, headers={"X-API-Key": KEY})).status_code == 200


async def test_many_consoles_cost_as_much_as_one(one_redis: RedisClient) -> None:
    clock, surveyor = FakeClock(), CountingSurveyor(one_redis, SystemClock(), partitions=PARTITIONS)
    looks = Looks(surveyor, Pauses(one_redis), MemoryQueue().memory_ratio, clock)
    first = await asyncio.gather(*(looks.latest() for _ in range(10)))
    assert (surveyor.looks, {id(each) for each in first}) == (1, {id(first[0])})
    await clock.advance(1.0)
    second = await looks.latest()
    assert (surveyor.looks, second.overview.seconds > 0) == (2, True)
    await clock.advance(60.0)
    assert (await looks.latest()).overview.seconds == 0  # a rate over an idle minute says nothing of now


async def test_a_redis_that_is_silent_holds_nobody_up(one_redis: RedisClient) -> None:
    class Silent(CountingSurveyor):
        async def look(self) -> Survey:
            await asyncio.Event().wait()
            raise AssertionError

    clock = FakeClock()
    looks = Looks(Silent(one_redis, clock, partitions=1), Pauses(one_redis), MemoryQueue().memory_ratio, clock)
    asked = asyncio.gather(looks.latest(), looks.latest(), return_exceptions=True)
    await clock.advance(3.0)
    assert [str(each) for each in await asked] == ["Redis did not answer within 3 s."] * 2


async def test_a_redis_that_is_away_is_not_asked_more_often(one_redis: RedisClient) -> None:
    clock, surveyor = FakeClock(), CountingSurveyor(one_redis, SystemClock(), partitions=PARTITIONS)
    looks = Looks(surveyor, Pauses(one_redis), MemoryQueue().memory_ratio, clock)
    surveyor.error = QueueError("Redis is away.")
    for _ in range(5):
        with pytest.raises(QueueError, match="away"):
            await looks.latest()
    assert surveyor.looks == 1
    surveyor.error = None
    await clock.advance(1.0)
    assert (await looks.latest()).survey.partitions
