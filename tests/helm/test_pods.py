"""How the pods of both roles run: started by name, probed, confined, drained before they are killed.

Rule guarded: what a cluster enforces only at run time (service links, write access, the order of sleep, SIGTERM and
kill) is fixed here for both roles and forevery example of values.
"""

import pytest
import yaml

from tests.helm.release import CHART, ROLES, Object, Release, example, install, render

EXAMPLES = ("minimal", "existing-secrets", "full")


@pytest.fixture(scope="module", params=EXAMPLES)
def release(request: pytest.FixtureRequest) -> Release:
    return render(example(request.param))


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_started_by_name(role: str) -> None:
    wanted = ["serve", "--role", role, "--host", "0.0.0.0", "--port", "8080"]
    assert install().container(role)["args"] == wanted


def test_another_port_reaches_process_container_and_services() -> None:
    release = install({"containerPort": 9000, "listenAddress": "::"})
    for role in ROLES:
        container = release.container(role)
        assert container["args"][3:] == ["--host", "::", "--port", "9000"]
        callers = [{"name": "http", "containerPort": 9000, "protocol": "TCP"}] if role == "ingress" else []
        assert container["ports"] == [*callers, {"name": "admin", "containerPort": 9090, "protocol": "TCP"}]
    targets = {
        service["metadata"]["name"]: service["spec"]["ports"][0]["targetPort"] for service in release.of_kind("Service")
    }
    assert sorted(targets.values()) == ["admin", "http"]
    assert targets[release.one("Service", "-metrics")["metadata"]["name"]] == "admin"


@pytest.mark.parametrize("role", ROLES)
def test_probes_ask_the_right_question_of_each_role(role: str) -> None:
    container = install().container(role)
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/livez", "port": "admin"},
        "liveness": {"path": "/livez", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
    }


def test_liveness_fails_slowly_and_readiness_fast() -> None:
    """A pod loses its traffic within 15 seconds and its life only after more than a minute."""
    container = install().container("ingress")
    patience = {
        kind: container[f"{kind}Probe"]["periodSeconds"] * container[f"{kind}Probe"]["failureThreshold"]
        for kind in ("liveness", "readiness")
    }
    assert patience["readiness"] <= 15
    assert patience["liveness"] >= 60


def test_image_by_tag_by_digest_and_by_default() -> None:
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    digest = "sha256:" + "0" * 64
    for image, wanted in (
        ({}, f"signalr-fanout:{metadata['appVersion']}"),
        ({"repository": "r.example/x", "tag": "1.2"}, "r.example/x:1.2"),
        ({"tag": "1.2", "digest": digest}, f"signalr-fanout@{digest}"),
    ):
        release = install({"image": image})
        assert {container["image"] for spec in release.pod_specs() for container in spec["containers"]} == {wanted}


def test_one_role_may_run_alone() -> None:
    workers = install({"ingress": {"enabled": False}})
    assert [thing["metadata"]["name"] for thing in workers.of_kind("Deployment")] == ["demo-signalr-fanout-worker"]
    assert [thing["metadata"]["name"] for thing in workers.of_kind("Service")] == ["demo-signalr-fanout-metrics"]
    doors = install({"worker": {"enabled": False}})
    assert [thing["metadata"]["name"] for thing in doors.of_kind("Deployment")] == ["demo-signalr-fanout-ingress"]


# Confinement ---------------------------------------------------------------------------------------------------------


def test_no_pod_gets_variables_made_from_services(release: Release) -> None:
    """FANOUT_PORT=tcp://... would keep the process from starting."""
    assert all(spec["enableServiceLinks"] is False for spec in release.pod_specs())


def test_no_pod_gets_a_token_of_the_cluster(release: Release) -> None:
    assert all(spec["automountServiceAccountToken"] is False for spec in release.pod_specs())
    assert release.one("ServiceAccount")["automountServiceAccountToken"] is False


def test_every_pod_meets_the_restricted_standard(release: Release) -> None:
    for spec in release.pod_specs():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        own = [container for container in spec["containers"] if container["name"] != "sidecar"]
        for container in own:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]


@pytest.mark.parametrize(
    ("values", "ingress", "worker"),
    [
        ({}, "512Mi", "768Mi"),
        ({"config": {"maxBody": 256 << 20}}, "1664Mi", "768Mi"),
        ({"config": {"readAheadBytes": 1 << 30}}, "512Mi", "2176Mi"),
        ({"config": {"concurrency": 2048}}, "512Mi", "2112Mi"),
        ({"ingress": {"resources": {"limits": {"memory": "2Gi", "cpu": "1"}}}}, "2Gi", "768Mi"),
        ({"worker": {"resources": {"limits": {"cpu": "1"}}}}, "512Mi", "768Mi"),
        ({"ingress": {"resources": {"limits": None}}, "worker": {"resources": None}}, None, None),
    ],
)
def test_the_memory_limit_follows_from_the_sizes_in_the_settings(
    values: Object, ingress: str | None, worker: str | None
) -> None:
    release = install(values)
    found = [release.container(role).get("resources", {}).get("limits", {}).get("memory") for role in ROLES]
    assert found == [ingress, worker]


def test_tmp_is_the_only_place_to_write_to() -> None:
    release = install()
    for role in ROLES:
        tmp, *read_only = release.container(role)["volumeMounts"]
        assert tmp == {"name": "tmp", "mountPath": "/tmp"}
        assert [(mount["name"], mount["readOnly"]) for mount in read_only] == [("fanout-credentials", True)]
        assert release.pod(role)["spec"]["volumes"][0] == {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}


# Draining ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "sleep"), [("ingress", 5), ("worker", 0)])
@pytest.mark.parametrize("grace", [25, 0.5, 100.2])
def test_the_kill_comes_after_the_drain(role: str, sleep: int, grace: float) -> None:
    spec = install({"config": {"shutdownGrace": grace}}).pod(role)["spec"]
    assert spec["terminationGracePeriodSeconds"] >= sleep + grace + 10


def test_the_ingress_waits_until_its_endpoint_is_gone() -> None:
    release = install()
    hook = release.container("ingress")["lifecycle"]["preStop"]
    assert hook == {"exec": {"command": ["sleep", "5"]}}
    assert "lifecycle" not in release.container("worker")


def test_a_longer_grace_period_is_taken_as_given() -> None:
    spec = install({"worker": {"terminationGracePeriodSeconds": 600}}).pod("worker")["spec"]
    assert spec["terminationGracePeriodSeconds"] == 600


# What users bring ----------------------------------------------------------------------------------------------------


def test_what_users_bring_arrives_where_it_belongs() -> None:
    release = render(example("full"))
    ingress, worker = release.pod("ingress"), release.pod("worker")
    assert ingress["metadata"]["labels"]["zone"] == "public"
    assert ingress["metadata"]["annotations"]["example.com/owner"] == "realtime"
    assert ingress["spec"]["priorityClassName"] == "high"
    assert ingress["spec"]["tolerations"][0]["key"] == "dedicated"
    assert worker["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert worker["spec"]["affinity"]["podAntiAffinity"]
    assert [container["name"] for container in worker["spec"]["containers"]] == ["worker", "sidecar"]
    assert [container["name"] for container in worker["spec"]["initContainers"]] == ["wait"]
    assert worker["spec"]["volumes"][-1]["secret"] == {"secretName": "redis-ca"}
    assert worker["spec"]["containers"][0]["volumeMounts"][-1]["mountPath"] == "/etc/redis-ca"
    assert {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"} in worker["spec"]["containers"][0]["env"]
    assert worker["spec"]["containers"][0]["envFrom"][1]["configMapRef"]["name"] == "site"


def test_extra_objects_are_rendered_as_objects_and_as_text() -> None:
    names = {thing["metadata"]["name"] for thing in render(example("full")).of_kind("ConfigMap")}
    assert {"demo-extra", "demo-signalr-fanout-text"} <= names
