"""The judgement of samples: medians, ratios of one round, met or missed, worse than before."""

import pytest

from bench.demand import Bench, Demand, read
from bench.report import document, markdown, number, rows_of, sink_line, table, warnings
from bench.stacks import Sample


async def ours(bench: Bench) -> Sample:
    """A probe that is never run."""
    raise AssertionError(bench)


async def theirs(bench: Bench) -> Sample:
    """Another one."""
    raise AssertionError(bench)


def demand(limit: float | None = 0.5, *, at_least: bool = False) -> Demand:
    return Demand("R1", "ours / theirs", limit, (ours, theirs), read(ours, "us"), read(theirs, "us"), at_least=at_least)


def rounds(*pairs: tuple[float, float]) -> list[dict[str, dict[str, float]]]:
    return [{"ours": {"us": a}, "theirs": {"us": b}} for a, b in pairs]


def test_a_ratio_is_made_within_a_round_and_the_median_counts() -> None:
    (row,) = rows_of([demand()], rounds((10, 100), (60, 100), (40, 200)))
    assert row.values == (0.1, 0.6, 0.2)
    assert row.value == 0.2
    assert (row.ours, row.reference) == (40, 100)


def test_a_demand_is_met_at_its_limit() -> None:
    assert rows_of([demand()], rounds((50, 100)))[0].met is True
    assert rows_of([demand()], rounds((51, 100)))[0].met is False


def test_at_least_turns_the_comparison() -> None:
    (row,) = rows_of([demand(25, at_least=True)], rounds((50, 10)))
    assert row.met is False
    assert row.missed_by == 5


def test_a_row_without_a_limit_is_neither_met_nor_missed() -> None:
    (row,) = rows_of([demand(None)], rounds((50, 100)))
    assert row.met is None
    assert "MISSED" not in table([row])


def test_rounds_that_lack_a_probe_are_left_out() -> None:
    measured = [*rounds((10, 100)), {"ours": {"us": 99.0}}]
    assert rows_of([demand()], measured)[0].values == (0.1,)
    assert rows_of([demand()], [{"ours": {"us": 99.0}}]) == []


def test_a_demand_without_a_reference_shows_its_figure() -> None:
    plain = Demand("R9", "p99 itself", 6.0, (ours,), read(ours, "us"), unit="ms")
    (row,) = rows_of([plain], rounds((7, 1)))
    assert row.value == 7
    assert "<= 6 ms" in table([row])
    assert "MISSED by 1.17x" in table([row])


def test_the_table_says_by_how_much_a_demand_is_missed() -> None:
    text = table(rows_of([demand()], rounds((100, 100), (120, 100), (90, 100))))
    assert "MISSED by 2x" in text
    assert "0.9-1.2" in text


def test_the_markdown_table_has_as_many_cells_in_each_line() -> None:
    lines = markdown(rows_of([demand(), demand(None)], rounds((1, 2)))).splitlines()
    assert {line.count("|") for line in lines} == {9}


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.0123"), (12.345, "12.3"), (1000, "1,000"), (45678.9, "45,679")]
)
def test_numbers_have_three_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def found(value: float, *, at_least: bool = False) -> dict[str, object]:
    pair = (value * 100, 100.0)
    return document(rows_of([demand(0.5, at_least=at_least)], rounds(pair)), rounds(pair), {})


def test_a_ratio_more_than_a_quarter_worse_than_the_baseline_warns() -> None:
    assert warnings(found(0.5), found(0.4)) == []
    (line,) = warnings(found(0.51), found(0.4))
    assert line.startswith("WARNING: R1 ours / theirs: 0.51, baseline 0.4")


def test_a_rate_that_fell_warns_too_and_one_that_rose_does_not() -> None:
    assert len(warnings(found(0.7, at_least=True), found(1.0, at_least=True))) == 1
    assert warnings(found(3.0, at_least=True), found(1.0, at_least=True)) == []


def test_what_the_baseline_does_not_know_does_not_warn() -> None:
    assert warnings(found(0.5), {"demands": []}) == []


def test_the_document_keeps_every_sample_and_the_facts() -> None:
    measured = rounds((1, 2), (3, 4))
    made = document(rows_of([demand()], measured), measured, {"commit": "abc"})
    assert made["commit"] == "abc"
    assert made["rounds"] == measured
    assert (made["demands"][0]["min"], made["demands"][0]["max"]) == (0.5, 0.75)


def test_a_sink_at_its_limit_is_told() -> None:
    assert sink_line([{"a": {"sink_us": 10.0, "sink_share": 0.3}}]).startswith("sink: 10 us")
    assert sink_line([{"a": {"sink_us": 10.0, "sink_share": 0.95}}]).startswith("WARNING: sink")
    assert sink_line([{"a": {"us": 1.0}}]) == ""
