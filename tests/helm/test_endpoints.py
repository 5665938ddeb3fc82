"""Several endpoints in the chart: each from a Secret made elsewhere, the same for every pod."""

import base64

import helm_python
import pytest

from fanout.environment import load
from tests.helm.release import ROLES, install, render
from tests.helm.test_settings import environment

EAST = "Endpoint=https://east.example;AccessKey=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ;Version=1.0;"
ENDPOINTS = [
    {"name": "east", "existingSecret": "signalr-east"},
    {"name": "west", "existingSecret": "signalr-west", "key": "text", "secondary": True},
]


# The Secrets that somebody else makes, so that what a pod finds in them can be read here.
SECRETS = [
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"signalr-{name}"},
        "data": {key: base64.b64encode(EAST.replace("east", name).encode()).decode()},
    }
    for name, key in (("east", "connection-string"), ("west", "text"))
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("as_files", [True, False])
def test_every_pod_gets_every_endpoint_from_its_secret(role: str, as_files: bool) -> None:
    """As files they are what the process follows: it keeps the path of each."""
    values = {"endpoints": ENDPOINTS, "extraObjects": SECRETS, "mountCredentials": as_files}
    settings = load(environment(install(values), role))
    kinds = [(each.name, each.type) for each in settings.named_connections]
    assert kinds == [("east", "Primary"), ("west", "Secondary")]
    for each in settings.named_connections:
        assert each.text.get_secret_value() == EAST.replace("east", each.name)
        assert bool(each.path) is as_files
    followed = {"Azure__SignalR__Endpoints__east", "Azure__SignalR__Endpoints__west__secondary"}
    assert followed & set(settings.secret_files) == (followed if as_files else set())


@pytest.mark.parametrize("kind", ["Job", "Pod"])
def test_what_runs_once_has_the_endpoints_as_variables(kind: str) -> None:
    """The doctor and the test have no volume with credentials."""
    found = install({"endpoints": ENDPOINTS, "doctor": {"enabled": True}}).one(kind)
    spec = found["spec"]["template"]["spec"] if kind == "Job" else found["spec"]
    sources = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in spec["containers"][0]["env"]
        if each["name"].startswith("Azure__SignalR")
    }
    assert sources == {
        "Azure__SignalR__Endpoints__east": {"name": "signalr-east", "key": "connection-string"},
        "Azure__SignalR__Endpoints__west__secondary": {"name": "signalr-west", "key": "text"},
    }


def test_a_secret_and_a_key_of_digits_stay_text() -> None:
    pod = install({"endpoints": [{"name": "east", "existingSecret": "2026", "key": "01"}]}).pod("worker")
    (sources,) = (each["projected"]["sources"] for each in pod["spec"]["volumes"] if "projected" in each)
    assert {"secret": {"name": "2026", "items": [{"key": "01", "path": "endpoint-east"}]}} in sources


@pytest.mark.parametrize("other", ["east", "EAST"])
def test_two_endpoints_of_one_name_are_refused(other: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=rf"endpoints: two are named {other}"):
        install({"endpoints": [{"name": name, "existingSecret": "s"} for name in ("east", other)]})


def test_the_demo_delivers_to_the_emulator_alone() -> None:
    with pytest.raises(helm_python.HelmRenderError, match="demo: true delivers to the emulator alone"):
        render({"demo": True, "endpoints": ENDPOINTS})


def test_an_identity_may_be_that_of_an_endpoint_whose_connection_string_is_not_seen() -> None:
    identity = {"workload": True, "clientId": "00000000-0000-0000-0000-000000000001"}
    pod = install({"endpoints": ENDPOINTS, "identity": identity}).pod("worker")
    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"


def test_the_notes_say_what_a_changed_secret_of_an_endpoint_needs() -> None:
    followed, at_start = (
        install({"endpoints": ENDPOINTS, "mountCredentials": as_files}).notes for as_files in (True, False)
    )
    assert "follow a new key or password in an existing Secret" in followed
    assert "do not see a change of an existing Secret until they restart" in at_start


@pytest.mark.parametrize(
    "endpoint",
    [
        {"name": "east"},
        {"existingSecret": "s"},
        {"name": "a b", "existingSecret": "s"},
        {"name": "Default", "existingSecret": "s"},
        {"name": "secondary", "existingSecret": "s"},
        {"name": "east_FILE", "existingSecret": "s"},
        {"name": "east", "value": EAST},
    ],
)
def test_an_endpoint_that_no_process_would_take_is_refused(endpoint: dict[str, str]) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="endpoints"):
        install({"endpoints": [endpoint]})
