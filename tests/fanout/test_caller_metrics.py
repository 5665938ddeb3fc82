"""Metrics of the callers that an operator names, and of no others."""

import pytest

from fanout.caller_metrics import MAX_CALLERS
from fanout.environment import load
from fanout.errors import ConfigurationError
from fanout.metrics import Metrics


def value(metrics: Metrics, name: str, caller: str) -> float | None:
    return metrics.registry.get_sample_value(f"fanout_caller_{name}_total", {"caller": caller})


def test_without_a_name_nothing_is_counted_by_caller() -> None:
    metrics = Metrics()
    assert not metrics.by_caller.is_enabled
    assert b'caller="' not in metrics.render()


def test_a_named_caller_has_its_series_from_the_start_and_the_rest_shares_one() -> None:
    metrics = Metrics((), ["orders", "api-key"])
    metrics.by_caller.accepted("orders", 3)
    metrics.by_caller.accepted("orders", 2)
    for caller in ("billing", "", "jwt:5f3a"):
        metrics.by_caller.accepted(caller, 1)
    assert [value(metrics, "accepted", caller) for caller in ("orders", "api-key", "other", "billing")] == [
        5,
        0,
        3,
        None,
    ]
    assert [value(metrics, "batches", caller) for caller in ("orders", "api-key", "other")] == [2, 0, 3]


def test_the_names_are_bounded_in_number_and_length() -> None:
    assert load({"FANOUT_METRICS_CALLERS": "orders, api-key"}).metrics_callers == ("orders", "api-key")
    for names in (",".join(f"c{number}" for number in range(MAX_CALLERS + 1)), "x" * 101, "a\x07b"):
        with pytest.raises(ConfigurationError, match="FANOUT_METRICS_CALLERS"):
            load({"FANOUT_METRICS_CALLERS": names})
