"""The chart's alerts, run by promtool against series as the processes export them, and their pages in the runbook.

Rule guarded: each alert fires for the trouble it names, in time, and stays silent while all is well, while something
small fails by itself, and while the trouble is another release's. Without promtool on PATH these tests are skipped;
that expressions name metrics and labels which exist is checked all the same.
"""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from fanout.metrics import _WAIT_BUCKETS, Metrics
from tests.helm.release import ROOT, Object, chart, example, install, render

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH")
RUNBOOK = ROOT / "docs" / "runbook.md"
SERVICE = "demo-signalr-fanout-metrics"

# Two hours of a healthy release, a sample every 30 seconds: 20 requests and 20 deliveries a second.
ANY = {
    "up": "1x240",
    "fanout_redis_up": "1x240",
    "fanout_redis_latency_seconds": "0.01x240",
    "fanout_redis_memory_ratio": "0.2x240",
    'fanout_queue_depth{partition="0"}': "5x240",
    'fanout_queue_depth{partition="1"}': "5x240",
    'fanout_oldest_age_seconds{destination="user"}': "1x240",
    'fanout_oldest_age_seconds{destination="group"}': "0x240",
    'fanout_partitions{state="owned"}': "16x240",
    'fanout_partitions{state="unowned"}': "0x240",
    "fanout_dead_letters": "0x240",
    "fanout_oldest_dead_letter_age_seconds": "0x240",
    "fanout_dead_letter_age_limit_seconds": "2592000x240",
    "fanout_service_key_refused": "0x240",
    'fanout_endpoint_online{endpoint="east"}': "1x240",
    'fanout_endpoint_online{endpoint="west"}': "1x240",
}
INGRESS = {
    **ANY,
    'fanout_http_request_seconds_count{route="messages",status="2xx"}': "0+300x240",
    'fanout_http_request_seconds_count{route="messages",status="5xx"}': "0x240",
    'fanout_http_request_seconds_count{route="probe",status="5xx"}': "0+1x240",
}
WORKER = {
    **ANY,
    "fanout_leases": "8x240",
    "fanout_leases_lost_total": "0x240",
    'fanout_breaker_open{class="send"}': "0x240",
    'fanout_breaker_open{class="broadcast"}': "0x240",
    'fanout_pause_seconds{class="send"}': "0x240",
    "fanout_paused_hubs": "0x240",
    'fanout_delivered_total{operation="sendToUser"}': "0+300x240",
    'fanout_gone_total{operation="sendToUser"}': "0+1x240",
    'fanout_dead_total{reason="refused"}': "5x240",
    'fanout_dead_total{reason="tooOld"}': "0x240",
    'fanout_failed_attempts_total{failure="forbidden"}': "5x240",
    'fanout_failed_attempts_total{failure="noToken"}': "0x240",
    'fanout_failed_attempts_total{failure="throttled"}': "0+9x240",
    "fanout_send_seconds_count": "0+300x240",
    'fanout_delivery_seconds_bucket{class="send",le="60.0"}': "0+300x240",
    'fanout_delivery_seconds_count{class="send"}': "0+300x240",
}
PODS: Mapping[str, Mapping[str, str]] = {"in-a": INGRESS, "in-b": INGRESS, "work-a": WORKER, "work-b": WORKER}
OF_REDIS = [name for name in ANY if re.match("fanout_(queue|oldest|partitions|dead_letters|redis_[lm])", name)]
Changes = dict[str, str | None]


def series(changes: Changes, *, pods: Mapping[str, Mapping[str, str]] = PODS, service: str = SERVICE) -> list[Object]:
    """Return the input of promtool. A change is of a series in every pod, or of one in one pod: `work-a up`."""
    found = []
    for pod, exported in pods.items():
        for name, values in {
            **exported,
            **{name: "" for name in changes if " " not in name and name in exported},
        }.items():
            text = changes.get(f"{pod} {name}", changes.get(name, changes.get(f"{pod} *", values)))
            metric, _, own = name.rstrip("}").partition("{")
            labels = f'namespace="prod",service="{service}",pod="{pod}"{"," + own if own else ""}'
            if text:
                found.append({"series": f"{metric}{{{labels}}}", "values": text})
    return found


@cache
def _rules() -> str:
    return json.dumps(install({"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule")["spec"])


def firing(
    given: list[Object], wanted: list[str], at: str, folder: Path, *, ever: str = "", interval: str = "30s"
) -> None:
    """Let promtool compare the alerts that fire at a time, or `ever` fired in a range before it, with the wanted."""
    rules = json.loads(_rules())
    for group in rules["groups"]:
        group["interval"] = interval
    (folder / "rules.yaml").write_text(json.dumps(rules))  # JSON is YAML, and written in no time
    alerts = 'ALERTS{alertstate="firing"}'
    question = {
        "expr": f"count by (alertname) ({f'max_over_time({alerts}[{ever}])' if ever else alerts}) > bool 0",
        "eval_time": at,
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in wanted],
    }
    case = {"interval": interval, "input_series": given, "promql_expr_test": [question]}
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": interval, "tests": [case]}
    (folder / "test.yaml").write_text(json.dumps(document))
    command = [str(PROMTOOL), "test", "rules", "test.yaml"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def all_of(pods: str, values: str | None = None) -> Changes:
    """Change every series of the pods whose names begin so."""
    return {f"{pod} {name}": values for pod in PODS if pod.startswith(pods) for name in PODS[pod]}


DELIVERED = 'fanout_delivered_total{operation="sendToUser"}'
AGE = 'fanout_oldest_age_seconds{destination="user"}'
DEPTH = 'fanout_queue_depth{partition="0"}'
OWNED, UNOWNED = 'fanout_partitions{state="owned"}', 'fanout_partitions{state="unowned"}'
FAILED = 'fanout_http_request_seconds_count{route="messages",status="5xx"}'
WEST = 'fanout_endpoint_online{endpoint="west"}'
DEAD = 'fanout_dead_total{reason="refused"}'
OLDEST_DEAD = "fanout_oldest_dead_letter_age_seconds"
IN_TIME = 'fanout_delivery_seconds_bucket{class="send",le="60.0"}'
FIRES: list[tuple[str, list[str], Changes, str]] = [
    ("no pod is found", ["FanoutNotScraped"], all_of(""), "6m"),
    (
        "no pod answers",
        ["FanoutNotScraped", "FanoutPodDown"],
        {**all_of(""), **{f"{pod} up": "0x240" for pod in PODS}},
        "6m",
    ),
    ("workers are not scraped", ["FanoutWorkersNotScraped"], all_of("work"), "12m"),
    ("one worker is not scraped", ["FanoutWorkersNotScraped"], all_of("work-b"), "12m"),
    ("no worker runs", ["FanoutPartitionsWithoutOwner"], {**all_of("work"), OWNED: "0x240", UNOWNED: "16x240"}, "12m"),
    ("a pod does not answer", ["FanoutPodDown"], {**all_of("in-b"), "in-b up": "0x240"}, "6m"),
    (
        "15 of 16 partitions are owned",
        ["FanoutPartitionsWithoutOwner"],
        {OWNED: "15x240", UNOWNED: "1x240", "work-b fanout_leases": "7x240"},
        "3m",
    ),
    ("delivery is behind", ["FanoutQueueTooOld"], {AGE: "61x240", DEPTH: "3000x240"}, "3m"),
    ("nothing is delivered", ["FanoutQueueTooOld"], {AGE: "0+30x240", DELIVERED: "5x240"}, "10m"),
    ("callers are refused", ["FanoutIngressRefusing"], {FAILED: "0+30x240"}, "5m"),
    ("a class is held back", ["FanoutHeldBack"], {'work-a fanout_breaker_open{class="send"}': "1x240"}, "1m"),
    ("a class is paused", ["FanoutPaused"], {'fanout_pause_seconds{class="send"}': "400x240"}, "16m"),
    ("a hub is paused", ["FanoutPaused"], {"fanout_paused_hubs": "1x240"}, "16m"),
    ("the key is refused at start", ["FanoutCredentialsRefused"], {"work-a fanout_service_key_refused": "1x240"}, "3m"),
    (
        "the key is refused later",
        ["FanoutCredentialsRefused"],
        {'fanout_failed_attempts_total{failure="forbidden"}': "0+30x240"},
        "5m",
    ),
    (
        "there is no identity token",
        ["FanoutCredentialsRefused"],
        {'fanout_failed_attempts_total{failure="noToken"}': "0+30x240"},
        "5m",
    ),
    ("an endpoint is offline", ["FanoutEndpointOffline"], {WEST: "0x240"}, "6m"),
    ("one pod has no way to an endpoint", ["FanoutEndpointOffline"], {f"work-a {WEST}": "0x240"}, "6m"),
    ("leases flap", ["FanoutLeasesFlapping"], {"work-a fanout_leases_lost_total": "0x10 1x15 2x15 3x15 4x180"}, "30m"),
    ("dead letters grow", ["FanoutDeadLettersGrowing"], {f"work-a {DEAD}": "0+3x240"}, "60m"),
    ("dead letters grow old", ["FanoutDeadLettersEnding"], {OLDEST_DEAD: "2073000+30x240"}, "60m"),
    ("Redis is away", ["FanoutRedisDown"], {**dict.fromkeys(OF_REDIS), "fanout_redis_up": "0x240"}, "2m"),
    ("one pod has no Redis", ["FanoutRedisUnreachable"], {"in-a fanout_redis_up": "0x240"}, "6m"),
    ("Redis is full", ["FanoutRedisMemory"], {"fanout_redis_memory_ratio": "0.86x240"}, "6m"),
    ("Redis is slow", ["FanoutRedisSlow"], {"fanout_redis_latency_seconds": "0.6x240"}, "11m"),
    ("a third is late", ["FanoutLatencyBurnFast", "FanoutLatencyBurnSlow"], {IN_TIME: "0+200x240"}, "60m"),
    ("a tenth is late", ["FanoutLatencyBurnSlow"], {IN_TIME: "0+270x240"}, "60m"),
    (
        "one in fifty dies",
        ["FanoutDeadLettersGrowing", "FanoutErrorBurnFast", "FanoutErrorBurnSlow"],
        {DEAD: "0+6x240"},
        "60m",
    ),
    ("one in a hundred dies", ["FanoutDeadLettersGrowing", "FanoutErrorBurnSlow"], {DEAD: "0+3x240"}, "60m"),
]


@needs_promtool
@pytest.mark.parametrize(("wanted", "changes", "at"), [row[1:] for row in FIRES], ids=[row[0] for row in FIRES])
def test_alerts_fire_for_their_own_trouble_and_no_others(
    wanted: list[str], changes: Changes, at: str, tmp_path: Path
) -> None:
    firing(series(changes), wanted, at, tmp_path)


@needs_promtool
def test_dead_letters_that_nobody_touches_for_a_day_are_told(tmp_path: Path) -> None:
    day = {name: values.replace("x240", "x310") for name, values in INGRESS.items()}
    kept = series({"fanout_dead_letters": "3x310"}, pods={"in-a": day})
    kept.append({"series": f'fanout_leases{{namespace="prod",service="{SERVICE}"}}', "values": "16x310"})
    firing(kept, ["FanoutDeadLettersKept"], "25h", tmp_path, interval="5m")


@needs_promtool
def test_a_total_outage_is_told_within_two_minutes(tmp_path: Path) -> None:
    """It begins at ten minutes: nothing is delivered any more, and the breakers are open at the next scrape."""
    ends = "0+300x20 6000x220"
    outage: Changes = {
        'fanout_breaker_open{class="send"}': "0x20 1x220",
        DELIVERED: ends,
        IN_TIME: ends,
        'fanout_delivery_seconds_count{class="send"}': ends,
        AGE: "1x20 0+30x220",
        DEPTH: "5x20 0+600x220",
    }
    firing(series(outage), ["FanoutHeldBack"], "11m30s", tmp_path)


# Silence --------------------------------------------------------------------------------------------------------------

_TAKEN_OVER: Changes = {
    **{f"work-b {name}": values.replace("x240", "x20 stale") for name, values in WORKER.items()},
    **{f"{pod} {OWNED}": "16x20 8 16x220" for pod in ("in-a", "in-b", "work-a")},
    **{f"{pod} {UNOWNED}": "0x20 8 0x220" for pod in ("in-a", "in-b", "work-a")},
    "work-a fanout_leases": "8x21 16x220",
}
_STEADY = {name: values for name, values in WORKER.items() if "+" not in values}
SILENT: dict[str, Changes] = {
    "all is well": {},
    "two single 503s, four minutes apart, and hardly any traffic": {
        'fanout_http_request_seconds_count{route="messages",status="2xx"}': "0 0 1 1 2 2 3 3 4 4 5 5 6 6 7 7 8 8x220",
        FAILED: None,
        f"in-a {FAILED}": "0x4 1x7 2x220",
    },
    # A message every two minutes, given up after an hour.
    "one destination is dead": {
        AGE: "0+30x120 3600x120",
        DEPTH: "5+0.25x120 35x120",
        'work-a fanout_failed_attempts_total{failure="serverError"}': "0+1x240",
        'work-a fanout_dead_total{reason="tooOld"}': "0x120 0+0.25x120",
        "fanout_dead_letters": "0x120 0+0.25x120",
    },
    "a burst of throttling": {'fanout_pause_seconds{class="send"}': "0x10 3x20 0x210"},
    "a scrape gap": {name: values.replace("x240", f"x20 _x4 {values}") for name, values in _STEADY.items()},
    "scrapes that fail for two minutes": {"up": "1x20 0x3 1x217"},
    "a pod that is gone, and its partitions taken over": _TAKEN_OVER,
    "Redis that restarts": {"fanout_redis_up": "1x20 0 1x220"},
    "a failover that loses every lease once": {"fanout_leases_lost_total": "0x20 8x220"},
    "an endpoint that is away for four minutes": {WEST: "1x20 0x7 1x212"},
    "there is one endpoint": {WEST: None, 'fanout_endpoint_online{endpoint="east"}': None},
    "a breaker that opens for a moment": {'fanout_breaker_open{class="send"}': "0x20 1 0x220"},
}


@needs_promtool
@pytest.mark.parametrize("changes", SILENT.values(), ids=SILENT.keys())
def test_no_alert_ever_fires_while(changes: Changes, tmp_path: Path) -> None:
    firing(series(changes), [], "110m", tmp_path, ever="110m")


@needs_promtool
def test_a_rolling_update_is_silent(tmp_path: Path) -> None:
    """The pods are replaced one after the other, each for a minute beside its successor."""
    pods: dict[str, dict[str, str]] = {}
    for place, (pod, exported) in enumerate(PODS.items()):
        until = 20 + 6 * place
        pods[pod] = {name: values.replace("x240", f"x{until} stale") for name, values in exported.items()}
        pods[f"{pod}-new"] = {
            name: f"_x{until} {values.replace('x240', f'x{240 - until}')}" for name, values in exported.items()
        }
    pods["work-a-new"]["fanout_leases"] = "_x30 0 8x220"
    firing(series({}, pods=pods), [], "110m", tmp_path, ever="110m")


@needs_promtool
def test_the_trouble_of_another_release_is_not_ours(tmp_path: Path) -> None:
    troubles: Changes = {}
    for _name, _wanted, changes, _at in FIRES[5:]:
        troubles |= changes
    theirs = series(troubles, service="other-signalr-fanout-metrics")
    firing([*series({}), *theirs], [], "110m", tmp_path, ever="110m")


@needs_promtool
def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="FanoutPodDown"):
        firing(series({}), ["FanoutPodDown"], "6m", tmp_path)


# What they ask for, and what is said about them -----------------------------------------------------------------------


def own_rules(values: Object | None = None) -> list[Object]:
    """Return the chart's own rules."""
    release = install({"metrics": {"prometheusRule": {"enabled": True, **(values or {})}}})
    groups = release.one("PrometheusRule")["spec"]["groups"]
    return list(itertools.chain.from_iterable(group["rules"] for group in groups))


def test_expressions_name_metrics_and_labels_that_exist() -> None:
    labels = {each.exported_name: dict(each.labels) for each in Metrics().definitions}
    found = 0
    for rule in own_rules():
        for metric, selector in re.findall(r"\b(fanout_\w+)\{([^}]*)\}", rule["expr"]):
            known = labels[re.sub("_(bucket|count|sum)$", "", metric)]
            for label, values in re.findall(r'(\w+)=~?"([^"]*)"', selector):
                if label not in {"namespace", "service", "le"}:
                    assert set(values.split("|")) <= set(known[label]), rule["alert"]
            found += 1
    assert found > 20


def test_every_alert_has_its_section_in_the_runbook_and_points_to_it() -> None:
    sections = dict(re.findall(r"^### (Fanout\w+)\n(.*?)(?=^##|\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL))
    rules = {rule["alert"]: rule for rule in own_rules()}
    assert sorted(sections) == sorted(rules)
    for name, text in sections.items():
        assert [word for word in ("**Means.**", "**Look at.**", "**Do.**") if word not in text] == [], name
        assert rules[name]["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert rules[name]["annotations"]["summary"]
        assert rules[name]["annotations"]["description"]


@pytest.mark.parametrize(
    ("values", "is_told"),
    [
        ({}, False),
        ({"enabled": True}, True),
        ({"enabled": True, "runbookUrl": "https://wiki.example/fanout"}, False),
        ({"enabled": True, "defaultRules": False}, False),
    ],
)
def test_the_notes_say_where_links_of_alerts_lead_nowhere(values: Object, is_told: bool) -> None:
    notes = install({"metrics": {"prometheusRule": values}}).notes
    assert ("set\nmetrics.prometheusRule.runbookUrl to its URL" in notes) is is_told


def test_the_runbook_names_metrics_that_exist() -> None:
    exported = {each.exported_name for each in Metrics().definitions}
    named = set(re.findall(r"`(fanout_\w+)", RUNBOOK.read_text()))
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in named} <= exported


def test_each_alert_has_its_own_switch_threshold_duration_severity_and_runbook() -> None:
    names = {name[6].lower() + name[7:]: name for name in (rule["alert"] for rule in own_rules())}
    alerts: Object = chart().values["metrics"]["prometheusRule"]["alerts"]
    assert sorted(names) == sorted(alerts)
    for alert, name in names.items():
        assert name not in [rule["alert"] for rule in own_rules({"alerts": {alert: {"enabled": False}}})]
        threshold = {"threshold": 0.123} if "threshold" in alerts[alert] else {}
        changed: Object = {**threshold, "for": "17m", "severity": "page", "runbookUrl": "https://runbooks.example/x"}
        [rule] = [each for each in own_rules({"alerts": {alert: changed}}) if each["alert"] == name]
        assert (rule["for"], rule["labels"]["severity"]) == ("17m", "page")
        assert rule["annotations"]["runbook_url"] == "https://runbooks.example/x"
        assert ("0.123" in rule["expr"]) is bool(threshold)


def test_the_objective_of_latency_is_one_of_the_buckets() -> None:
    schema = chart().schema
    assert schema is not None
    rule = schema["properties"]["metrics"]["properties"]["prometheusRule"]["properties"]
    assert rule["slo"]["properties"]["latency"]["properties"]["seconds"]["enum"] == list(_WAIT_BUCKETS)
    for seconds, le in ((0.5, "0.5"), (300, "300.0")):
        text = str(own_rules({"slo": {"latency": {"seconds": seconds}}}))
        assert f'le="{le}"' in text


def test_a_release_that_only_takes_in_has_no_alert_on_its_workers() -> None:
    release = render(
        {**example("minimal"), "worker": {"enabled": False}, "metrics": {"prometheusRule": {"enabled": True}}}
    )
    assert "FanoutWorkersNotScraped" not in str(release.one("PrometheusRule"))
