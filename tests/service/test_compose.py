"""What settings mean for delivery."""

from typing import Any

import pytest

from fanout.clock import SystemClock
from fanout.settings import load
from fanout.signalr.connection_string import ConnectionString
from service.compose import build_worker, ceilings_of, open_client, policy_of
from service.parts import open_parts
from workers.route_class import RouteClass

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
    client = open_client(load({}), SystemClock(), service)
    assert "http://gate:9000" in repr(client.pool)
    assert "signalr" not in repr(client.pool)
    await client.aclose()


async def test_a_service_with_a_path_is_called_below_it_and_named_in_tokens_as_the_setting_says() -> None:
    text = f"Endpoint=http://a.example;AccessKey={KEY};ServerEndpoint=http://gate:9000/signalr;"
    service = ConnectionString.parse(text)
    for audience, host in (("endpoint", "http://a.example"), ("server", "http://gate:9000/signalr")):
        client = open_client(load({}, audience=audience), SystemClock(), service)
        assert client._address.prefix == "/signalr"
        assert client._address.audience == host
        await client.aclose()


@pytest.mark.parametrize(
    ("settings", "joins"),
    [({}, False), ({"execute": True}, True), ({"execute": True, "application": "shop"}, False)],
)
async def test_messages_share_calls_where_that_is_said_and_no_application_is_named(
    redis_url: str, settings: dict[str, Any], *, joins: bool
) -> None:
    """The hub of `:execute` cannot carry an application's prefix."""
    service = ConnectionString.parse(f"Endpoint=http://127.0.0.1;AccessKey={KEY};")
    configured = load({}, redis_url=redis_url, **settings)
    async with open_parts(configured, SystemClock()) as parts:
        client = open_client(configured, SystemClock(), service)
        worker = build_worker(parts, client)
        assert (worker.crew.couriers._sender.bounds is not None) is joins
        await client.aclose()


async def test_the_state_of_a_new_worker_can_be_read_as_metrics(redis_url: str) -> None:
    service = ConnectionString.parse(f"Endpoint=http://127.0.0.1;AccessKey={KEY};")
    configured = load({}, redis_url=redis_url, units=2, concurrency=64)
    async with open_parts(configured, SystemClock()) as parts:
        client = open_client(configured, SystemClock(), service)
        build_worker(parts, client)
        lines = parts.metrics.render().decode().splitlines()
        await client.aclose()
    assert "fanout_window 64.0" in lines
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
        client = open_client(load({}), SystemClock(), service)
        assert (client.pool._tls is not None) is wanted
        await client.aclose()
