"""Cheap counters, read like those of the client library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as LibraryCounter
from prometheus_client import Histogram as LibraryHistogram

from fanout.instruments import Counters, Definition, Gauges, Histogram

BOUNDS = (0.001, 0.25, 1, 10)
VALUES = st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(0, 100)), max_size=50)


def rendered(*collectors: Counters) -> str:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry).decode()


def without_creation(text: str) -> str:
    """Leave out when a series began, which a reader of rates does not need."""
    return "".join(line for line in text.splitlines(keepends=True) if "_created" not in line)


@given(VALUES, st.lists(st.sampled_from(["a", "b"])), st.integers(0, 9))
def test_the_text_is_what_the_client_library_renders_for_the_same_observations(
    values: list[float], labels: list[str], count: int
) -> None:
    theirs, ours = CollectorRegistry(), Counters("x")
    their_plain = LibraryCounter("x_plain", "Plain.", registry=theirs)
    their_kinds = LibraryCounter("x_labelled", "Labelled.", ["kind"], registry=theirs)
    their_histogram = LibraryHistogram("x_seconds", "Seconds.", buckets=BOUNDS, registry=theirs)
    plain, kinds = ours.counter("x_plain", "Plain."), ours.counters("x_labelled", "Labelled.", "kind", ["a", "b"])
    histogram = ours.histogram("x_seconds", "Seconds.", BOUNDS)
    for label in ("a", "b"):
        their_kinds.labels(label)
    for label in labels:
        their_kinds.labels(label).inc()
        kinds[label].inc()
    for value in values:
        their_histogram.observe(value)
        histogram.observe(value)
    their_plain.inc(count)
    plain.inc(count)
    assert rendered(ours) == without_creation(generate_latest(theirs).decode())


def test_every_value_of_a_label_is_there_at_zero_from_the_start() -> None:
    counters = Counters("x")
    counters.counters("x", "X.", "kind", ["a", "b"])
    text = rendered(counters)
    assert 'x_total{kind="a"} 0.0' in text
    assert 'x_total{kind="b"} 0.0' in text


def test_an_observation_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram((1, 2))
    for value in (1, 1.5, 2, 3):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 1.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert histogram.total == 7.5


def test_a_count_grows_by_one_or_by_what_it_is_told() -> None:
    counter = Counters("x").counter("x", "X.")
    counter.inc()
    counter.inc(41)
    assert counter.value == 42


def test_a_histogram_may_have_labels_and_every_pair_of_values_exists() -> None:
    counters = Counters("x")
    children = counters.histograms("x_seconds", "Seconds.", (1, 2), route=("a", "b"), status=("2xx", "5xx"))
    children["a", "5xx"].observe(1.5)
    text = rendered(counters)
    assert 'x_seconds_bucket{le="1.0",route="a",status="5xx"} 0.0' in text
    assert 'x_seconds_bucket{le="2.0",route="a",status="5xx"} 1.0' in text
    assert 'x_seconds_sum{route="a",status="5xx"} 1.5' in text
    assert text.count("x_seconds_count") == 4


def test_a_gauge_is_exported_when_it_is_watched_and_known() -> None:
    known: list[float | None] = [None]
    gauges = Gauges(
        [
            Definition("x", "gauge", "fanout_one", "One."),
            Definition("x", "counter", "fanout_two", "Two.", (("class", ("a", "b")),)),
            Definition("x", "gauge", "fanout_three", "Three."),
        ]
    )
    gauges.watch(one=lambda: known[0], two=lambda: {"a": 1, "b": 2})
    registry = CollectorRegistry()
    registry.register(gauges)
    text = generate_latest(registry).decode()
    assert "fanout_one" not in text
    assert "fanout_three" not in text
    assert 'fanout_two_total{class="b"} 2.0' in text
    known[0] = 7
    assert "fanout_one 7.0" in generate_latest(registry).decode()


def test_a_gauge_nobody_defined_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"no such gauges: \['leesas'\]"):
        Gauges([]).watch(leesas=lambda: 1.0)
