"""What the chart installs: objects that are valid, well named, and find one another by their labels.

Rule guarded: the rendered objects are judged by the published Kubernetes schemas with unknown fields refused, so that
a field that is misspelt or too new for the oldest version the chart admits fails here and not in a cluster.
"""

import random
from collections.abc import Callable

import helm_python
import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml
from jsonschema import ValidationError

from tests.helm import custom_resources
from tests.helm.release import CHART, ROLES, Object, Release, example, install, matches, merged, render

EXAMPLES = ("minimal", "existing-secrets", "full")
VERSIONS = tuple(kubernetes_validate.utils.all_versions())


@pytest.fixture(scope="module", params=EXAMPLES)
def release(request: pytest.FixtureRequest) -> Release:
    return render(example(request.param))


def judge(release: Release, version: str) -> None:
    """Refuse a release with an object that a cluster would not take as it is meant."""
    assert release.objects
    for thing in release.objects:
        if thing["kind"] in custom_resources.KINDS:
            custom_resources.validate(thing)
        else:
            kubernetes_validate.validate(thing, version, strict=True)
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in release.objects]
    assert len(names) == len(set(names))


def test_the_chart_admits_the_oldest_version_that_is_checked() -> None:
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    oldest = ".".join(VERSIONS[0].split(".")[:2])
    assert metadata["kubeVersion"] == f">={oldest}.0-0"


# The oldest, the newest and every third between: each version costs some tenths of a second an example.
@pytest.mark.parametrize("version", sorted({*VERSIONS[::3], VERSIONS[-1]}))
def test_every_object_is_valid_for_kubernetes(release: Release, version: str) -> None:
    judge(release, version)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("ScaledObject", lambda spec: spec["triggers"][0].update(metricsType="Value")),
        ("ScaledObject", lambda spec: spec.update(minReplicas=2)),
        ("ScaledObject", lambda spec: spec["triggers"][0]["metadata"].update(targetValue=5)),
        ("ServiceMonitor", lambda spec: spec["endpoints"][0].update(intervall="30s")),
        ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(targetport="admin")),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update(annotation={})),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update({"for": "soon"})),
        ("HTTPRoute", lambda spec: spec["rules"][0]["backendRefs"][0].update(port="http")),
        ("HTTPRoute", lambda spec: spec["rules"][0].update(backends=[])),
    ],
)
def test_the_validation_refuses_what_is_wrong_in_a_custom_resource(kind: str, spoil: Callable[[Object], None]) -> None:
    monitors = {"serviceMonitor": {"enabled": kind != "PodMonitor"}, "podMonitor": {"enabled": kind == "PodMonitor"}}
    values = {"keda": {"enabled": True}, "worker": {"autoscaling": {"enabled": False}}, "metrics": monitors}
    broken = render(merged(example("full"), values)).one(kind)
    custom_resources.validate(broken)
    spoil(broken["spec"])
    with pytest.raises(ValidationError):
        custom_resources.validate(broken)


SCRAPERS: Object = {"enabled": True, "scrapers": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]}
PROMETHEUS: Object = {"serverAddress": "http://prometheus:9090"}
MATRIX: dict[str, list[Object]] = {
    "mode": [{}, {"mode": "all"}],
    "roles": [{}, {}, {"ingress": {"enabled": False}}, {"worker": {"enabled": False}}],
    "store": [
        {},
        {"credentials": {"redisUrl": {"value": ""}}},
        {
            "credentials": {"redisUrl": {"value": "", "existingSecret": "r"}},
            "networkPolicy": {"redis": {"port": 6380}},
        },
    ],
    "service": [{}, {"demo": True, "credentials": {"connectionString": {"value": ""}}}],
    "key": [{}, {"credentials": {"apiKey": {"value": ""}}}],
    "scaling": [
        {},
        {"worker": {"autoscaling": {"enabled": True, "targetQueueEntries": 100}}},
        {"ingress": {"autoscaling": {"enabled": True}}},
        {"keda": {"enabled": True, "fallbackReplicas": None}},
        {"keda": {"enabled": True, "minReplicas": 0, "prometheus": PROMETHEUS}},
    ],
    "watching": [
        {},
        {"metrics": {"enabled": False}},
        {"metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}},
        {"metrics": {"enabled": False, "podMonitor": {"enabled": True}}},
    ],
    "network": [{}, {"networkPolicy": SCRAPERS}, {"networkPolicy": {"enabled": True}}],
    "exposure": [
        {},
        {"expose": {"ingress": {"enabled": True, "hosts": [{}]}}},
        {"expose": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}}},
    ],
    "pods": [{}, {"podSecurityContext": {"runAsUser": None, "runAsGroup": None}, "ingress": {"resources": None}}],
}


def rendered_or_refused(values: Object) -> Release | None:
    """Render the chart; None where its own checks refuse the values, and an error for any other refusal."""
    try:
        return render(values)
    except helm_python.HelmRenderError as refusal:
        if "cannot be installed with these values" not in str(refusal):
            raise
        return None


def test_values_in_any_mixture_give_valid_objects_or_are_refused_in_words() -> None:
    """A sample of the thousands of mixtures, in which each value is part of a release at least once."""
    chooser = random.Random(7)
    rendered: list[list[int]] = []
    for _ in range(60):
        choice = [chooser.randrange(len(options)) for options in MATRIX.values()]
        values = example("minimal")
        for place, options in zip(choice, MATRIX.values(), strict=True):
            values = merged(values, options[place])
        release = rendered_or_refused(values)
        if release is not None:
            judge(release, VERSIONS[len(rendered) % len(VERSIONS)])
            rendered.append(choice)
    for place, (name, options) in enumerate(MATRIX.items()):
        assert {choice[place] for choice in rendered} == set(range(len(options))), name


def test_the_validation_refuses_an_unknown_field() -> None:
    broken = install().one("Deployment", "-worker")
    broken["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_every_object_carries_the_recommended_labels(release: Release) -> None:
    wanted = {f"app.kubernetes.io/{key}" for key in ("name", "instance", "version", "managed-by", "part-of")}
    for thing in release.objects:
        if not thing["metadata"]["name"].endswith(("-extra", "-text")):
            labels = thing["metadata"]["labels"]
            assert wanted | {"helm.sh/chart"} <= set(labels), thing["metadata"]["name"]
            assert all(isinstance(text, str) and len(text) <= 63 for text in labels.values())


def test_long_release_names_still_make_valid_names() -> None:
    """Every name is a DNS label of at most 63 characters, for the longest release name Helm allows."""
    release = render(example("full"), name="r" * 53)
    for thing in release.objects:
        if thing["kind"] == "ConfigMap":  # a DNS subdomain, which may be longer
            continue
        assert len(thing["metadata"]["name"]) <= 63, thing["metadata"]["name"]
    # The cluster makes a label of the name of a StatefulSet and eleven characters of its own.
    assert len(render({"demo": True}, name="r" * 53).one("StatefulSet")["metadata"]["name"]) <= 52


def test_a_name_given_in_full_replaces_the_release_name() -> None:
    release = install({"fullnameOverride": "push"})
    assert {thing["metadata"]["name"] for thing in release.of_kind("Deployment")} == {"push-ingress", "push-worker"}


# Selectors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_selectors_match_their_own_pods_and_no_others(release: Release, role: str) -> None:
    selector = release.one("Deployment", f"-{role}")["spec"]["selector"]["matchLabels"]
    labels = {other: release.pod(other)["metadata"]["labels"] for other in ROLES}
    assert [other for other in ROLES if matches(selector, labels[other])] == [role]
    assert not matches(selector, release.one("Pod")["metadata"]["labels"])
    for budget in release.of_kind("PodDisruptionBudget"):
        if budget["metadata"]["name"].endswith(role):
            assert budget["spec"]["selector"]["matchLabels"] == selector


def test_selectors_hold_only_what_never_changes(release: Release) -> None:
    """A Deployment's selector is immutable: a version or a user's label in it would break the next upgrade."""
    steady = {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")}
    for deployment in release.of_kind("Deployment"):
        assert set(deployment["spec"]["selector"]["matchLabels"]) == steady
    for service in release.of_kind("Service"):
        assert set(service["spec"]["selector"]) <= steady


def test_the_front_door_leads_to_ingress_pods_only(release: Release) -> None:
    selector = release.one("Service", "signalr-fanout")["spec"]["selector"]
    assert matches(selector, release.pod("ingress")["metadata"]["labels"])
    assert not matches(selector, release.pod("worker")["metadata"]["labels"])


def test_the_metrics_service_reaches_every_pod_but_the_test() -> None:
    release = install()
    service = release.one("Service", "-metrics")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    for role in ROLES:
        assert matches(service["spec"]["selector"], release.pod(role)["metadata"]["labels"])
    assert not matches(service["spec"]["selector"], release.one("Pod")["metadata"]["labels"])


def test_the_monitor_finds_the_metrics_service_and_nothing_else() -> None:
    release = render(example("full"))
    monitor = release.one("ServiceMonitor")["spec"]
    found = [
        service
        for service in release.of_kind("Service")
        if matches(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
    ]
    assert [service["metadata"]["name"] for service in found] == ["demo-signalr-fanout-metrics"]
    assert [endpoint["port"] for endpoint in monitor["endpoints"]] == [found[0]["spec"]["ports"][0]["name"]]
    assert monitor["endpoints"][0]["path"] == "/metrics"
    assert monitor["namespaceSelector"] == {"matchNames": ["prod"]}


def test_a_pod_monitor_finds_the_pods_of_both_roles_and_labels_them_as_the_service_would() -> None:
    """The alerts select by `service`, so a release that is scraped without one needs the label all the same."""
    watched = {"metrics": {"enabled": False, "podMonitor": {"enabled": True, "relabelings": [{"action": "lowercase"}]}}}
    release = install(watched)
    assert not [thing for thing in release.of_kind("Service") if thing["metadata"]["name"].endswith("-metrics")]
    monitor = release.one("PodMonitor")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    for role in ROLES:
        pod = release.pod(role)
        assert matches(monitor["selector"]["matchLabels"], pod["metadata"]["labels"])
        assert endpoint["port"] in [port["name"] for port in pod["spec"]["containers"][0]["ports"]]
    assert not matches(monitor["selector"]["matchLabels"], release.one("Pod")["metadata"]["labels"])
    assert endpoint["relabelings"] == [
        {"targetLabel": "service", "replacement": "demo-signalr-fanout-metrics"},
        {"action": "lowercase"},
    ]


def test_spread_constraints_count_the_pods_of_their_own_role(release: Release) -> None:
    for role in ROLES:
        selector = release.one("Deployment", f"-{role}")["spec"]["selector"]
        constraints = release.pod(role)["spec"]["topologySpreadConstraints"]
        assert {constraint["topologyKey"] for constraint in constraints} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        assert all(constraint["labelSelector"] == selector for constraint in constraints)


def test_a_spread_constraint_keeps_a_selector_of_its_own() -> None:
    mine = {"matchLabels": {"team": "realtime"}}
    constraint = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": mine}
    release = install({"worker": {"topologySpreadConstraints": [constraint]}})
    assert release.pod("worker")["spec"]["topologySpreadConstraints"] == [constraint]
