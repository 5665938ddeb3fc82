"""What the chart brings along for trying it, and the message that `helm test` sends.

Rules guarded: one value installs the chart, none installs the demo; what is made for it stays apart from the roles; the
notes say that it is for trying; the test sees a message delivered, and fails where no worker delivers.
"""

import asyncio
import base64
import os
import re
import sys
from pathlib import Path

import pytest

from fanout.environment import load
from fanout.signalr.connection_string import ConnectionString
from tests.helm.release import CHART, ROLES, install, matches, render
from tests.helm.test_settings import environment
from tests.service.programs import ROOT, program, service_at

SERVICE = {"credentials": {"connectionString": {"value": "Endpoint=https://x.example;AccessKey=abc;Version=1.0;"}}}
SCRIPT = CHART / "files" / "delivery_test.py"


def test_one_value_installs_everything() -> None:
    release = render(SERVICE)
    assert [thing["metadata"]["name"] for thing in release.of_kind("StatefulSet")] == ["demo-signalr-fanout-valkey"]
    assert release.notes.count("FOR TRYING IT") == 1
    for role in ROLES:
        assert load(environment(release, role)).connection_string.get_secret_value().startswith("Endpoint=https://x")


def test_none_installs_the_demo_which_delivers_to_its_emulator() -> None:
    release = render({"demo": True})
    settings = load(environment(release, "ingress"))
    service = ConnectionString.parse(settings.connection_string.get_secret_value())
    emulator = release.one("Service", "-emulator")["metadata"]
    assert service.endpoint == f"http://{emulator['name']}.{emulator['namespace']}:8888"
    assert release.one("Deployment", "-emulator")["spec"]["template"]["spec"]["containers"][0]["args"][0] == "emulate"
    assert release.notes.count("FOR TRYING IT") == 2


def test_an_installation_with_a_redis_and_a_key_brings_none_of_it() -> None:
    release = install()
    assert release.of_kind("StatefulSet") == []
    assert [thing["metadata"]["name"] for thing in release.of_kind("Secret")] == ["demo-signalr-fanout-credentials"]
    assert "FOR TRYING IT" not in release.notes


def test_the_bundled_valkey_forgets_nothing_and_is_closed() -> None:
    container = render({"demo": True}).one("StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    (command,) = container["args"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert '--requirepass "$VALKEY_PASSWORD"' in command


def test_a_password_and_a_key_are_made_and_reach_both_sides() -> None:
    release = render({"demo": True})
    data = {name: base64.b64decode(text).decode() for name, text in release.one("Secret")["data"].items()}
    assert {name: len(text) for name, text in data.items()} == {"api-key": 40, "valkey-password": 40}
    settings = load(environment(release, "ingress"))
    assert settings.api_key.get_secret_value() == data["api-key"]
    assert settings.redis_url.get_secret_value() == "redis://demo-signalr-fanout-valkey.prod:6379/0"
    assert settings.redis_password.get_secret_value() == data["valkey-password"]


def test_what_is_made_is_kept_where_a_cluster_has_it() -> None:
    """The engine renders without a cluster here, so the template itself is asked."""
    template = (CHART / "templates" / "_trial.tpl").read_text()
    kept = re.search(r'define "signalr-fanout.kept".*?\{\{- end -\}\}', template, re.DOTALL)
    assert kept
    assert 'lookup "v1" "Secret"' in kept[0]


def test_no_selector_of_the_roles_takes_what_is_for_trying() -> None:
    release = render({"demo": True})
    trial = [release.one("StatefulSet"), release.one("Deployment", "-emulator")]
    services = [thing for thing in release.of_kind("Service") if not thing["metadata"]["name"].endswith("-valkey")]
    for pod in (thing["spec"]["template"]["metadata"]["labels"] for thing in trial):
        taken = [one["metadata"]["name"] for one in services if matches(one["spec"]["selector"], pod)]
        assert taken in ([], ["demo-signalr-fanout-emulator"])


def test_both_roles_in_one_pod_are_one_deployment() -> None:
    release = install({"mode": "all"})
    assert [thing["metadata"]["name"] for thing in release.of_kind("Deployment")] == ["demo-signalr-fanout-ingress"]
    assert release.container("ingress")["args"][:3] == ["serve", "--role", "all"]
    assert len(release.of_kind("PodDisruptionBudget")) == 1


# The message of `helm test` -------------------------------------------------------------------------------------------


def test_the_test_runs_the_script_with_the_credentials_of_the_release() -> None:
    for values in ({}, {"ingress": {"enabled": False}}):
        pod = install(values).one("Pod")
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        container = pod["spec"]["containers"][0]
        assert container["command"] == ["python", "-c"]
        assert container["args"][0].strip() == SCRIPT.read_text().strip()
        names = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert {"AzureSignalRConnectionString", "FANOUT_REDIS_URL", "FANOUT_API_KEY"} <= names.keys()
        assert names["TEST_URL"] == ("" if values else "http://demo-signalr-fanout.prod:80")


async def outcome_of(script: str, **environ: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, env={"PATH": os.environ["PATH"], **environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.process
async def test_a_message_is_sent_through_the_ingress_and_seen_delivered(tmp_path: Path) -> None:
    async with program(tmp_path, "dev", "--port", "0", "--emulator-port", "0", TMPDIR=str(tmp_path)) as fanout:
        await fanout.until(lambda: "Ctrl-C stops everything" in fanout.out)
        urls = re.findall(r"http://[^\s/]+:\d+/\S*", fanout.out)
        emulator = next(url for url in urls if "emulator" in url)
        port = int(emulator.split(":")[2].split("/")[0])
        code, output = await outcome_of(
            SCRIPT.read_text(), TEST_URL=urls[0].rstrip("/"), AzureSignalRConnectionString=service_at(port)
        )
    assert (code, output.splitlines()[-1]) == (0, "delivered"), output


@pytest.mark.process
async def test_where_no_worker_delivers_the_test_fails(tmp_path: Path, redis_url: str) -> None:
    """A release of workers alone, all of them down: the test's own ingress takes the message, and nothing comes."""
    script = SCRIPT.read_text().replace("PATIENCE = 60.0", "PATIENCE = 2.0")
    async with program(tmp_path, "emulate", "--port", "0") as emulator:
        await emulator.until(lambda: "Port=" in emulator.out + emulator.err)
        port = int(re.findall(r"Port=(\d+)", emulator.out + emulator.err)[0])
        code, output = await outcome_of(
            script, TEST_URL="", AzureSignalRConnectionString=service_at(port), FANOUT_REDIS_URL=redis_url,
            FANOUT_API_KEY="k" * 32,
        )  # fmt: skip
    assert code == 1
    assert "accepted and not delivered" in output
