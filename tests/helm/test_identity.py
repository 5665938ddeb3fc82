"""Microsoft Entra ID in the chart: a service by identity, workload identity, and what would do nothing."""

from typing import Any

import helm_python
import pytest

from fanout.environment import load
from fanout.signalr.connection_string import ConnectionString
from tests.helm.release import ROLES, Object, Release, chart, example, merged, render

CLIENT = "66666666-7777-8888-9999-000000000000"
URI = "https://example.service.signalr.net"
LABEL = "azure.workload.identity/use"
ANNOTATION = "azure.workload.identity/client-id"
BY_IDENTITY: Object = merged(
    example("minimal"),
    {
        "credentials": {"connectionString": {"value": ""}},
        "identity": {"serviceUri": URI, "workload": True, "clientId": CLIENT},
        "doctor": {"enabled": True},
    },
)
MANAGED = merged(BY_IDENTITY, {"identity": {"workload": False}})


def pods(release: Release) -> list[Object]:
    """Return what has labels and the spec of every pod: of the roles, of the doctor and of the test."""
    templates = [thing["spec"]["template"] for thing in release.objects if thing["kind"] in {"Deployment", "Job"}]
    return [*templates, *release.of_kind("Pod")]


def variables(pod: Object) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}


@pytest.fixture(scope="module")
def workload() -> Release:
    return render(BY_IDENTITY)


def test_every_pod_that_calls_the_service_gets_a_token_of_its_own(workload: Release) -> None:
    account = workload.one("ServiceAccount")
    assert account["metadata"]["annotations"] == {ANNOTATION: CLIENT}
    assert len(pods(workload)) == 4
    for pod in pods(workload):
        assert pod["metadata"]["labels"][LABEL] == "true"
        assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
    for role in ROLES:
        selector = workload.one("Deployment", f"-{role}")["spec"]["selector"]["matchLabels"]
        assert LABEL not in selector  # a selector cannot be changed


@pytest.mark.parametrize(
    ("values", "kind"), [(BY_IDENTITY, "workload"), (MANAGED, "managed")], ids=["workload", "managed"]
)
def test_the_process_reads_what_the_chart_writes(values: Object, kind: str) -> None:
    release = render(values)
    for pod in pods(release):
        environ = {name: value for name, value in variables(pod).items() if name.startswith("AzureSignalR")}
        assert "AzureSignalRConnectionString" not in environ
        service = ConnectionString.parse(load(environ).connection_string.get_secret_value())
        assert service.entra is not None
        assert (service.endpoint, service.entra.kind, service.entra.client_id) == (URI, kind, CLIENT)
    labelled = [LABEL in pod["metadata"]["labels"] for pod in pods(release)]
    assert set(labelled) == {kind == "workload"}


def test_no_secret_holds_a_connection_string(workload: Release) -> None:
    assert all("connection-string" not in secret.get("data", {}) for secret in workload.of_kind("Secret"))


def test_the_annotations_of_the_account_stay_and_its_tenant_may_be_named() -> None:
    more = {"serviceAccount": {"annotations": {"team": "push"}}, "identity": {"tenantId": CLIENT}}
    annotations = render(merged(BY_IDENTITY, more)).one("ServiceAccount")["metadata"]["annotations"]
    assert annotations == {"team": "push", ANNOTATION: CLIENT, "azure.workload.identity/tenant-id": CLIENT}


def test_a_label_that_is_given_by_hand_is_there_once() -> None:
    values = merged(BY_IDENTITY, {"worker": {"podLabels": {LABEL: "true"}}})
    assert render(values).pod("worker")["metadata"]["labels"][LABEL] == "true"


@pytest.mark.parametrize("values", [BY_IDENTITY, MANAGED], ids=["workload", "managed"])
def test_the_network_policy_leaves_a_way_to_the_authority(values: Object) -> None:
    policy: Object = {"enabled": True, "scrapers": [{"podSelector": {}}], "service": {"to": [{"podSelector": {}}]}}
    release = render(merged(values, {"networkPolicy": policy}))
    rules = release.one("NetworkPolicy", "-worker")["spec"]["egress"]
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} in rules
    machine = [rule for rule in rules if {"ipBlock": {"cidr": "169.254.169.254/32"}} in rule.get("to", [])]
    assert len(machine) == (not values["identity"]["workload"])
    without = render(merged(example("minimal"), {"networkPolicy": policy}))
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} not in without.one("NetworkPolicy", "-worker")["spec"][
        "egress"
    ]


ENTRA_REDIS: Object = {"redisAuth": "entra"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"credentials": {"connectionString": {"value": "Endpoint=https://h;AccessKey=k;"}}},
            "identity.serviceUri and credentials.connectionString both name",
        ),
        ({"demo": True}, "demo: true delivers to the emulator, and identity.serviceUri"),
        ({"identity": {"serviceUri": ""}}, "credentials.connectionString is required: .* or identity.serviceUri"),
        (
            {
                "identity": {"serviceUri": ""},
                "credentials": {"connectionString": {"value": "Endpoint=https://h;AccessKey=k;"}},
            },
            "identity: nothing is called by identity",
        ),
        ({"identity": {"clientId": ""}}, "identity.workload: true needs identity.clientId"),
        (
            {"serviceAccount": {"annotations": {ANNOTATION: "00000000-0000-0000-0000-000000000000"}}},
            "name different identities",
        ),
        ({"config": ENTRA_REDIS}, "credentials.redisUrl.value has to begin with rediss://"),
        (
            {"config": ENTRA_REDIS, "credentials": {"redisUrl": {"value": ""}}},
            "The bundled Valkey takes passwords",
        ),
        (
            {
                "config": ENTRA_REDIS,
                "credentials": {"redisUrl": {"value": "rediss://h"}, "redisPassword": {"value": "hush"}},
            },
            "config.redisAuth: entra logs in with a token",
        ),
    ],
)
def test_what_would_do_nothing_or_not_work_is_refused(values: Object, message: str) -> None:
    with pytest.raises(helm_python.HelmError, match=message) as caught:
        render(merged(BY_IDENTITY, values))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"identity": {"serviceUri": "http://example.service.signalr.net"}},
        {"identity": {"clientId": "me"}},
        {"identity": {"clientSecret": "hush"}},
    ],
)
def test_a_value_that_cannot_be_one_is_refused(values: Object) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        chart().validate_schema(merged(BY_IDENTITY, values))


@pytest.mark.parametrize(
    "values",
    [
        {
            "identity": {"serviceUri": ""},
            "credentials": {"connectionString": {"value": "Endpoint=https://h;AuthType=azure"}},
        },
        {"identity": {"serviceUri": ""}, "credentials": {"connectionString": {"existingSecret": "elsewhere"}}},
        {"identity": {"clientId": ""}, "serviceAccount": {"annotations": {ANNOTATION: CLIENT}}},
        {"identity": {"clientId": ""}, "serviceAccount": {"create": False, "name": "made-elsewhere"}},
        {"config": ENTRA_REDIS, "credentials": {"redisUrl": {"value": "rediss://user@h:10000?cluster=true"}}},
    ],
)
def test_other_ways_to_say_the_same_are_taken(values: Object) -> None:
    release = render(merged(BY_IDENTITY, values))
    assert all(LABEL in pod["metadata"]["labels"] for pod in pods(release))
