"""Destinations that fail by themselves keep nobody else waiting, and a service that is down has peace. Virtual time.

Calls that fail take nearly a second. A destination that nobody knows anything of may be one of those: as many have to
be tried as there are, and with few places in flight that takes its time, whoever does it.
"""

from collections.abc import Callable, Sequence

import pytest

from fanout.signalr.message import GroupAction, Item, Scope, Verb, recipient_of
from fanout.signalr.outcome import TAKEN, Answered, MaybeSent, NotSent, Outcome
from tests.builders import a_join, a_message
from tests.workers.virtual_worker import VirtualWorker

pytestmark = pytest.mark.slow

UNAVAILABLE = Answered(503)
_BAD = 100
_FAILS_AFTER = 0.9  # seconds
_SERVED_AFTER = 0.02
_OUTAGE = 40.0
_WITHIN = 5.0


def messages(who: str, count: int) -> list[Item]:
    return [a_message(f"{who}{number}") for number in range(count)]


def of_all_kinds(who: str, count: int) -> list[Item]:
    kinds: Sequence[Callable[[str], Item]] = (
        a_message,
        lambda name: a_message(name, scope=Scope.GROUP),
        lambda name: a_join(name, f"g {name}"),
        lambda name: GroupAction(verb=Verb.REMOVE_ALL, member_scope=Scope.USER, member=name),
    )
    return [kinds[number % len(kinds)](f"{who}{number}") for number in range(count)]


def a_worker(
    places: int, outcome: Outcome = UNAVAILABLE, *, outage: float = 0.0, takes: float = _FAILS_AFTER, seed: int = 0
) -> VirtualWorker:
    """Return a worker whose calls for "bad..." fail, all others too until the end of an outage."""

    def answer(now: float, item: Item) -> tuple[float, Outcome]:
        fails = recipient_of(item).startswith("bad") or now < outage
        return (takes, outcome) if fails else (_SERVED_AFTER, TAKEN)

    return VirtualWorker(answer, places=places, seed=seed)


def worst(worker: VirtualWorker, good: Sequence[Item], since: float) -> float:
    """Return how long the last of them waited from a moment on; all were served."""
    missing = [who for each in good if (who := recipient_of(each)) not in worker.served]
    assert not missing, f"{len(missing)} of {len(good)} were not served"
    return max(worker.served[recipient_of(each)] for each in good) - since


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("places", [1, 4, 8, 16, 32, 128])
def test_those_that_come_while_a_hundred_are_known_to_fail_hardly_wait(places: int, count: int) -> None:
    worker, good = a_worker(places), messages("good", count)
    known = 2.0 + 1.3 * _BAD * _FAILS_AFTER / places  # all were tried once
    worker.post(0.0, messages("bad", _BAD))
    worker.post(known, good)
    worker.run(known + _WITHIN)
    assert worst(worker, good, known) < _WITHIN


@pytest.mark.parametrize(("places", "within"), [(4, 27.5), (8, 15.0), (16, _WITHIN), (32, 3.0), (128, 0.1)])
def test_those_that_come_a_moment_after_a_hundred_wait_until_these_were_tried(places: int, within: float) -> None:
    worker, good = a_worker(places), messages("good", 20)
    worker.post(0.0, messages("bad", _BAD))
    worker.post(1.0, good)
    worker.run(1.0 + within)
    assert worst(worker, good, 1.0) < within


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("places", "within"), [(32, _WITHIN), (128, 4.0)])
def test_those_that_failed_in_an_outage_are_served_soon_after_though_a_hundred_go_on_failing(
    places: int, within: float, seed: int
) -> None:
    worker, good = a_worker(places, outage=_OUTAGE, seed=seed), messages("good", 20)
    worker.post(0.0, messages("bad", _BAD))
    worker.post(1.0, good)
    worker.run(_OUTAGE + within)
    assert worst(worker, good, _OUTAGE) < within


@pytest.mark.parametrize("seed", range(2))
def test_one_that_failed_in_an_outage_is_found_among_a_hundred_that_go_on_failing(seed: int) -> None:
    worker, good = a_worker(128, outage=_OUTAGE, seed=seed), messages("good", 1)
    worker.post(0.0, messages("bad", _BAD))
    worker.post(1.0, good)
    worker.run(_OUTAGE + _WITHIN)
    assert worst(worker, good, _OUTAGE) < _WITHIN


@pytest.mark.parametrize("places", [4, 16, 128])
def test_those_that_come_after_an_outage_hardly_wait(places: int) -> None:
    worker, good = a_worker(places, outage=_OUTAGE), messages("good", 20)
    worker.post(0.0, messages("bad", _BAD))
    worker.post(_OUTAGE, good)
    worker.run(_OUTAGE + _WITHIN)
    assert worst(worker, good, _OUTAGE) < 1.5


@pytest.mark.parametrize("takes", [0.005, 0.05, 1.0])
@pytest.mark.parametrize("outcome", [UNAVAILABLE, Answered(403), NotSent("refused"), MaybeSent("cut")])
def test_however_they_fail_and_however_long_that_takes(outcome: Outcome, takes: float) -> None:
    worker, good = a_worker(32, outcome, takes=takes, outage=10.0), messages("good", 20)
    worker.post(0.0, messages("bad", _BAD))
    worker.post(1.0, good)
    worker.run(10.0 + _WITHIN)
    assert worst(worker, good, 10.0) < _WITHIN


@pytest.mark.parametrize("hubs", [1, 5])
def test_calls_of_all_kinds_to_several_hubs(hubs: int) -> None:
    worker, good = a_worker(64, outage=_OUTAGE), [of_all_kinds(f"good{number} ", 8) for number in range(hubs)]
    for number in range(hubs):
        worker.post(0.0, of_all_kinds(f"bad{number} ", _BAD // hubs), hub=f"hub{number}")
        worker.post(1.0, good[number], hub=f"hub{number}")
    worker.run(_OUTAGE + _WITHIN)
    assert worst(worker, [each for items in good for each in items], _OUTAGE) < _WITHIN


def test_a_broadcast_and_another_hub_are_not_held_up() -> None:
    worker = a_worker(8)
    good: list[Item] = [a_message("", scope=Scope.BROADCAST)]
    worker.post(0.0, messages("bad", _BAD))
    worker.post(5.0, good)
    worker.post(5.0, messages("other", 20), hub="other")
    worker.run(10.0)
    assert worst(worker, [*good, *messages("other", 20)], 5.0) < _WITHIN


# A service that is down


@pytest.mark.parametrize(
    ("count", "in_a_minute", "later"),
    [
        (10, 180, 30),  # later: calls in the fifth minute
        (100, 1700, 300),
        (120, 800, 100),
        (300, 250, 30),
    ],
)
def test_a_service_that_is_down_has_peace(count: int, in_a_minute: int, later: int) -> None:
    """After the first calls, for a hundred, most calls are made where about as many wait as may fail by themselves."""
    worker = a_worker(128, outage=10_000.0, takes=0.005)
    worker.post(0.0, messages("good", count))
    worker.run(300.0)
    times = [when for when, _who in worker.calls if when > 3.0]
    assert sum(when < 60.0 for when in times) <= in_a_minute
    assert sum(when >= 240.0 for when in times) <= later
    assert max(sum(when <= other < when + 1.0 for other in times) for when in times[::7]) <= 45
    assert all(len(each.waiting) == 1 and each.attempts < 60 for each in worker.schedule._lanes.values())


@pytest.mark.parametrize(("count", "outage"), [(10, 20.0), (100, 20.0), (500, 20.0), (200, 200.0)])
def test_a_service_that_recovers_is_noticed(count: int, outage: float) -> None:
    worker, good = a_worker(128, outage=outage, takes=0.005), messages("good", count)
    worker.post(0.0, good)
    worker.run(outage + 30.0)
    first = min(worker.served.values()) - outage
    assert first < max(3.0, outage / 10)
    assert worst(worker, good, outage) < first + 3.0
