"""The chart's alerts, run by promtool against series as the process exports them.

Rule guarded: each alert fires for the trouble it names, alone, and stays silent while all is well or while the trouble
is another release's. Where promtool is not on PATH these tests are skipped; the names of the metrics are checked in
test_settings all the same.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helm.release import Object, install

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH")

OURS = 'namespace="prod",service="demo-signalr-fanout-metrics",pod="a"'
# Twenty minutes of a healthy release, a sample a minute.
HEALTHY = {
    "up": "1x20",
    "fanout_leases": "16x20",
    "fanout_oldest_age_seconds": "1x20",
    "fanout_backpressure_total": "5x20",
    'fanout_failed_attempts_total{failure="forbidden"}': "5x20",
    'fanout_failed_attempts_total{failure="throttled"}': "0+9x20",
    'fanout_dead_total{reason="refused"}': "5x20",
}
TROUBLES = [
    ("FanoutPodDown", "up", "0x20"),
    ("FanoutNoWorker", "fanout_leases", "0x20"),
    ("FanoutQueueTooOld", "fanout_oldest_age_seconds", "61x20"),
    ("FanoutBackpressure", "fanout_backpressure_total", "0+1x20"),
    ("FanoutCredentialsRefused", 'fanout_failed_attempts_total{failure="forbidden"}', "0+1x20"),
    ("FanoutDeadLetters", 'fanout_dead_total{reason="refused"}', "5x10 6x10"),
]


def _series(values: dict[str, str], labels: str) -> list[Object]:
    found = []
    for name, text in values.items():
        metric, _, own = name.rstrip("}").partition("{")
        found.append({"series": f"{metric}{{{labels}{',' + own if own else ''}}}", "values": text})
    return found


def _firing(series: list[Object], wanted: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Let promtool compare the alerts that fire after a quarter of an hour with the wanted ones."""
    rules = install({"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule")["spec"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    question = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": "15m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in wanted],
    }
    case = {"interval": "1m", "input_series": series, "promql_expr_test": [question]}
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    command = [str(PROMTOOL), "test", "rules", "test.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("alert", "name", "values"), TROUBLES)
def test_an_alert_fires_for_its_own_trouble(alert: str, name: str, values: str, tmp_path: Path) -> None:
    result = _firing(_series({**HEALTHY, name: values}, OURS), [alert], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_alert_while_all_is_well(tmp_path: Path) -> None:
    result = _firing(_series(HEALTHY, OURS), [], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_worker_at_all_is_seen_too(tmp_path: Path) -> None:
    alone = {name: values for name, values in HEALTHY.items() if name != "fanout_leases"}
    result = _firing(_series(alone, OURS), ["FanoutNoWorker"], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_trouble_of_another_release_is_not_ours(tmp_path: Path) -> None:
    theirs = OURS.replace("demo", "other")
    troubled = _series({name: values for _, name, values in TROUBLES}, theirs)
    result = _firing(_series(HEALTHY, OURS) + troubled, [], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    assert _firing(_series(HEALTHY, OURS), ["FanoutPodDown"], tmp_path).returncode != 0
