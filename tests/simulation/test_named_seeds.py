"""Worlds in which the simulation once found a bug, each named after it.

A plan is drawn from its seed, so that a change of plan.py or scenes.py makes other worlds of these seeds. Whoever
changes one looks for new seeds: undo the fix, and run seeds until one fails. Some worlds show a bug only with one
setting changed.
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.campaign import run_plan
from tests.simulation.scenes import plan_of

NAMED: dict[str, tuple[int, str, dict[str, Any]]] = {
    "a fenced settlement did not silence the worker after FLUSHALL": (6, "any", {}),
    "a fenced settlement did not silence the worker after the store's clock jumped": (109, "any", {}),
    "a slow answer made messages look younger than they were": (50, "any", {}),
    "a young message was dropped as expired when the store's clock was set back": (180, "any", {}),
    "a message in a lane was dropped as expired when the store's clock was set back": (322, "any", {}),
    "a lane that was dropped in memory was overtaken when its lease came back to life": (1907, "any", {}),
    "an id given out again after a failover: parking the lost entry deleted the new one": (2607, "any", {}),
    "a late RENEW answer rewound the reader, and what was settled came again": (1470, "any", {"store_latency": 0.03}),
    "a head was sent after asking the store for its age, and the lease had run out meanwhile": (
        534,
        "any",
        {"store_latency": 0.06},
    ),
    "a head was sent after asking the store for its age, in a pause that began meanwhile": (169, "late", {}),
    "a head was sent after asking the store for its age, through a breaker that opened meanwhile": (83, "late", {}),
    "heads that had waited for the store went all at once, faster than configured": (315, "late", {}),
    "a lane that was held back while it was to be fetched for was ready twice": (284, "dead", {}),
    "a worker stood between looking at a message's age and sending it": (3154, "any", {}),
    "a lane went on with what a former server had given, after another one had answered": (536, "failover", {}),
    "lanes handed over with calls in flight were taken again beside these when the store forgot them": (
        1364,
        "fence",
        {},
    ),
    "what stood behind a dead head was settled before that was in the dead letters, and then came before it": (
        1171,
        "late",
        {"service_noise": 0.3, "settings": {"retry_max_attempts": 2, "lease_seconds": 1.0}},
    ),
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_bug_stays_fixed(name: str) -> None:
    seed, scene, changes = NAMED[name]
    plan = plan_of(seed, scene)
    settings = {**plan.settings, **changes.get("settings", {})}
    result = run_plan(replace(plan, **{**changes, "settings": settings}))
    assert not result.violations, result.report
