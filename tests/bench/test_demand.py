"""What a run is made of: its scale, its demands and what is kept between rounds."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench.demand import FULL, QUICK, Bench, chosen, scaled
from bench.demands import ALL
from bench.rig import Rig


def test_every_ratio_of_the_goals_has_a_row() -> None:
    assert {f"R{number}" for number in range(1, 15)} <= {demand.key for demand in ALL}


def test_no_two_rows_have_the_same_text() -> None:
    assert len({demand.text for demand in ALL}) == len(ALL)


def test_rows_stand_in_the_order_of_their_numbers() -> None:
    numbers = [int(demand.key[1:]) for demand in ALL if demand.key[1:]]
    assert numbers == sorted(numbers)


def test_only_takes_all_rows_of_a_key_and_refuses_unknown_ones() -> None:
    assert {demand.key for demand in chosen(ALL, ["r8", " R10 "])} == {"R8", "R10"}
    assert chosen(ALL, [""]) == list(ALL)
    with pytest.raises(ValueError, match="R99"):
        chosen(ALL, ["R99"])


def test_a_scaled_count_is_whole_batches() -> None:
    assert scaled(FULL, rounds=None).count(20_000) == 20_000
    assert QUICK.count(1_010) == 300
    assert scaled(QUICK, share=0.0001).count(20_000) == 100


def test_the_backlog_is_measured_once_and_only_when_there_is_one() -> None:
    (row, *_) = [demand for demand in ALL if demand.key == "R13"]
    assert row.wanted(0, FULL)
    assert not row.wanted(1, FULL)
    assert not row.wanted(0, QUICK)


def test_a_side_measurement_runs_once_in_a_quick_run_and_always_in_a_full_one() -> None:
    (row, *_) = [demand for demand in ALL if demand.key == "S"]
    assert row.wanted(0, QUICK)
    assert not row.wanted(1, QUICK)
    assert row.wanted(4, FULL)


async def test_what_is_started_is_kept_for_the_next_round(tmp_path: Path) -> None:
    started = []

    async def start() -> str:
        started.append(1)
        return "running"

    bench = Bench(Rig(tmp_path, AsyncExitStack()), QUICK)
    assert [await bench.keep("it", start), await bench.keep("it", start)] == ["running", "running"]
    assert len(started) == 1
