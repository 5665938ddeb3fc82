"""What surrounds the pods: how many there are, who reaches them, who watches them.

Rules guarded: an autoscaler and a fixed number never meet, a disruption budget never blocks the only pod, nothing is
exposed or closed unless asked for.
"""

import itertools
import json
from typing import Any

import pytest

from tests.helm.release import ROLES, Object, Release, example, install, matches, render


@pytest.mark.parametrize("role", ROLES)
def test_the_autoscaler_owns_the_number_of_pods(role: str) -> None:
    off, on = install(), install({role: {"autoscaling": {"enabled": True}}})
    assert off.one("Deployment", f"-{role}")["spec"]["replicas"] == 2
    assert off.of_kind("HorizontalPodAutoscaler") == []
    assert "replicas" not in on.one("Deployment", f"-{role}")["spec"]
    scaler = on.one("HorizontalPodAutoscaler", f"-{role}")["spec"]
    assert scaler["scaleTargetRef"]["name"] == on.one("Deployment", f"-{role}")["metadata"]["name"]
    assert [metric["resource"]["name"] for metric in scaler["metrics"]] == ["cpu"]


def test_the_worker_scales_on_a_metric_of_its_own() -> None:
    scaler = render(example("full")).one("HorizontalPodAutoscaler", "-worker")["spec"]
    assert [metric["type"] for metric in scaler["metrics"]] == ["External"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"replicaCount": 2}, True),
        ({"replicaCount": 1}, False),
        ({"replicaCount": 1, "autoscaling": {"enabled": True, "minReplicas": 2}}, True),
        ({"replicaCount": 5, "autoscaling": {"enabled": True, "minReplicas": 1}}, False),
        ({"replicaCount": 2, "podDisruptionBudget": {"enabled": False}}, False),
        ({"replicaCount": 2, "enabled": False}, False),
    ],
)
def test_a_disruption_budget_only_where_a_second_pod_runs(role: str, values: Object, wanted: bool) -> None:
    budgets = [thing["metadata"]["name"] for thing in install({role: values}).of_kind("PodDisruptionBudget")]
    assert (f"demo-signalr-fanout-{role}" in budgets) is wanted


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "25%"}, {"maxUnavailable": "25%"}),
        ({"minAvailable": 1}, {"minAvailable": 1}),
    ],
)
def test_a_disruption_budget_says_one_thing(values: Object, wanted: Object) -> None:
    spec = install({"worker": {"podDisruptionBudget": values}}).one("PodDisruptionBudget", "-worker")["spec"]
    assert {key: spec[key] for key in spec if key != "selector"} == wanted


SCRAPERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("rediss://user:p%40@redis.example:6380/0", [6380]),
        ("redis://redis.example/0", [6379]),
        ("redis://:secret@[2001:db8::1]:6390/0", [6390]),
        ("redis://[2001:db8::1]/0", [6379]),
        ("redis://a.example:7000,b.example:7001,c.example:7000/?cluster=true", [7000, 7001]),
        ("redis+sentinel://u:p@a.example,b.example:26380/main/0", [26379, 26380, 6379]),
        ("unix:///run/redis.sock", []),
        ("", [6379]),  # the bundled Valkey
    ],
)
def test_the_way_to_redis_is_the_ports_of_its_url(url: str, wanted: list[int]) -> None:
    policy: Object = {"enabled": True, "scrapers": SCRAPERS}
    release = install({"networkPolicy": policy, "credentials": {"redisUrl": {"value": url}}})
    for policy in release.of_kind("NetworkPolicy"):
        ports = [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["egress"]]
        assert ports == [[53, 53], *([wanted] if wanted else []), [443]]


def test_behind_sentinels_the_port_of_the_servers_may_be_said() -> None:
    policy: Object = {"enabled": True, "scrapers": SCRAPERS, "redis": {"port": 6380}}
    url = {"redisUrl": {"value": "redis+sentinel://a.example/main/0"}}
    spec = install({"networkPolicy": policy, "credentials": url}).one("NetworkPolicy", "-worker")["spec"]
    assert [port["port"] for port in spec["egress"][1]["ports"]] == [26379, 6380]


def test_rollouts_never_take_a_pod_before_its_successor_is_ready() -> None:
    for deployment in install().of_kind("Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert deployment["spec"]["minReadySeconds"] == 10


def test_recreate_drops_what_belongs_to_rolling_updates() -> None:
    deployment = install({"worker": {"strategy": {"type": "Recreate"}}}).one("Deployment", "-worker")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


# The way in ----------------------------------------------------------------------------------------------------------


def test_nothing_is_exposed_unless_asked_for() -> None:
    release = install()
    assert release.of_kind("Ingress") + release.of_kind("HTTPRoute") == []
    assert {service["spec"]["type"] for service in release.of_kind("Service") if "type" in service["spec"]} == {
        "ClusterIP"
    }


def test_ingress_and_route_lead_to_the_front_door() -> None:
    release = render(example("full"))
    door = release.one("Service", "signalr-fanout")
    name, port = door["metadata"]["name"], door["spec"]["ports"][0]
    paths = [path for rule in release.one("Ingress")["spec"]["rules"] for path in rule["http"]["paths"]]
    assert [path["path"] for path in paths] == ["/v1/hubs", "/chat/negotiate", "/"]
    assert all(path["backend"]["service"] == {"name": name, "port": {"name": port["name"]}} for path in paths)
    backends = release.one("HTTPRoute")["spec"]["rules"][0]["backendRefs"]
    assert backends == [{"name": name, "port": port["port"]}]


def test_an_ingress_host_without_a_name_stands_for_every_host() -> None:
    release = install({"expose": {"ingress": {"enabled": True, "hosts": [{}]}}})
    assert "host" not in release.one("Ingress")["spec"]["rules"][0]


# Network policies ----------------------------------------------------------------------------------------------------


def test_no_network_policy_unless_asked_for() -> None:
    assert install().of_kind("NetworkPolicy") == []


def test_network_policy_lets_callers_in_at_the_front_door_only() -> None:
    release = render(example("full"))
    doors, workers = (release.one("NetworkPolicy", f"-{role}")["spec"] for role in ROLES)
    assert json.dumps(doors["ingress"]).count("functions") == 1
    assert "functions" not in json.dumps(workers["ingress"])
    assert "monitoring" in json.dumps(workers["ingress"])
    test_pod = release.one("Pod")["metadata"]["labels"]
    assert matches(doors["ingress"][0]["from"][1]["podSelector"]["matchLabels"], test_pod)


def test_network_policy_without_names_opens_the_door_and_closes_the_worker() -> None:
    """Which is what is meant only where nobody scrapes; else it is refused."""
    release = install({"networkPolicy": {"enabled": True}, "metrics": {"enabled": False}})
    doors, workers = (release.one("NetworkPolicy", f"-{role}")["spec"] for role in ROLES)
    assert doors["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert workers["ingress"] == []
    ports = [port["port"] for rule in workers["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 6379, 443]


# Alerts --------------------------------------------------------------------------------------------------------------


def _rules(release: Release) -> list[dict[str, Any]]:
    groups = release.one("PrometheusRule")["spec"]["groups"]
    return list(itertools.chain.from_iterable(group["rules"] for group in groups))


def test_alert_rules_may_be_the_users_alone() -> None:
    mine = [{"record": "a", "expr": "b"}]
    values = {"metrics": {"prometheusRule": {"enabled": True, "defaultRules": False, "rules": mine}}}
    assert _rules(install(values)) == mine
