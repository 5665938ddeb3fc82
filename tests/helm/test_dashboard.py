"""The Grafana dashboard: the file is as the code says, and Grafana and Prometheus can read what is in it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fanout.metrics import Metrics
from tests.helm.dashboard import PATH, document, expressions, text
from tests.helm.release import install

PROMTOOL = shutil.which("promtool")
OF_THE_CLIENT_LIBRARY = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
# A number that says nothing over time, or that another panel says better.
NOT_SHOWN = {
    "fanout_identity_token_seconds",  # only with Entra ID, and renewals that fail are in the log and in /readyz
    "fanout_api_keys_age_seconds",  # past its bound the refusals say so
    "fanout_backpressure_total",
    "fanout_caller_accepted_total",
    "fanout_caller_batches_total",
    "fanout_caller_limited_total",
    "fanout_compatible_behind_total",
    "fanout_compatible_requests_total",
    "fanout_flows",  # a number that only grows is one of hubs that come and go faster than they are pruned
    "fanout_flows_pruned_total",
    "fanout_hub_accepted_total",
    "fanout_hub_dead_total",
    "fanout_hub_delivery_seconds",
    "fanout_hub_settled_total",
    "fanout_ingress_requests_total",
    "fanout_issuer_keys_age_seconds",  # past its bound the refusals say so
    "fanout_item_warnings_total",
    "fanout_negotiate_requests_total",
    "fanout_order_markers",  # near its bound fanout_order_markers_full says so
    "fanout_order_markers_full_total",
    "fanout_purged_total",
    "fanout_rate_share",
    "fanout_replayed_total",
    "fanout_service_key_refused",
    "fanout_spans_exported_total",
    "fanout_spans_lost_total",
    "fanout_token_cache_hits_total",
    "fanout_token_cache_misses_total",
    "fanout_tokens",
    "fanout_trace_events_lost_total",
    "fanout_trace_events_skipped_total",
    "fanout_unordered_total",
}


def asked() -> set[str]:
    """Return the metrics that the dashboard asks for."""
    names = {name for each in expressions() for name in re.findall(r"\b((?:fanout|process)_\w+)\{", each)}
    return {re.sub("_(bucket|count|sum)$", "", name) for name in names}


def test_the_file_is_as_the_code_says() -> None:
    assert PATH.read_text() == text(), "run: make docs"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH")
def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": each.replace("$__rate_interval", "5m")}
        for number, each in enumerate(expressions())
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    command = [str(PROMTOOL), "check", "rules", "rules.yaml"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(rules)} rules found" in result.stdout
    assert len(rules) > 60


def test_every_metric_exists_and_every_other_is_left_out_on_purpose() -> None:
    exported = {each.exported_name for each in Metrics().definitions}
    wanted = (exported | OF_THE_CLIENT_LIBRARY) - NOT_SHOWN
    assert asked() - wanted == set()
    assert wanted - asked() == set(), "show it in tests/helm/dashboard.py, or add it to NOT_SHOWN; then: make docs"


def test_labels_and_their_values_exist() -> None:
    labels = {each.exported_name: dict(each.labels) for each in Metrics().definitions}
    for each in expressions():
        for metric, selector in re.findall(r"\b(fanout_\w+)\{([^}]*)\}", each):
            known = labels[re.sub("_(bucket|count|sum)$", "", metric)]
            for name, value in re.findall(r'(\w+)="([^"$]+)"', selector):
                assert value in known[name], each


def test_every_query_is_of_the_chosen_release_alone() -> None:
    for each in expressions():
        selectors = re.findall(r"\{([^}]*)\}", each)
        assert selectors
        assert all(selector.startswith('namespace="$namespace",service="$service"') for selector in selectors)


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = document()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_what_every_pod_exports_of_the_whole_queue_is_not_summed() -> None:
    whole = ("fanout_queue_depth", "fanout_oldest_age_seconds", "fanout_dead_letters", "fanout_partitions")
    for each in expressions():
        if any(f"{name}{{" in each for name in whole):
            assert re.search(r"max( by \(\w+\))? ?\(fanout_", each), each


def test_the_chart_gives_it_to_grafana_where_asked() -> None:
    assert [thing for thing in install().of_kind("ConfigMap") if "dashboard" in thing["metadata"]["name"]] == []
    values = {"enabled": True, "namespace": "monitoring", "annotations": {"grafana_folder": "Push"}}
    found = install({"metrics": {"dashboard": values}}).one("ConfigMap", "-dashboard")
    assert found["metadata"]["namespace"] == "monitoring"
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Push"}
    assert json.loads(found["data"]["signalr-fanout.json"]) == document()
