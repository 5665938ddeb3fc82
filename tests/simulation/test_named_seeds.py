"""Worlds in which the simulation once found a bug, each named for it.

A plan is drawn from its seed, so a change of plan.py makes other worlds of these seeds: whoever changes it looks for
new ones (undo the fix, run the campaign) and says so here. Some worlds stand for a bug only with one thing changed.
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.campaign import run_plan
from tests.simulation.plan import plan_of

NAMED: dict[str, tuple[int, dict[str, Any]]] = {
    "a fenced settlement did not silence the worker after FLUSHALL": (6, {}),
    "a fenced settlement did not silence the worker after the store's clock jumped": (109, {}),
    "a slow answer made messages look younger than they were": (50, {}),
    "a young message was dropped as expired when the store's clock was set back": (180, {}),
    "a message in a lane was dropped as expired when the store's clock was set back": (322, {}),
    "a lane that was dropped in memory was overtaken when its lease came back to life": (1907, {}),
    "an id given out again after a failover: parking the lost entry deleted the new one": (2607, {}),
    "a late RENEW answer rewound the reader, and what was settled came again": (1470, {"store_latency": 0.03}),
    "a head was sent after asking the store for its age, and the lease had run out meanwhile": (
        534,
        {"store_latency": 0.06},
    ),
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_bug_stays_fixed(name: str) -> None:
    seed, changes = NAMED[name]
    result = run_plan(replace(plan_of(seed), **changes))
    assert not result.violations, result.story
