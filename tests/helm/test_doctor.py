"""The Job that examines the service after an installation.

Rules guarded: it runs as the pods that deliver do, so what it proves holds for them; no selector of a role takes it for
one of theirs; its command, run as it is rendered, examines a real service and records what it found.
"""

import re
from pathlib import Path

import pytest

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.queue.evidence import Evidence
from fanout.queue.keys import Keys
from fanout.redis.open import open_redis
from tests.helm.release import ROLES, Object, example, install, matches, merged, render
from tests.helm.test_settings import environment, environment_of
from tests.service.programs import program, service_at

ON: Object = {"doctor": {"enabled": True}}


def container_of(job: Object) -> Object:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_it_is_made_only_where_it_is_asked_for() -> None:
    assert install().of_kind("Job") == []
    job = install(ON).one("Job", "-doctor")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    assert job["spec"]["activeDeadlineSeconds"] > 0


def test_it_runs_in_the_environment_of_the_pods_that_deliver() -> None:
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    mount, volume = {"name": "ca", "mountPath": "/ca"}, {"name": "ca", "configMap": {"name": "ca"}}
    worker = {"extraEnv": [proxy], "extraVolumeMounts": [mount], "extraVolumes": [volume], "nodeSelector": {"a": "b"}}
    for values, role in (({"worker": worker}, "worker"), ({"mode": "all", "ingress": worker}, "ingress")):
        release = install(merged(ON, values))
        job = release.one("Job", "-doctor")
        theirs = environment(release, role)
        ours = environment_of(release, container_of(job))
        variables = {name for name, value in theirs.items() if ours.get(name) != value}
        assert variables <= {f"{each}_FILE" for each in ("AzureSignalRConnectionString", "FANOUT_REDIS_URL")} | {
            "FANOUT_ADMIN_PORT",
            "FANOUT_API_KEY_FILE",
        }
        their_settings, our_settings = load(theirs), load(ours)
        assert our_settings.connection_string == their_settings.connection_string
        assert our_settings.redis_url == their_settings.redis_url
        assert ours["HTTPS_PROXY"] == "http://proxy:3128"
        assert not our_settings.api_key.get_secret_value()
        spec = job["spec"]["template"]["spec"]
        assert (volume in spec["volumes"], mount in container_of(job)["volumeMounts"]) == (True, True)
        assert spec["nodeSelector"] == {"a": "b"}


def test_no_selector_takes_it_for_a_pod_of_a_role() -> None:
    release = render(merged(example("full"), ON))
    labels = release.one("Job", "-doctor")["spec"]["template"]["metadata"]["labels"]
    selectors = [release.one("Deployment", f"-{role}")["spec"]["selector"]["matchLabels"] for role in ROLES]
    selectors += [service["spec"]["selector"] for service in release.of_kind("Service")]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in release.of_kind("NetworkPolicy")]
    assert not [selector for selector in selectors if matches(selector, labels)]


@pytest.mark.process
async def test_as_it_is_rendered_it_examines_the_service_and_records_what_it_can(
    tmp_path: Path, redis_url: str
) -> None:
    async with program(tmp_path / "emulator", "emulate", "--port", "0") as emulator:
        await emulator.until(lambda: "Port=" in emulator.out + emulator.err)
        service = service_at(int(re.findall(r"Port=(\d+)", emulator.out + emulator.err)[0]))
        values = {"connectionString": {"value": service}, "redisUrl": {"value": redis_url}}
        release = install(merged(ON, {"credentials": values}))
        container = container_of(release.one("Job", "-doctor"))
        async with program(tmp_path, *container["args"], **environment_of(release, container)) as doctor:
            assert await doctor.ended() == 0, doctor.out + doctor.err
    assert "Recorded: " in doctor.out
    client = open_redis(redis_url, SystemClock())
    try:
        address = re.findall(r"Recorded: (\S+) runs", doctor.out)[0]
        assert await Evidence(client, Keys("fanout")).proved_at(address)
    finally:
        await client.aclose()
