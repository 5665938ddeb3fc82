"""Several endpoints in the chart: each from a Secret made elsewhere, the same for every pod."""

import helm_python
import pytest

from fanout.environment import load
from tests.helm.release import ROLES, install

EAST = "Endpoint=https://east.example;AccessKey=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ;Version=1.0;"
ENDPOINTS = [
    {"name": "east", "existingSecret": "signalr-east"},
    {"name": "west", "existingSecret": "signalr-west", "key": "text", "secondary": True},
]


@pytest.mark.parametrize("role", ROLES)
def test_every_pod_gets_every_endpoint_from_its_secret(role: str) -> None:
    variables = {each["name"]: each for each in install({"endpoints": ENDPOINTS}).container(role)["env"]}
    sources = {
        name: each["valueFrom"]["secretKeyRef"] for name, each in variables.items() if name.startswith("Azure__SignalR")
    }
    assert sources == {
        "Azure__SignalR__Endpoints__east": {"name": "signalr-east", "key": "connection-string"},
        "Azure__SignalR__Endpoints__west__secondary": {"name": "signalr-west", "key": "text"},
    }
    found = load(dict.fromkeys(sources, EAST)).named_connections
    assert [(each.name, each.type) for each in found] == [("east", "Primary"), ("west", "Secondary")]


@pytest.mark.parametrize(
    "endpoint",
    [
        {"name": "east"},
        {"existingSecret": "s"},
        {"name": "a b", "existingSecret": "s"},
        {"name": "Default", "existingSecret": "s"},
        {"name": "secondary", "existingSecret": "s"},
        {"name": "east", "value": EAST},
    ],
)
def test_an_endpoint_that_no_process_would_take_is_refused(endpoint: dict[str, str]) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="endpoints"):
        install({"endpoints": [endpoint]})
