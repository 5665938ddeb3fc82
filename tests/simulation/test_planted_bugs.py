"""The simulation finds bugs: each one that is planted, within a few seeds."""

import pytest

from tests.simulation.campaign import run_plan
from tests.simulation.planted import PLANTED
from tests.simulation.planted_delivery import PLANTED_IN_DELIVERY
from tests.simulation.planted_handover import PLANTED_IN_HANDOVER
from tests.simulation.planted_sweeps import PLANTED_IN_SWEEPS
from tests.simulation.scenes import plan_of

WITHIN = 150  # seeds


ALL = {**PLANTED, **PLANTED_IN_DELIVERY, **PLANTED_IN_SWEEPS, **PLANTED_IN_HANDOVER}


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_planted_bug_is_found(name: str) -> None:
    bug = ALL[name]
    for seed in range(WITHIN):
        said = run_plan(plan_of(seed, bug.scene), stations=bug.stations).violations
        if any(word in text for text in said for word in bug.words):
            return
    pytest.fail(f"{WITHIN} seeds did not find {name}")
