"""Workers scaled on the queue, by KEDA or by an external metric.

Rules guarded: KEDA, an autoscaler and a fixed number never meet; what is asked for exists in the process; silence is
never taken for an empty queue; one destination that fails by itself starts no worker.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fanout.metrics import Metrics
from service.http.probes import Backlog
from tests.helm.release import Object, install
from tests.helm.test_alerts import AGE, DELIVERED, DEPTH, Changes, own_rules, series

PROMTOOL = shutil.which("promtool")
PROMETHEUS: Object = {"enabled": True, "prometheus": {"serverAddress": "http://prometheus.monitoring.svc:9090"}}


def scaler(keda: Object, **values: Object) -> Object:
    """Return the spec of the ScaledObject."""
    spec: Object = install({"keda": keda, **values}).one("ScaledObject")["spec"]
    return spec


def query(metadata: Object) -> str:
    """Return what a trigger asks Prometheus for."""
    text: str = metadata["metadata"]["query"]
    return text


def test_keda_owns_the_number_of_workers_and_no_other() -> None:
    release = install({"keda": {"enabled": True, "maxReplicas": 16}})
    assert "replicas" not in release.one("Deployment", "-worker")["spec"]
    assert release.one("Deployment", "-ingress")["spec"]["replicas"] == 2
    assert release.of_kind("HorizontalPodAutoscaler") == []
    spec = release.one("ScaledObject")["spec"]
    assert spec["scaleTargetRef"]["name"] == release.one("Deployment", "-worker")["metadata"]["name"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 16)
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 2}


def test_with_both_roles_in_one_pod_keda_scales_that_one() -> None:
    release = install({"mode": "all", "keda": {"enabled": True}})
    assert "replicas" not in release.one("Deployment", "-ingress")["spec"]
    assert release.one("ScaledObject")["spec"]["scaleTargetRef"]["name"] == "demo-signalr-fanout-ingress"


def test_without_prometheus_the_pods_are_asked_for_the_backlog() -> None:
    release = install({"keda": {"enabled": True, "entriesPerWorker": 2_000_000}})
    [trigger] = release.one("ScaledObject")["spec"]["triggers"]
    service = release.one("Service", "-metrics")
    url = f"http://{service['metadata']['name']}.prod.svc:{service['spec']['ports'][0]['port']}/backlog"
    assert (trigger["type"], trigger["metadata"]["url"]) == ("metrics-api", url)
    assert trigger["metadata"]["targetValue"] == "2000000"
    assert trigger["metadata"]["valueLocation"] in Backlog.model_json_schema()["properties"]


def test_prometheus_is_asked_for_depth_and_age_and_silence_is_no_answer() -> None:
    triggers = scaler({**PROMETHEUS, "ageSecondsPerWorker": 45})["triggers"]
    assert [trigger["metadata"]["threshold"] for trigger in triggers] == ["1000", "45"]
    assert {trigger["metadata"]["ignoreNullValues"] for trigger in triggers} == {"false"}
    assert all(isinstance(value, str) for trigger in triggers for value in trigger["metadata"].values())
    names = {each.exported_name for each in Metrics().definitions}
    for trigger in triggers:
        assert any(name in query(trigger) for name in names)
    assert len(scaler({**PROMETHEUS, "ageSecondsPerWorker": 0})["triggers"]) == 1
    given = {"serverAddress": "https://p", "authenticationRef": "who"}
    assert scaler({**PROMETHEUS, "prometheus": given})["triggers"][0]["authenticationRef"] == {"name": "who"}


def test_a_scale_to_zero_has_no_disruption_budget_and_no_alert_while_nothing_waits() -> None:
    keda = {"enabled": True, "minReplicas": 0}
    release = install({"keda": keda, "metrics": {"prometheusRule": {"enabled": True}}})
    assert [each["metadata"]["name"] for each in release.of_kind("PodDisruptionBudget")] == [
        "demo-signalr-fanout-ingress"
    ]
    assert "runs no pod while nothing waits" in release.notes
    rules = {rule["alert"]: rule["expr"] for rule in release.one("PrometheusRule")["spec"]["groups"][0]["rules"]}
    usual = {rule["alert"]: rule["expr"] for rule in own_rules()}
    changed = {name for name, expression in rules.items() if expression != usual[name]}
    assert changed == {"FanoutPartitionsWithoutOwner"}
    assert "fanout_queue_depth" in rules["FanoutPartitionsWithoutOwner"]


def test_an_external_metric_scales_workers_beside_the_cpu() -> None:
    values = {"enabled": True, "targetQueueEntries": 500, "queueMetric": "backlog"}
    metrics = install({"worker": {"autoscaling": values}}).one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Resource", "External"]
    assert metrics[1]["external"]["metric"] == {
        "name": "backlog",
        "selector": {"matchLabels": {"service": "demo-signalr-fanout-metrics"}},
    }
    assert metrics[1]["external"]["target"] == {"type": "AverageValue", "averageValue": "500"}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH")
@pytest.mark.parametrize(
    ("changes", "depth", "age"),
    [
        ({}, 10, 0),
        ({AGE: "200x240", DEPTH: "9000x240"}, 9005, 200),
        ({AGE: "200x240", DELIVERED: "5x240"}, 10, 200),
        ({AGE: "3600x240", DEPTH: "100x240"}, 105, 0),  # one destination that fails by itself
        ({AGE: None, DEPTH: None, 'fanout_queue_depth{partition="1"}': None}, None, None),  # Redis is silent
    ],
)
def test_the_questions_are_answered_as_meant(
    changes: Changes, depth: int | None, age: int | None, tmp_path: Path
) -> None:
    known = changes | ({'fanout_oldest_age_seconds{destination="group"}': None} if age is None else {})
    triggers = scaler(PROMETHEUS)["triggers"]
    questions = [
        {
            "expr": query(trigger),
            "eval_time": "20m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for trigger, value in zip(triggers, (depth, age), strict=True)
    ]
    case = {"interval": "30s", "input_series": series(known), "promql_expr_test": questions}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))
    command = [str(PROMTOOL), "test", "rules", "test.yaml"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
