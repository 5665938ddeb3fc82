"""The instances of the service: told apart by name and place."""

import pytest

from fanout.errors import ConfigurationError
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint


def at(name: str, host: str) -> ServiceEndpoint:
    service = ConnectionString.parse(f"Endpoint=https://{host};AccessKey=key;Version=1.0;")
    return ServiceEndpoint(name, service, variable=f"V{name}")


def test_the_one_without_a_name_comes_first_and_people_call_it_default() -> None:
    endpoints = Endpoints.of([at("West", "w.net"), at("", "d.net"), at("east", "e.net")])
    assert endpoints.keys == ("", "east", "west")
    assert endpoints.labels == ("default", "east", "west")
    assert (endpoints.first.name, len(endpoints)) == ("", 3)


@pytest.mark.parametrize(
    ("endpoints", "problem"),
    [
        ([at("east", "a.net"), at("EAST", "b.net")], "VEAST and Veast are one name"),
        ([at("", "a.net"), at("east", "A.net")], "Veast and V name the same instance"),
        ([at(f"e{k}", f"{k}.net") for k in range(17)], "at most 16"),
    ],
)
def test_endpoints_that_cannot_be_told_apart_are_refused(endpoints: list[ServiceEndpoint], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Endpoints.of(endpoints)
