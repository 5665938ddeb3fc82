"""From values to the environment of the process, with nothing lost on the way.

Rules guarded: every setting of the process can be set through the chart under its camelCase name and with the same
bounds; and a credential is never outside a Secret.
"""

import base64
import hashlib
import json
import re
import shlex
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from fanout.environment import load, variable_of
from fanout.metrics import Metrics
from fanout.settings import ClientSettings, Settings
from tests.documents import PROXIES
from tests.helm.release import CHART, ROLES, Object, Release, chart, example, install, merged, render

CREDENTIALS = {
    "connection_string": "connectionString",
    "redis_url": "redisUrl",
    "redis_password": "redisPassword",
    "api_key": "apiKey",
    "second_access_key": "secondAccessKey",
}
KEYS_FILE = "apiKeys"  # a credential that the process only takes as a file
# Set by listenAddress, containerPort and adminPort or as extraEnv, or settings of the command line.
ELSEWHERE = {"auth", "host", "port", "admin_port", *PROXIES, *ClientSettings.model_fields}
EXTRA = {*PROXIES, "connection_string_settings"}  # given as extraEnv: few installations have them
FIELDS = sorted(set(Settings.model_fields) - set(CREDENTIALS) - ELSEWHERE - EXTRA)
BOUNDS = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "items")


def camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(word.capitalize() for word in rest)


def plain(value: Any) -> Any:
    """Write a default as YAML and JSON have it: a tuple is a list."""
    return list(value) if isinstance(value, tuple) else value


def offered() -> dict[str, Object]:
    """Read the schema of config: what the chart lets its users set."""
    schema = chart().schema
    assert schema is not None
    properties: dict[str, Object] = schema["definitions"]["config"]["properties"]
    return properties


def environment(release: Release, role: str) -> dict[str, str]:
    """Put the environment of a role's pod together, with the files that it names."""
    found = environment_of(release, release.container(role))
    files = mounted(release, role)
    written = Path(mkdtemp())
    for name, value in found.items():
        if value in files:
            copy = written / Path(value).name
            copy.write_text(files[value])
            found[name] = str(copy)
    return found


def environment_of(release: Release, container: Object) -> dict[str, str]:
    """Put the environment of a container together as the kubelet does, from the release's Secrets and ConfigMaps."""
    found: dict[str, str] = dict(release.settings())
    for variable in container["env"]:
        found[variable["name"]] = (
            variable["value"] if "value" in variable else secret_text(release, variable["valueFrom"]["secretKeyRef"])
        )
    return found


def secret_text(release: Release, source: Object) -> str:
    secrets = {thing["metadata"]["name"]: thing["data"] for thing in release.of_kind("Secret")}
    return base64.b64decode(secrets[source["name"]][source["key"]]).decode()


def mounted(release: Release, role: str) -> dict[str, str]:
    """Return the files that a role's container has from the release's Secrets, by their paths."""
    mounts = {mount["name"]: mount for mount in release.container(role)["volumeMounts"]}
    return {
        f"{mounts[volume['name']]['mountPath']}/{item['path']}": secret_text(
            release, {"name": source["secret"]["name"], "key": item["key"]}
        )
        for volume in release.pod(role)["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }


def test_every_secret_of_the_process_is_a_credential_of_the_chart() -> None:
    secret = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    assert secret - EXTRA == set(CREDENTIALS)
    assert set(chart().values["credentials"]) == {*CREDENTIALS.values(), KEYS_FILE}


def test_every_setting_is_offered_and_no_other() -> None:
    """A setting added to the process has to be added to helm/values.schema.json and helm/values.yaml."""
    assert sorted(offered()) == sorted(camel(field) for field in FIELDS)


@pytest.mark.parametrize("field", FIELDS)
def test_a_setting_has_the_same_type_bounds_and_default_in_the_chart(field: str) -> None:
    theirs, ours = Settings.model_json_schema()["properties"][field], offered()[camel(field)]
    assert {key: ours[key] for key in BOUNDS if key in ours} == {key: theirs[key] for key in BOUNDS if key in theirs}
    assert ours["default"] == plain(Settings.model_fields[field].default)
    assert ours["description"]


def test_values_show_every_setting_with_its_default() -> None:
    text = (CHART / "values.yaml").read_text()
    block = text.split("\nconfig: {}\n", 1)[1].split("\n\n", 1)[0]
    lines = [line.removeprefix("  # ") for line in block.splitlines()]
    shown = yaml.safe_load("\n".join(line for line in lines if re.match(r"[a-z][A-Za-z]*: ", line)))
    defaults = {camel(field): plain(Settings.model_fields[field].default) for field in FIELDS}
    assert shown == defaults


_VALUES: dict[str, Any] = {
    "caller_rate": "100/s",
    "caller_bytes": "1MiB/s",
    "path_prefix": "/news",
    "cors_headers": ["x-a", "x-b"],
    "hubs": ["chat", "news"],
    "metrics_hubs": ["chat", "news"],
    "negotiate_user": ["query"],
    "negotiate_peers": ["10.0.0.0/8", "192.0.2.7/32"],
    "negotiate_weights": ["default=2", "default-2=0.5"],
    "jwt_algorithms": ["ES256"],
}


# What has to stand beside a value.
_NEEDS: dict[str, Object] = {"redis_auth": {"credentials": {"redisUrl": {"existingSecret": "", "value": "rediss://h"}}}}


def _another(field: str) -> Any:
    """Choose a legal value of a field that is not its default."""
    if field in _VALUES:
        return _VALUES[field]
    schema = offered()[camel(field)]
    default = schema["default"]
    choices: dict[str, Any] = {
        "boolean": not default,
        "integer": default + 1 if isinstance(default, int) else None,
        "number": default / 2 if isinstance(default, float | int) else None,
        "string": "news",
        "array": schema.get("items", {}).get("enum", ["https://a.example", "https://b.example"])[:2],
    }
    if "enum" in schema:
        return next(choice for choice in schema["enum"] if choice != default)
    return choices[schema["type"]]


_KEPT_ELSEWHERE = {
    "AzureSignalRConnectionString": "Endpoint=https://a.example;AccessKey=bm90LWEtcmVhbC1rZXk=;Version=1.0;",
    "FANOUT_REDIS_URL": "rediss://redis.example:6380/0",
    "FANOUT_API_KEY": "the-key-of-the-examples",
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_setting_reaches_the_process(field: str) -> None:
    """The process reads back what the user wrote in values, through ConfigMap and environment."""
    value = _another(field)
    release = install(merged({"config": {camel(field): value}}, _NEEDS.get(field, {})), base="")
    assert list(release.settings()) == [variable_of(field)]
    variables = {each["name"]: each["value"] for each in release.container("ingress")["env"] if "value" in each}
    own = {name: value for name, value in variables.items() if not name.endswith("_FILE")}  # those are credentials
    settings = load({**release.settings(), **own, **_KEPT_ELSEWHERE})
    assert plain(getattr(settings, field)) == value


def test_large_numbers_are_written_in_full() -> None:
    """Helm hands numbers to templates as floats; 1e+06 is no whole number for the process."""
    data = install({"config": {"maxBytes": 12_345_678, "retryBase": 0.001}}).settings()
    assert data == {"FANOUT_MAX_BYTES": "12345678", "FANOUT_RETRY_BASE": "0.001"}


def test_the_drain_of_the_chart_starts_from_the_default_of_the_process() -> None:
    grace = install({"worker": {"terminationMarginSeconds": 1}}).pod("worker")["spec"]["terminationGracePeriodSeconds"]
    assert grace == Settings.model_fields["shutdown_grace"].default + 1


# Credentials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_files", [True, False])
def test_credentials_reach_the_process_that_needs_them(as_files: bool) -> None:
    more = {"redisPassword": {"value": "p%#/@"}, "secondAccessKey": {"value": "other"}}
    given = {**example("minimal")["credentials"], **more}
    release = install({"credentials": more, "mountCredentials": as_files})
    ingress, worker = (load(environment(release, role)) for role in ROLES)
    for field, name in CREDENTIALS.items():
        assert getattr(ingress, field).get_secret_value() == given[name]["value"]
    assert set(ingress.secret_files) == (set(CREDENTIALS) if as_files else set())
    assert worker.connection_string == ingress.connection_string
    assert (worker.redis_url, worker.redis_password) == (ingress.redis_url, ingress.redis_password)
    # A worker serves no callers.
    assert (worker.api_key.get_secret_value(), worker.second_access_key.get_secret_value()) == ("", "")


@pytest.mark.parametrize("as_files", [True, False])
def test_the_keys_of_callers_are_a_file_of_the_ingress(as_files: bool) -> None:
    keys = '{"id":"0123456789ab"}\n'
    release = install({"credentials": {"apiKeys": {"value": keys}}, "mountCredentials": as_files})
    path = environment(release, "ingress")["FANOUT_API_KEYS_FILE"]
    assert Path(path).read_text() == keys
    assert "FANOUT_API_KEYS_FILE" not in environment(release, "worker")
    assert keys not in mounted(release, "worker").values()
    assert bool(mounted(release, "worker")) is as_files
    for pod in (release.one("Pod"), *release.of_kind("Job")):
        assert "FANOUT_API_KEYS_FILE" not in json.dumps(pod)


def test_credentials_of_the_trial_are_files_too() -> None:
    release = render({"demo": True})
    settings = load(environment(release, "ingress"))
    assert set(settings.secret_files) == {"redis_password", "api_key"}
    assert "@" not in settings.redis_url.get_secret_value()


def test_no_file_is_mounted_by_itself_because_such_a_file_never_changes() -> None:
    mounts = install(base="full").container("ingress")["volumeMounts"]
    assert [mount for mount in mounts if "credentials" in mount["name"] and "subPath" not in mount]
    assert not [mount for mount in mounts if "subPath" in mount]


@pytest.mark.parametrize("base", ["minimal", "full"])
def test_no_credential_is_seen_outside_the_secret(base: str) -> None:
    release = render(example(base))
    given = [entry["value"] for entry in example(base)["credentials"].values() if "value" in entry]
    secret = json.dumps([base64.b64decode(text).decode() for text in release.one("Secret")["data"].values()])
    others = json.dumps([thing for thing in release.objects if thing["kind"] != "Secret"]) + release.notes
    assert given
    for text in given:
        assert text in secret
        assert text not in others
        assert base64.b64encode(text.encode()).decode() not in others


def test_credentials_kept_elsewhere_are_only_pointed_at() -> None:
    release = render(example("existing-secrets"))
    assert release.of_kind("Secret") == []
    (volume,) = (each for each in release.pod("ingress")["spec"]["volumes"] if "projected" in each)
    sources = [(each["secret"]["name"], each["secret"]["items"][0]) for each in volume["projected"]["sources"]]
    assert sources == [
        ("signalr", {"key": "primary", "path": "connection-string"}),
        ("signalr-west", {"key": "connection-string", "path": "endpoint-west"}),
        ("queue-redis", {"key": "url", "path": "redis-url"}),
        ("signalr", {"key": "front-door", "path": "api-key"}),
    ]


def test_credentials_kept_elsewhere_may_be_variables() -> None:
    release = render(merged(example("existing-secrets"), {"mountCredentials": False}))
    sources = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in release.container("ingress")["env"]
        if "valueFrom" in variable
    }
    assert sources == {
        "AzureSignalRConnectionString": {"name": "signalr", "key": "primary"},
        "Azure__SignalR__Endpoints__west__secondary": {"name": "signalr-west", "key": "connection-string"},
        "FANOUT_REDIS_URL": {"name": "queue-redis", "key": "url"},
        "FANOUT_API_KEY": {"name": "signalr", "key": "front-door"},
    }
    assert not [volume for volume in release.pod("ingress")["spec"]["volumes"] if "projected" in volume]


def test_callers_of_the_ingress_reach_no_metrics_and_no_administration() -> None:
    release = install()
    for role in ROLES:
        assert environment(release, role)["FANOUT_ADMIN_PORT"] == "9090"


# Rolling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_change_of_settings_or_credentials_rolls_the_pods(role: str) -> None:
    before = install().pod(role)
    setting = install({"config": {"logLevel": "debug"}}).pod(role)
    credential = install({"credentials": {"redisUrl": {"value": "redis://other.example"}}}).pod(role)
    assert before["metadata"] == setting["metadata"]
    assert before["spec"] != setting["spec"]
    assert before["spec"] == credential["spec"]
    assert before["metadata"]["annotations"] != credential["metadata"]["annotations"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("credential", "key", "place"),
    [
        (
            "connectionString",
            "Endpoint=https://a.example;AccessKey={};Version=1.0;",
            "Endpoint=https://b.example;AccessKey=k;",
        ),
        (
            "connectionString",
            "accesskey = {};Endpoint=https://a.example",
            "Endpoint=https://a.example;ServerEndpoint=x;",
        ),
        ("redisUrl", "rediss://user:{}@redis.example:6380/0", "rediss://user:one@other.example:6380/0"),
        ("redisUrl", "redis://:{}@redis.example", "redis://other:one@redis.example"),
    ],
)
def test_a_key_that_the_process_follows_rolls_nothing_and_another_place_does(
    role: str, credential: str, key: str, place: str
) -> None:
    texts = (key.format("one"), key.format("two+%40="), place)
    sums = [
        install({"credentials": {credential: {"value": text}}}).pod(role)["metadata"]["annotations"] for text in texts
    ]
    assert sums[0] == sums[1] != sums[2]


@pytest.mark.parametrize("role", ROLES)
def test_as_a_variable_every_credential_rolls_the_pods(role: str) -> None:
    sums = [
        install({"credentials": {"apiKey": {"value": key}}, "mountCredentials": False}).pod(role)["metadata"]
        for key in ("one" * 10, "two" * 10)
    ]
    assert sums[0] != sums[1]


def test_pods_of_two_versions_each_find_their_own_settings_while_a_rollout_is_under_way() -> None:
    """The ConfigMap is named by its content, never changed, and not deleted with the version that made it."""
    old, new = (install({"config": {"logLevel": level}}).one("ConfigMap") for level in ("debug", "warning"))
    assert old["metadata"]["name"] != new["metadata"]["name"]
    assert new["immutable"] is True
    assert new["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_sum_of_the_credentials_is_of_a_slow_derivation() -> None:
    """A plain hash of a short key could be tried offline, a billion times a second."""
    release = render(example("minimal"), of=chart())
    annotations = release.pod("ingress")["metadata"]["annotations"]
    sums = {hashlib.sha256(text.encode()).hexdigest() for text in _secret_texts(release)}
    assert len(annotations["checksum/credentials"]) == 16
    assert not any(each.startswith(annotations["checksum/credentials"]) for each in sums)


def _secret_texts(release: Release) -> list[str]:
    data = release.one("Secret")["data"]
    values = [base64.b64decode(text).decode() for text in data.values()]
    return [*values, yaml.safe_dump(data), json.dumps(data), "".join(values)]


@pytest.mark.parametrize("role", ROLES)
def test_the_same_values_roll_nothing(role: str) -> None:
    assert install().pod(role) == install({"service": {"port": 81}}).pod(role)


# Alerts and notes --------------------------------------------------------------------------------------------------


def test_alerts_ask_only_for_metrics_the_process_exports() -> None:
    exported = {definition.exported_name for definition in Metrics().definitions}
    text = json.dumps(render(example("full")).one("PrometheusRule")["spec"])
    asked = {re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"\b(fanout_\w+)\{", text)}
    assert len(asked) >= 5
    assert asked <= exported


def test_the_notes_give_a_request_that_sends_a_message() -> None:
    command = re.search(r"curl (?:.*\\\n)*.*", install().notes)
    assert command
    words = shlex.split(command[0].replace("\\\n", " "))
    assert words[2] == "http://127.0.0.1:8080/v1/hubs/chat/messages"
    assert "Authorization: Bearer $API_KEY" in words
    assert json.loads(words[-1]) == [{"target": "newMessage", "arguments": ["hello"]}]


def test_the_notes_tell_of_single_pods_and_of_secrets_kept_elsewhere() -> None:
    assert "NOTE" not in install().notes
    assert "worker runs as one pod" in install({"worker": {"replicaCount": 1}}).notes
    assert "rollout restart" in render(example("existing-secrets")).notes
