"""A seed reproduces a failure exactly, with the same events, in any process and for any hash of strings."""

import subprocess
import sys

import pytest

from tests.simulation.campaign import run_seed

SEEDS = (3, 40, 93, 138, 1304)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_run_twice_is_the_same_run(seed: int) -> None:
    first = run_seed(seed)
    run_seed(seed + 1)  # a run in between changes nothing
    assert run_seed(seed) == first


def test_a_seed_is_the_same_run_in_another_process() -> None:
    program = f"from tests.simulation.campaign import run_seed; print([run_seed(seed).digest for seed in {SEEDS}])"
    answers = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": number}, check=True, capture_output=True, text=True
        ).stdout
        for number in ("1", "2")
    }
    assert answers == {f"{[run_seed(seed).digest for seed in SEEDS]}\n"}


def test_different_seeds_are_different_runs() -> None:
    assert len({run_seed(seed).digest for seed in range(20)}) == 20
