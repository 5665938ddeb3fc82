"""What a process is given: its store, opened and looked over, and what settings mean for delivery."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.errors import ConfigurationError
from fanout.metrics import Metrics
from fanout.queue.traces import TraceEvent
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.message import RouteClass
from service.compose import build_worker, ceilings_of, open_endpoint, open_resources, policy_of, prepare_store
from service.dev.private_redis import private_redis
from tests.builders import a_submission

KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"


def test_without_units_no_class_has_a_ceiling() -> None:
    assert ceilings_of(load({})) == {}


def test_units_give_the_published_rates() -> None:
    assert ceilings_of(load({"FANOUT_UNITS": "5"})) == {RouteClass.SEND: 1000.0, RouteClass.BROADCAST: 2.0}


def test_a_rate_that_is_named_wins_over_units() -> None:
    settings = load({"FANOUT_UNITS": "5", "FANOUT_SEND_RATE": "70", "FANOUT_BROADCAST_RATE": "9"})
    assert ceilings_of(settings) == {RouteClass.SEND: 70.0, RouteClass.BROADCAST: 9.0}


@pytest.mark.parametrize(("value", "repeats"), [("retry", True), ("dead", False)])
def test_what_an_unknown_outcome_means_is_a_setting(value: str, *, repeats: bool) -> None:
    assert policy_of(load({"FANOUT_OUTCOME_UNKNOWN": value})).retry_unknown is repeats


async def test_a_server_endpoint_with_a_path_is_called_at_its_origin() -> None:
    service = ConnectionString.parse(f"Endpoint=http://a;AccessKey={KEY};ServerEndpoint=http://gate:9000/signalr;")
    endpoint = open_endpoint(load({}), SystemClock(), Metrics(), service)
    assert "http://gate:9000" in repr(endpoint.client.pool)
    assert "signalr" not in repr(endpoint.client.pool)
    await endpoint.aclose()


async def test_a_service_with_a_path_is_called_below_it_and_named_in_tokens_as_the_setting_says() -> None:
    text = f"Endpoint=http://a.example;AccessKey={KEY};ServerEndpoint=http://gate:9000/signalr;"
    service = ConnectionString.parse(text)
    for audience, host in (("endpoint", "http://a.example"), ("server", "http://gate:9000/signalr")):
        endpoint = open_endpoint(load({}, audience=audience), SystemClock(), Metrics(), service)
        assert endpoint.client._address.prefix == "/signalr"
        assert endpoint.client._address.audience == host
        await endpoint.aclose()


@pytest.mark.parametrize(
    ("settings", "joins"),
    [({}, False), ({"execute": "true"}, True), ({"execute": "true", "application": "shop"}, False)],
)
async def test_messages_share_calls_where_that_is_said_and_no_application_is_named(
    redis_url: str, settings: dict[str, Any], *, joins: bool
) -> None:
    """The hub of `:execute` cannot carry an application's prefix."""
    service = ConnectionString.parse(f"Endpoint=http://127.0.0.1;AccessKey={KEY};")
    configured = load({}, redis_url=redis_url, **settings)
    async with open_resources(configured, SystemClock()) as resources:
        endpoint = open_endpoint(configured, SystemClock(), resources.metrics, service)
        assert (endpoint.sender.bounds is not None) is joins
        await endpoint.aclose()


async def test_the_state_of_a_new_worker_can_be_read_as_metrics(redis_url: str) -> None:
    service = ConnectionString.parse(f"Endpoint=http://127.0.0.1;AccessKey={KEY};")
    configured = load({}, redis_url=redis_url, units=2, concurrency=64)
    async with open_resources(configured, SystemClock()) as resources:
        endpoint = open_endpoint(configured, SystemClock(), resources.metrics, service)
        build_worker(resources, [endpoint])
        lines = resources.metrics.render().decode().splitlines()
        await endpoint.aclose()
    assert "fanout_window 6.0" in lines
    assert 'fanout_rate_limit{class="send"} 400.0' in lines
    assert 'fanout_rate_limit{class="broadcast"} 2.0' in lines
    assert 'fanout_rate_limit{class="action"} +Inf' in lines
    assert 'fanout_rate_share{class="send"} 1.0' in lines
    assert 'fanout_breaker_open{class="send"} 0.0' in lines
    assert "fanout_tokens 0.0" in lines


async def test_a_secure_service_is_called_with_tls_and_the_machines_authorities() -> None:
    secure = ConnectionString.parse(f"Endpoint=https://a.example;AccessKey={KEY};")
    plain = ConnectionString.parse(f"Endpoint=http://a.example;AccessKey={KEY};")
    for service, wanted in ((secure, True), (plain, False)):
        endpoint = open_endpoint(load({}), SystemClock(), Metrics(), service)
        assert (endpoint.client.pool._tls is not None) is wanted
        await endpoint.aclose()


# The store ------------------------------------------------------------------------------------------------------------


async def test_the_resources_work_together_and_are_closed_at_the_end(redis_url: str) -> None:
    settings = load({}, redis_url=redis_url, partitions=3, trace_keep=60)
    async with open_resources(settings, SystemClock()) as resources:
        assert resources.traces is not None
        assert [receipt.admission for receipt in await resources.stream.append([a_submission()])] == ["accepted"]
        resources.traces.record("m1", TraceEvent(1.0, "accepted"))
        text = resources.metrics.render().decode()
    assert "fanout_trace_events_lost_total 0.0" in text
    async with open_resources(settings, SystemClock()) as again:
        assert again.traces is not None
        assert await again.traces.events_of("m1") == [TraceEvent(1.0, "accepted")]
        assert sum((await again.stream.depth()).entries) == 1


async def test_another_number_of_partitions_than_the_stores_is_refused(redis_url: str) -> None:
    async with open_resources(load({}, redis_url=redis_url, partitions=3), SystemClock()) as resources:
        await prepare_store(resources)
    async with open_resources(load({}, redis_url=redis_url, partitions=4), SystemClock()) as other:
        with pytest.raises(ConfigurationError, match="first used with 3 partitions"):
            await prepare_store(other)


async def test_a_store_that_may_lose_what_was_accepted_is_named_at_start() -> None:
    clock = SystemClock()
    options = ("--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    async with private_redis(clock, options=options) as url:
        with capture_logs() as lines:
            async with open_resources(load({}, redis_url=url), clock) as resources:
                await prepare_store(resources)
    findings = " ".join(line["finding"] for line in lines if line["event"] == "store.unsafe")
    assert "allkeys-lru" in findings
    assert "append" in findings.lower()


async def test_in_the_end_no_connection_is_left(redis_url: str) -> None:
    redis_client = open_redis(redis_url, SystemClock())
    async with open_resources(load({}, redis_url=redis_url), SystemClock()) as resources:
        await resources.stream.ping()
        assert await connections(redis_client) >= 2
    async with asyncio.timeout(5):
        while await connections(redis_client) != 1:  # noqa: ASYNC110 - the server tells nobody when it has noticed
            await asyncio.sleep(0.01)
    await redis_client.aclose()


async def connections(redis_client: RedisClient) -> int:
    """Count the connections the server has."""
    text: bytes = await redis_client.ask("INFO", "clients")
    return int(text.split(b"connected_clients:")[1].split()[0])
