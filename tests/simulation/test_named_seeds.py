"""Seeds that once found a bug, each named for it.

A plan is drawn from its seed, so a change of plan.py makes other worlds of these seeds: whoever changes it looks for
new ones (undo the fix, run the campaign) and says so here.
"""

import pytest

from tests.simulation.campaign import run_seed

NAMED: dict[str, int] = {}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_bug_stays_fixed(name: str) -> None:
    result = run_seed(NAMED[name])
    assert not result.violations, result.story
