"""The buckets of callers in Redis, on every kind of server."""

import asyncio
import re

import pytest

from fanout.queue.allowances import TAKE, Allowances, Taken, Wanted
from fanout.queue.keys import KEYS
from fanout.quota import Limits, Quota
from fanout.redis.client import RedisClient

NOTHING = Wanted(0.0)
SLOW = Limits(Quota(10, 3600), Quota(1000, 3600))  # hardly anything is added while a test runs


async def test_a_bucket_gives_what_is_needed_and_a_little_more_until_it_is_empty(redis_client: RedisClient) -> None:
    allowances = Allowances(redis_client)
    taken = await allowances.take("orders", SLOW, Wanted(1, 2), Wanted(100, 50))
    assert taken == Taken(3.0, 150.0, 7, 850, 0.0)
    taken = await allowances.take("orders", SLOW, Wanted(5, 20), NOTHING)
    assert (round(taken.requests), taken.size, taken.requests_left) == (7, 0, 0)
    taken = await allowances.take("orders", SLOW, Wanted(1), NOTHING)
    assert (taken.requests, taken.requests_left) == (0, 0)
    assert 350 < taken.wait <= 360
    assert (await allowances.take("billing", SLOW, Wanted(1), NOTHING)).requests == 1


async def test_both_are_taken_or_neither(redis_client: RedisClient) -> None:
    allowances = Allowances(redis_client)
    await allowances.take("orders", SLOW, NOTHING, Wanted(900))
    refused = await allowances.take("orders", SLOW, Wanted(1), Wanted(200))
    assert (refused.requests, refused.size, refused.requests_left, refused.size_left) == (0, 0, 10, 100)
    assert 350 < refused.wait <= 360
    assert (await allowances.take("orders", SLOW, Wanted(1), Wanted(100))).wait == 0


async def test_less_than_a_whole_request_is_none(redis_client: RedisClient) -> None:
    # A time in the future stands for "just now": nothing is added.
    key = KEYS.allowance(f"orders\n{SLOW.text}")
    await redis_client.call(("HSET", key, "n", "0.7", "b", "99.7", "at", "99999999999999"))
    refused = await Allowances(redis_client).take("orders", SLOW, Wanted(1), NOTHING)
    assert (refused.requests, refused.requests_left, refused.size_left) == (0, 0, 99)


async def test_what_is_larger_than_its_quota_is_let_through_once_and_paid_off(
    redis_client: RedisClient,
) -> None:
    allowances = Allowances(redis_client)
    taken = await allowances.take("orders", SLOW, Wanted(1), Wanted(3000, 500))
    assert (taken.size, taken.size_left) == (3000, -2000)
    refused = await allowances.take("orders", SLOW, Wanted(1), Wanted(1))
    assert 7100 < refused.wait <= 7210  # 2,001 bytes at 1,000 an hour
    assert (await allowances.take("orders", SLOW, Wanted(1), NOTHING)).wait == 0


async def test_a_bucket_fills_up_with_time_and_goes_when_it_is_full(redis_client: RedisClient) -> None:
    allowances, fast = Allowances(redis_client), Limits(Quota(1000, 1))
    assert (await allowances.take("orders", fast, Wanted(1000), NOTHING)).requests == 1000
    for _ in range(200):
        taken = await allowances.take("orders", fast, Wanted(1), NOTHING)
        if not taken.wait:
            break
        assert taken.wait <= 0.001
        await asyncio.sleep(taken.wait)
    assert taken.requests == 1
    [left] = await redis_client.call(("PTTL", KEYS.allowance("orders\n1000 requests/s")))
    assert 1000 < left <= 2001


async def test_many_at_once_get_no_more_than_there_is(redis_client: RedisClient) -> None:
    allowances = Allowances(redis_client)
    taken = await asyncio.gather(*[allowances.take("orders", SLOW, Wanted(1, 2), Wanted(1)) for _ in range(30)])
    assert sum(each.requests for each in taken) == pytest.approx(10, abs=0.1)


def test_the_script_asks_for_no_command_that_is_not_asked_for_already() -> None:
    assert set(re.findall(r"redis\.call\('([A-Z]+)'", TAKE.text)) == {"TIME", "HGET", "HSET", "PEXPIRE"}
