"""The simulation finds bugs: each one that is planted, within a few seeds."""

import pytest

from tests.simulation.campaign import run_plan
from tests.simulation.plan import plan_of
from tests.simulation.planted import PLANTED

WITHIN = 150  # seeds


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_bug_is_found(name: str) -> None:
    bug = PLANTED[name]
    for seed in range(WITHIN):
        said = run_plan(plan_of(seed), stations=bug.stations).violations
        if any(word in text for text in said for word in bug.words):
            return
    pytest.fail(f"{WITHIN} seeds did not find {name}")
