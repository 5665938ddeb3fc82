"""The Grafana dashboard, made from code: `make docs` writes helm/files/dashboard.json.

Rules guarded: every expression asks for one release, which two variables choose, and for metrics that exist. What every
process exports of the whole queue is taken once and not summed over pods.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fanout.metrics import BY_ENDPOINT, DELIVERY, INGRESS, PROCESS, QUEUE, REDIS, WORKER
from tests.helm.release import CHART

PATH = CHART / "files" / "dashboard.json"
_OVERVIEW = "Overview"
_COLUMNS = 24
_RATE = "$__rate_interval"
_POD = "{{pod}}"
_ENDPOINT = "{{endpoint}}"


@dataclass(frozen=True)
class Panel:
    """One panel. A query is an expression and the legend of its series; SELF stands for the labels of the release."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    text: str = ""
    kind: str = "timeseries"
    width: int = 8


def rate(metric: str, *by: str, labels: str = "") -> str:
    """Return the rate of a counter, over all pods."""
    return _summed(f"rate({metric}{{SELF{labels}}}[{_RATE}])", by)


def quantile(share: float, metric: str, *by: str) -> str:
    """Return a quantile of a histogram, over all pods."""
    return f"histogram_quantile({share}, {_summed(f'rate({metric}_bucket{{SELF}}[{_RATE}])', ('le', *by))})"


def total(metric: str, *by: str, labels: str = "") -> str:
    """Return the sum of a gauge over pods."""
    return _summed(f"{metric}{{SELF{labels}}}", by)


def known(metric: str, *by: str, labels: str = "") -> str:
    """Return a gauge that every pod exports alike."""
    return f"max{_by(by)}({metric}{{SELF{labels}}})"


def _average(metric: str, *by: str) -> str:
    return f"avg{_by(by)}({metric}{{SELF}})"


def _summed(expression: str, by: Sequence[str]) -> str:
    return f"sum{_by(by)}({expression})"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)}) " if labels else ""


def _stat(title: str, unit: str, expression: str, text: str) -> Panel:
    return Panel(title, unit, ((expression, title),), text, "stat", 4)


def _quantiles(title: str, metric: str, text: str, *by: str) -> Panel:
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    queries = tuple((quantile(share, metric, *by), f"p{share * 100:g} {legend}".strip()) for share in (0.5, 0.99))
    return Panel(title, "s", queries, text)


DEPTH = "sum(max by (partition) (fanout_queue_depth{SELF}))"
ROWS: dict[str, tuple[Panel, ...]] = {
    _OVERVIEW: (
        _stat("Delivered", "ops", rate("fanout_delivered_total"), "Entries delivered a second."),
        _stat("Waiting", "short", DEPTH, "Entries that are not settled yet."),
        _stat("Oldest", "s", known("fanout_oldest_age_seconds"), "Age of the oldest entry."),
        _stat(
            "Partitions without owner",
            "short",
            known("fanout_partitions", labels=',state="unowned"'),
            "What is in them is not delivered.",
        ),
        _stat("Dead letters", "short", known("fanout_dead_letters"), "Kept until somebody replays or deletes them."),
        _stat("Held back", "short", known("fanout_breaker_open"), "Hubs of one class whose breaker is open."),
    ),
    QUEUE: (
        Panel("Entries that wait", "short", ((known("fanout_queue_depth", "partition"), "partition {{partition}}"),)),
        Panel(
            "Age of the oldest entry", "s", ((known("fanout_oldest_age_seconds", "destination"), "{{destination}}"),)
        ),
        Panel(
            "Stored and ended",
            "ops",
            (
                (rate("fanout_accepted_total"), "accepted"),
                (rate("fanout_delivered_total"), "delivered"),
                (rate("fanout_gone_total"), "gone"),
                (rate("fanout_expired_total"), "expired"),
                (rate("fanout_superseded_total"), "superseded"),
                (rate("fanout_dead_total"), "dead"),
            ),
            "What was accepted has one of these ends.",
        ),
        Panel("Partitions", "short", ((known("fanout_partitions", "state"), "{{state}}"),)),
        Panel(
            "Dead letters",
            "short",
            (
                (known("fanout_dead_letters"), "kept"),
                (rate("fanout_dropped_letters_total", "bound"), "dropped a second: {{bound}}"),
            ),
        ),
        Panel(
            "Age of the oldest dead letter",
            "s",
            (
                (known("fanout_oldest_dead_letter_age_seconds"), "oldest"),
                (known("fanout_dead_letter_age_limit_seconds"), "deleted at"),
            ),
            "At that age it is deleted.",
        ),
        Panel("Given up", "ops", ((rate("fanout_dead_total", "reason"), "{{reason}}"),), "By reason."),
    ),
    INGRESS: (
        Panel(
            "Requests",
            "reqps",
            ((rate("fanout_http_request_seconds_count", "route", "status"), "{{route}} {{status}}"),),
        ),
        _quantiles("Time to answer", "fanout_http_request_seconds", "From the head to the answer.", "route"),
        Panel("Refused", "reqps", ((rate("fanout_refused_requests_total", "code") + " > 0", "{{code}}"),), "By code."),
        Panel(
            "Accepted",
            "ops",
            (
                (rate("fanout_accepted_total", "operation"), "{{operation}}"),
                (rate("fanout_duplicates_total"), "duplicates"),
                (rate("fanout_rejected_total"), "rejected"),
            ),
        ),
        _quantiles("Time to store a batch", "fanout_append_seconds", "Replicas or disks included."),
        Panel(
            "Request bodies in memory",
            "bytes",
            ((total("fanout_body_bytes", "pod"), _POD), (total("fanout_body_bytes_limit", "pod"), "limit of {{pod}}")),
        ),
    ),
    DELIVERY: (
        _quantiles("Accepted to settled", "fanout_delivery_seconds", "The time a message takes.", "class"),
        _quantiles("Wait for the first call", "fanout_queue_wait_seconds", "What the queue adds."),
        _quantiles("One call", "fanout_send_seconds", "What the service adds."),
        Panel("Delivered", "ops", ((rate("fanout_delivered_total", "operation"), "{{operation}}"),)),
        Panel("Calls that did not deliver", "ops", ((rate("fanout_failed_attempts_total", "failure"), "{{failure}}"),)),
        Panel(
            "Calls repeated, messages joined",
            "ops",
            ((rate("fanout_retries_total"), "repeated"), (rate("fanout_joined_total"), "joined")),
        ),
    ),
    BY_ENDPOINT: (
        Panel(
            "Endpoints online",
            "percentunit",
            ((_average("fanout_endpoint_online", "endpoint"), _ENDPOINT),),
            "Share of the pods that an endpoint answers. Nothing is shown where there is only one.",
        ),
        Panel("Settled", "ops", ((rate("fanout_endpoint_settled_total", "endpoint"), _ENDPOINT),)),
        Panel("Given up, by endpoint", "ops", ((rate("fanout_endpoint_dead_total", "endpoint"), _ENDPOINT),)),
        Panel("Calls in flight to endpoints", "short", ((total("fanout_endpoint_in_flight", "endpoint"), _ENDPOINT),)),
        Panel(
            "Endpoints that fail",
            "short",
            ((known("fanout_endpoint_breaker_open", "endpoint"), _ENDPOINT),),
            "Hubs that are held back, once for each class of calls.",
        ),
        Panel(
            "Pauses of endpoints",
            "s",
            ((known("fanout_endpoint_pause_seconds", "endpoint"), _ENDPOINT),),
            "Seconds left.",
        ),
        Panel(
            "Waiting for endpoints unknown here",
            "short",
            ((known("fanout_unknown_endpoint_entries"), "entries"),),
            "Nobody delivers them until a worker runs that has their endpoint.",
        ),
    ),
    WORKER: (
        Panel("Leases", "short", ((total("fanout_leases", "pod"), _POD),)),
        Panel(
            "Leases that moved",
            "ops",
            ((rate("fanout_leases_gained_total"), "gained"), (rate("fanout_leases_lost_total"), "lost")),
            "A lost lease repeats what was in flight.",
        ),
        Panel(
            "Calls in flight",
            "short",
            ((total("fanout_in_flight", "pod"), _POD), (total("fanout_window", "pod"), "window of {{pod}}")),
        ),
        Panel(
            "Held back and paused",
            "short",
            (
                (known("fanout_breaker_open", "class"), "hubs held back, {{class}}"),
                (known("fanout_paused_hubs"), "hubs paused"),
                (known("fanout_pauses", "cause"), "pauses, {{cause}}"),
                (total("fanout_held_lanes"), "destinations that wait for a newer worker"),
                (total("fanout_lanes_leaving"), "destinations whose hand-over waits for a call"),
            ),
        ),
        Panel("Pauses", "s", ((known("fanout_pause_seconds", "class"), "{{class}}"),), "Seconds left."),
        Panel(
            "Rate limit",
            "ops",
            (
                (known("fanout_rate_limit", "class"), "{{class}}"),
                (rate("fanout_slowdowns_total", "class"), "refusals, {{class}}"),
            ),
            "For all workers together; none is shown while there is no limit.",
        ),
        Panel(
            "In memory",
            "short",
            (
                (total("fanout_waiting", "pod"), "entries of {{pod}}"),
                (total("fanout_lanes", "pod"), "lanes of {{pod}}"),
            ),
        ),
        Panel(
            "Connections to the service",
            "short",
            (
                (total("fanout_connections"), "open"),
                (rate("fanout_connections_opened_total"), "opened a second"),
                (rate("fanout_connections_reused_total"), "reused a second"),
            ),
        ),
        _quantiles("Time to settle", "fanout_settle_seconds", "To remove delivered entries."),
        Panel(
            "Refused whatever the rate",
            "percentunit",
            ((known("fanout_refused_anyway", "class"), "{{class}}"),),
            "Share of the calls that is answered 429 and says nothing of a limit.",
        ),
    ),
    REDIS: (
        Panel("Redis answers", "short", ((total("fanout_redis_up", "pod"), _POD),), "1 when it does."),
        Panel("Latency", "s", ((total("fanout_redis_latency_seconds", "pod"), _POD),), "Of measuring the queue."),
        Panel("Memory", "percentunit", ((known("fanout_redis_memory_ratio"), "used"),)),
    ),
    PROCESS: (
        Panel("CPU", "percentunit", ((rate("process_cpu_seconds_total", "pod"), _POD),), "1 is a core, and the most."),
        Panel("Memory", "bytes", ((total("process_resident_memory_bytes", "pod"), _POD),)),
        _quantiles("Lag of the event loop", "fanout_event_loop_lag_seconds", "Late wake-ups.", "pod"),
        Panel(
            "Connections of clients",
            "short",
            (
                (total("fanout_http_connections", "pod"), _POD),
                (total("fanout_http_connections_waiting", "pod"), "waiting for {{pod}}"),
            ),
        ),
        Panel("File descriptors", "short", ((total("process_open_fds", "pod"), _POD),)),
        Panel("Versions", "short", ((total("fanout_build_info", "version"), "{{version}}"),), "Pods of each."),
    ),
}


def document() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    return {
        "uid": "signalr-fanout",
        "title": "signalr-fanout",
        "tags": ["signalr-fanout"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_panels()),
    }


def expressions() -> list[str]:
    """Return every expression of the dashboard."""
    targets = [target for panel in document()["panels"] for target in panel.get("targets", [])]
    return [target["expr"] for target in targets]


def text() -> str:
    """Return the file."""
    return json.dumps(document(), indent=1) + "\n"


def _variables() -> list[dict[str, Any]]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    asked = (
        ("namespace", "label_values(fanout_build_info, namespace)"),
        ("service", 'label_values(fanout_build_info{namespace="$namespace"}, service)'),
    )
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        *(
            {
                "name": name,
                "type": "query",
                "datasource": source,
                "query": {"query": query, "refId": name},
                "definition": query,
                "refresh": 2,  # when the time range changes
                "sort": 1,
            }
            for name, query in asked
        ),
    ]


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row, panels in ROWS.items():
        yield {
            "id": number,
            "type": "row",
            "title": row,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
        }
        number, top, left, height = number + 1, top + 1, 0, 4 if row == _OVERVIEW else 8
        for panel in panels:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + height
            place = {"x": left, "y": top, "w": panel.width, "h": height}
            yield _panel(panel, number, place)
            number, left = number + 1, left + panel.width
        top += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    selector = 'namespace="$namespace",service="$service"'
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "gridPos": place,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression.replace("SELF", selector), "legendFormat": legend}
            for place, (expression, legend) in enumerate(panel.queries)
        ],
    }
