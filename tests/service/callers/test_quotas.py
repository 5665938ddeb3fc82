"""Limits of callers: spent here without asking, asked for in Redis, refused with when to come again."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fanout.caller_metrics import CallerMetrics
from fanout.errors import QueueError, RateLimitedError
from fanout.metrics import INGRESS
from fanout.queue.allowances import Allowances, Taken, Wanted
from fanout.quota import Limits, Quota, limits_of
from fanout.redis.client import RedisClient
from service.callers.quotas import Quotas, policy_of
from service.callers.roles import caller_with, parse_roles
from tests.fakes import FakeClock
from tests.service.apps import BATCH, ITEM, KEY, App, an_app, client_of, metric

HUNDRED = Limits(Quota(100, 1), Quota(10_000, 1))


class Bucket:
    """A store that gives what it has, and counts how often it is asked."""

    def __init__(self, requests: float, size: float) -> None:
        self.left = [requests, size]
        self.asked = 0
        self.away = False

    async def take(self, caller: str, limits: Limits, requests: Wanted, size: Wanted) -> Taken:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise QueueError("Redis is away.")
        wanted = (requests, size)
        if any(each.need > left for each, left in zip(wanted, self.left, strict=True)):
            return Taken(0, 0, int(self.left[0]), int(self.left[1]), 0.5)
        taken = [min(each.need + each.more, left) for each, left in zip(wanted, self.left, strict=True)]
        self.left = [left - each for left, each in zip(self.left, taken, strict=True)]
        return Taken(taken[0], taken[1], int(self.left[0]), int(self.left[1]), 0.0)


def quotas_of(bucket: Bucket, clock: FakeClock) -> Quotas:
    return Quotas(bucket, clock, CallerMetrics(INGRESS, ["orders"]))


async def test_most_requests_ask_nobody() -> None:
    bucket, clock = Bucket(100, 10_000), FakeClock()
    quotas = quotas_of(bucket, clock)
    for _ in range(50):
        await quotas.spend("orders", HUNDRED, 50)
    assert bucket.asked == 5  # ten at a time
    await asyncio.gather(*[quotas.spend("orders", HUNDRED, 1) for _ in range(30)])
    assert bucket.asked == 8


async def test_who_has_sent_enough_is_refused_and_for_a_moment_without_asking() -> None:
    bucket, clock = Bucket(3, 10_000), FakeClock()
    quotas = quotas_of(bucket, clock)
    for _ in range(3):
        await quotas.spend("orders", HUNDRED, 1)
    for _ in range(10):
        with pytest.raises(RateLimitedError, match="may send 100 requests/s and 10000/s of bodies") as refused:
            await quotas.spend("orders", HUNDRED, 1)
        assert refused.value.retry_after == 0.5
        assert refused.value.headers["RateLimit"].startswith('"requests";r=0;t=1')
    assert bucket.asked == 2
    bucket.left[0] = 100
    await clock.advance(0.2)
    await quotas.spend("orders", HUNDRED, 1)
    assert bucket.asked == 3


async def test_answers_say_what_is_left_and_when_it_is_full_again() -> None:
    bucket, clock = Bucket(100, 10_000), FakeClock()
    quotas = quotas_of(bucket, clock)
    headers = await quotas.spend("orders", HUNDRED, 4000)
    assert headers == {
        "RateLimit-Policy": '"requests";q=100;w=1, "bytes";q=10000;w=1;qu="content-bytes"',
        "RateLimit": '"requests";r=99;t=1, "bytes";r=6000;t=1',
    }
    await clock.advance(0.25)
    assert (await quotas.spend("orders", HUNDRED, 0))["RateLimit"] == '"requests";r=100;t=0, "bytes";r=8500;t=1'
    assert policy_of(Limits(Quota(6000, 60))) == '"requests";q=6000;w=60'


async def test_what_was_not_announced_is_owed() -> None:
    bucket, clock = Bucket(100, 5000), FakeClock()
    quotas = quotas_of(bucket, clock)
    await quotas.spend("orders", HUNDRED, 0)
    quotas.owe("orders", HUNDRED, 4500)
    await quotas.spend("orders", HUNDRED, 100)
    assert bucket.left[1] <= 400
    quotas.owe("orders", HUNDRED, 4500)
    with pytest.raises(RateLimitedError):
        await quotas.spend("orders", HUNDRED, 100)


async def test_without_redis_nobody_with_a_limit_is_let_through_unseen() -> None:
    bucket, clock = Bucket(100, 5000), FakeClock()
    bucket.away = True
    with pytest.raises(QueueError):
        await quotas_of(bucket, clock).spend("orders", HUNDRED, 0)
    assert await Quotas(None, clock, CallerMetrics(INGRESS, ())).spend("orders", HUNDRED, 0) == {}


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.callers.quotas._MAX_CALLERS", 3)
    quotas = quotas_of(Bucket(100, 5000), FakeClock())
    for number in range(5):
        await quotas.spend(f"caller-{number}", HUNDRED, 0)
    assert len(quotas._allowances) == 3


def test_a_role_may_state_limits_and_the_largest_of_several_counts() -> None:
    meanings = parse_roles(("A=send:* rate:100/s bytes:1MiB/s", "B=read:* rate:12000/m", "C=send:*"))
    assert caller_with("x", ["A", "B", "C"], meanings).limits == limits_of("12000/m", "1MiB/s")
    assert caller_with("x", ["C"], meanings).limits is None
    for entry in ("A=send:* rate:fast", "A=send:* bytes:1/d"):
        with pytest.raises(ValueError, match="must be a"):
            parse_roles((entry,))


# Over HTTP ----------------------------------------------------------------------------------------------------


def limited(one_redis: RedisClient, **settings: Any) -> App:
    return replace(an_app(api_key=KEY, **settings), allowances=Allowances(one_redis))


def rate_headers(headers: Mapping[str, str]) -> list[str | None]:
    return [headers.get(name) for name in ("RateLimit-Policy", "RateLimit")]


async def test_a_caller_past_its_limit_is_answered_429_with_what_it_may_send(one_redis: RedisClient) -> None:
    app = limited(one_redis, caller_rate="3/h", caller_bytes="1MiB/h")
    async with client_of(app, X_API_Key=KEY) as client:
        for left in (2, 1, 0):
            answer = await client.post(BATCH, json=ITEM)
            assert answer.status_code == 202
            assert f'"requests";r={left};t=' in answer.headers["RateLimit"]
        refused = await client.post(BATCH, json=ITEM)
        other = await client.get("/backlog")
    assert (refused.status_code, refused.json()["code"]) == (429, "rateLimited")
    assert 1000 < int(refused.headers["Retry-After"]) <= 1200
    assert refused.headers["RateLimit-Policy"] == '"requests";q=3;w=3600, "bytes";q=1048576;w=3600;qu="content-bytes"'
    assert refused.headers["RateLimit"].startswith('"requests";r=0;t=3600')
    assert metric(app, "fanout_refused_requests_total", code="rateLimited") == 1
    assert other.status_code != 429  # looking and acting are not limited


async def test_bytes_count_whether_they_are_announced_or_not(one_redis: RedisClient) -> None:
    async def chunks() -> Any:
        yield b'{"target":"t","arguments":["'
        yield b"x" * 600
        yield b'"]}'

    headers = {"Content-Type": "application/json"}
    async with client_of(limited(one_redis, caller_bytes="1000/h"), X_API_Key=KEY) as client:
        first = await client.post(BATCH, content=chunks(), headers=headers)
        assert first.status_code == 202
        # What it owes and this body are more than there is, and are let through together because the bucket is full.
        assert (await client.post(BATCH, json={"target": "t", "arguments": ["y" * 500]})).status_code == 202
        assert (await client.post(BATCH, json={"target": "t", "arguments": []})).status_code == 429
        huge = await client.post(BATCH, content=b"{}", headers={**headers, "Content-Length": "99999999999999999999"})
        assert huge.status_code in (413, 429)


async def test_without_a_limit_there_is_no_header(one_redis: RedisClient) -> None:
    async with client_of(limited(one_redis), X_API_Key=KEY) as client:
        answer = await client.post(BATCH, json=ITEM)
    assert (answer.status_code, rate_headers(answer.headers)) == (202, [None, None])
