"""Metrics of the hubs that an operator names, and of no others."""

import pytest

from fanout.environment import load
from fanout.errors import ConfigurationError
from fanout.hub_metrics import MAX_HUBS
from fanout.metrics import Metrics


def value(metrics: Metrics, name: str, hub: str) -> float | None:
    return metrics.registry.get_sample_value(f"fanout_hub_{name}", {"hub": hub})


def test_without_a_name_nothing_is_counted_by_hub() -> None:
    metrics = Metrics()
    assert not metrics.by_hub.is_enabled
    assert b'hub="' not in metrics.render()


def test_a_named_hub_has_its_series_from_the_start_and_the_rest_shares_one() -> None:
    metrics = Metrics(["chat", "news"])
    metrics.by_hub.accepted("chat", 3)
    metrics.by_hub.settled("chat", 2)
    metrics.by_hub.died("chat")
    metrics.by_hub.seconds("chat").observe(0.5)
    for hub in ("games", "of-somebody", "crm/chat"):
        metrics.by_hub.accepted(hub, 1)
        metrics.by_hub.seconds(hub).observe(0.5)
    assert [value(metrics, "accepted_total", hub) for hub in ("chat", "news", "other", "games")] == [3, 0, 3, None]
    assert (value(metrics, "settled_total", "chat"), value(metrics, "dead_total", "chat")) == (2, 1)
    assert [value(metrics, "delivery_seconds_count", hub) for hub in ("chat", "news", "other")] == [1, 0, 3]


def test_the_number_of_series_is_that_which_the_setting_tells() -> None:
    def series(*hubs: str) -> int:
        text = Metrics(hubs).render().decode()
        return sum(line.startswith("fanout_hub_") for line in text.splitlines())

    assert series() == 0
    assert series("a", "b") - series("a") == 26


def test_a_hub_that_is_called_other_shares_the_series_of_the_others() -> None:
    metrics = Metrics(["other"])
    metrics.by_hub.accepted("other", 1)
    metrics.by_hub.accepted("games", 1)
    assert value(metrics, "accepted_total", "other") == 2


def test_hubs_are_named_by_a_setting_in_any_case() -> None:
    assert load({"FANOUT_METRICS_HUBS": "Chat,news"}).metrics_hubs == ("chat", "news")


@pytest.mark.parametrize("names", ["no hub!", ",".join(f"h{number}" for number in range(MAX_HUBS + 1))])
def test_a_name_that_is_no_hub_and_too_many_names_are_refused(names: str) -> None:
    with pytest.raises(ConfigurationError, match="METRICS_HUBS"):
        load({"FANOUT_METRICS_HUBS": names})
