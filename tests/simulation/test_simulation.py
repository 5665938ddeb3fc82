"""The promise under simulated faults, seed after seed. world.py and processes.py say what is real in a world."""

import os

import pytest

from tests.simulation.campaign import run_seeds
from tests.simulation.coverage import OF, missing

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
FIRST = int(os.environ.get("SIMULATION_FIRST", "0"))


@pytest.mark.timeout(60 + SEEDS)
def test_no_seed_breaks_the_promise() -> None:
    """Every accepted entry is delivered, expired or dead, unchanged and in order, and repeated only for a reason."""
    results = list(run_seeds(range(FIRST, FIRST + SEEDS)))
    failed = [result for result in results if result.violations]
    assert not failed, f"{len(failed)} seeds: {[result.seed for result in failed]}\n{failed[0].report}"
    if SEEDS >= OF:
        assert not missing([result.coverage for result in results]), "these were met too seldom to prove anything"
