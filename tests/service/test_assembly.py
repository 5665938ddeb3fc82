"""What settings mean for delivery."""

import pytest

from fanout.clock import SystemClock
from fanout.settings import load
from fanout.signalr.connection_string import ConnectionString
from service.assembly import ceilings_of, open_client, policy_of
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
