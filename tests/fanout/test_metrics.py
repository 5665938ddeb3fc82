"""Every metric there from the start, under names and labels that do not change."""

import re

from prometheus_client.parser import text_string_to_metric_families

from fanout import __version__
from fanout.binding.refusals import ITEM_CODES
from fanout.errors import REFUSALS
from fanout.metrics import CONTENT_TYPE, DEAD_REASONS, FAILURES, SECTIONS, STATUSES, Metrics
from fanout.signalr.message import OPERATIONS

CLOSED = {
    "operation": set(OPERATIONS),
    "failure": set(FAILURES),
    "reason": set(DEAD_REASONS),
    "status": set(STATUSES),
    "code": {*REFUSALS, *ITEM_CODES},
}
FORBIDDEN = {"user", "group", "connection", "user_id", "id", "message_id", "hub", "target", "lane", "to"}


def families() -> list[tuple[str, str, list[tuple[str, dict[str, str], float]]]]:
    text = Metrics().render().decode()
    return [
        (family.name, family.type, [(sample.name, sample.labels, sample.value) for sample in family.samples])
        for family in text_string_to_metric_families(text)
    ]


def test_every_series_exists_at_zero_from_the_start() -> None:
    for name, _kind, samples in families():
        if name.startswith("fanout_") and name != "fanout_build_info":
            assert all(value == 0 for sample, _labels, value in samples if not sample.endswith("_created")), name


def test_the_version_is_a_label() -> None:
    assert Metrics().registry.get_sample_value("fanout_build_info", {"version": __version__}) == 1


def test_every_label_that_is_a_closed_set_has_all_its_values_from_the_start() -> None:
    for _name, kind, samples in families():
        if kind != "counter":
            continue
        for label, all_of_them in CLOSED.items():
            values = {labels[label] for _sample, labels, _value in samples if label in labels}
            assert values in (set(), all_of_them)


def test_no_label_can_name_a_person_or_a_place() -> None:
    for name, _kind, samples in families():
        for _sample, labels, _value in samples:
            assert not labels.keys() & FORBIDDEN, name


def test_names_begin_with_the_product_and_end_with_their_unit() -> None:
    for name, kind, samples in families():
        assert re.fullmatch(r"(fanout|process)_[a-z][a-z_]*", name)
        if kind == "counter":
            assert all(sample.endswith(("_total", "_created")) for sample, _labels, _value in samples), name
        if kind == "histogram":
            assert name.endswith("_seconds")


def test_every_metric_says_what_it_counts() -> None:
    for line in Metrics().render().decode().splitlines():
        if line.startswith("# HELP") and not line.split()[2].endswith("_created"):
            assert line.rstrip().endswith("."), line


def test_the_children_of_the_hot_path_are_the_series_that_are_exported() -> None:
    metrics = Metrics()
    metrics.delivered["sendToUser"].inc()
    metrics.dead["tooOld"].inc(2)
    metrics.failures["throttled"].inc(3)
    assert metrics.registry.get_sample_value("fanout_delivered_total", {"operation": "sendToUser"}) == 1
    assert metrics.registry.get_sample_value("fanout_dead_total", {"reason": "tooOld"}) == 2
    assert metrics.registry.get_sample_value("fanout_failed_attempts_total", {"failure": "throttled"}) == 3


def test_what_a_worker_keeps_is_exported_by_workers_only() -> None:
    metrics, held = Metrics(), [1.0]
    assert metrics.registry.get_sample_value("fanout_leases") is None
    metrics.gauges.watch(leases=lambda: held[0], connections_opened=lambda: 7)
    held[0] = 5.0
    assert metrics.registry.get_sample_value("fanout_leases") == 5
    assert metrics.registry.get_sample_value("fanout_connections_opened_total") == 7


def test_a_key_that_was_not_asked_about_has_no_value() -> None:
    metrics = Metrics()
    assert metrics.registry.get_sample_value("fanout_service_key_refused") is None
    metrics.refusals_of_keys[""] = False
    assert metrics.registry.get_sample_value("fanout_service_key_refused") == 0
    metrics.refusals_of_keys["east"] = True
    assert metrics.registry.get_sample_value("fanout_service_key_refused") == 1


def test_every_metric_is_defined_once_in_a_section() -> None:
    names = [definition.exported_name for definition in Metrics().definitions]
    assert len(names) == len(set(names))
    assert {definition.section for definition in Metrics().definitions} == set(SECTIONS)


def test_the_process_itself_is_measured() -> None:
    text = Metrics().render().decode()
    assert "process_cpu_seconds_total" in text
    assert "process_resident_memory_bytes" in text


def test_delivery_is_measured_up_to_an_hour() -> None:
    bounds = Metrics().delivery_seconds["send",].bounds
    assert (bounds[0], bounds[-1]) == (0.005, 3600)
    assert {60, 90, 120, 180, 300, 600} <= set(bounds)


def test_two_processes_in_one_do_not_share_instruments() -> None:
    one, two = Metrics(), Metrics()
    one.retries.inc()
    assert two.registry.get_sample_value("fanout_retries_total") == 0


def test_the_content_type_is_the_text_format() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=")
