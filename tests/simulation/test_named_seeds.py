"""Seeds that once found a bug, each named for it. A plan is drawn from its seed, so a change of plan.py changes what
these seeds are: such a change finds, for each bug, a new seed with `planted.py` or keeps its plan here as a value.
"""

import pytest

from tests.simulation.campaign import run_seed

NAMED: dict[str, int] = {}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_bug_stays_fixed(name: str) -> None:
    result = run_seed(NAMED[name])
    assert not result.violations, result.story
