"""Cheap counters, read like those of the client library."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from fanout.counters import Spread, Tallies

BOUNDS = (0.001, 0.25, 1, 10)
VALUES = st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(0, 100)), max_size=50)


def rendered(*collectors: Tallies) -> str:
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
    theirs, ours = CollectorRegistry(), Tallies()
    counter = Counter("x_plain", "Plain.", registry=theirs)
    labelled = Counter("x_labelled", "Labelled.", ["kind"], registry=theirs)
    histogram = Histogram("x_seconds", "Seconds.", buckets=BOUNDS, registry=theirs)
    plain, kinds = ours.count("x_plain", "Plain."), ours.counts("x_labelled", "Labelled.", "kind", ["a", "b"])
    spread = ours.spread("x_seconds", "Seconds.", BOUNDS)
    for label in ("a", "b"):
        labelled.labels(label)
    for label in labels:
        labelled.labels(label).inc()
        kinds[label].inc()
    for value in values:
        histogram.observe(value)
        spread.observe(value)
    counter.inc(count)
    plain.inc(count)
    assert rendered(ours) == without_creation(generate_latest(theirs).decode())


def test_every_value_of_a_label_is_there_at_zero_from_the_start() -> None:
    tallies = Tallies()
    tallies.counts("x", "X.", "kind", ["a", "b"])
    text = rendered(tallies)
    assert 'x_total{kind="a"} 0.0' in text
    assert 'x_total{kind="b"} 0.0' in text


def test_an_observation_on_a_bound_belongs_below_it() -> None:
    spread = Spread((1, 2))
    for value in (1, 1.5, 2, 3):
        spread.observe(value)
    assert spread.buckets() == [("1.0", 1.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert spread.total == 7.5


def test_a_count_grows_by_one_or_by_what_it_is_told() -> None:
    count = Tallies().count("x", "X.")
    count.inc()
    count.inc(41)
    assert count.value == 42
