"""Lanes whose time has not come: in the order of their times, in parts, hurried as a plain model has it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanout.signalr.message import RouteClass
from tests.builders import a_join, a_message, an_entry
from tests.examples import examples
from tests.workers.helpers import a_flow, a_partition, buffered_in
from workers import delay_queue
from workers.delay_queue import LOOKS, DelayQueue
from workers.lane import Lane

MESSAGE, JOIN = an_entry(a_message("")), an_entry(a_join())
HUBS = ("a", "b")
ENDPOINTS = ("", "east")


def a_lane(key: str = "hub\nu1", *, joins: bool = False) -> Lane:
    owned = a_partition()
    lane = Lane(key, a_flow(owned))
    lane.waiting.append(buffered_in(owned, 1, entry=JOIN if joins else MESSAGE))
    return lane


def test_lanes_come_back_in_the_order_they_are_due() -> None:
    queue, lanes = DelayQueue(), [a_lane(f"hub\nu{number}") for number in range(3)]
    for lane, until in zip(lanes, (3.0, 1.0, 2.0), strict=True):
        queue.put(lane, until)
    assert all(lane.delayed for lane in lanes)
    assert (len(queue), queue.next_at(), repr(queue)) == (3, 1.0, "<DelayQueue of 3 lanes>")
    assert list(queue.due(0.9)) == []
    assert list(queue.due(2.0)) == [lanes[1], lanes[2]]
    assert [lane.delayed for lane in lanes] == [True, False, False]


def test_those_of_one_moment_come_in_the_order_they_were_put_in() -> None:
    queue, lanes = DelayQueue(), [a_lane(f"hub\nu{number}") for number in range(5)]
    for lane in lanes:
        queue.put(lane, 1.0)
    assert list(queue.due(1.0)) == lanes


def test_a_lane_whose_hub_is_held_back_is_put_back_until_it_may_be_called() -> None:
    held = {"dead": 5.0}
    queue = DelayQueue(lambda lane, _now: held.get(lane.hub))
    dead, quiet = a_lane("dead\nu1"), a_lane("quiet\nu1")
    queue.put(dead, 1.0)
    queue.put(quiet, 1.0)
    assert list(queue.due(1.0)) == [quiet]
    assert (dead.delayed, queue.next_at()) == (True, 5.0)
    held.clear()
    assert list(queue.due(5.0)) == [dead]


def test_lanes_that_were_refused_for_speed_can_be_made_due_at_once() -> None:
    queue, (throttled, failed) = DelayQueue(), (a_lane("hub\nu1"), a_lane("hub\nu2"))
    throttled.uncounted = True
    queue.put(failed, 5.0)
    queue.put(throttled, 300.0)
    queue.hurry_refused(RouteClass.ACTION)
    assert list(queue.due(1.0)) == []
    queue.hurry_refused(RouteClass.SEND)
    assert list(queue.due(1.0)) == [throttled]
    assert queue.next_at() == 5.0


def test_a_lane_that_was_dropped_meanwhile_never_comes() -> None:
    queue, gone = DelayQueue(), a_lane()
    queue.put(gone, 1.0)
    gone.dropped = True
    assert queue.next_at() is None
    queue.put(gone, 1.0)
    assert list(queue.due(2.0)) == []


def test_many_lanes_are_made_due_and_given_in_parts_none_twice() -> None:
    queue, lanes = DelayQueue(), [a_lane(f"hub\nu{number}") for number in range(1000)]
    for lane in lanes:
        lane.backs_off = True
        queue.put(lane, 60.0)
    queue.hurry(RouteClass.SEND, "hub")
    given: list[Lane] = []
    while (at := queue.next_at()) is not None and at <= 1.0:
        part = list(queue.due(1.0))
        assert 0 < len(part) <= LOOKS
        given += part
    assert (len(given), set(given), len(queue)) == (1000, set(lanes), 0)


def test_many_lanes_that_were_refused_are_made_due_in_parts_and_those_put_in_later_are_not() -> None:
    queue, lanes = DelayQueue(), [a_lane(f"hub\nu{number}") for number in range(1001)]
    for lane in lanes:
        lane.uncounted = True
    for lane in lanes[:1000]:
        queue.put(lane, 60.0)
    queue.hurry_refused(RouteClass.SEND)
    queue.put(lanes[1000], 60.0)
    assert sum(until <= 1.0 for until, _count, _lane in queue._heap) == 0  # nothing is looked at but in parts
    given: list[Lane] = []
    while (at := queue.next_at()) is not None and at <= 1.0:
        part = list(queue.due(1.0))
        assert 0 < len(part) <= LOOKS
        given += part
        assert len([each for each in lanes if each.due and each.due[0] <= 1.0]) <= 1000 - len(given)
    assert (set(given), len(queue), queue.next_at()) == (set(lanes[:1000]), 1, 60.0)


def test_a_lane_that_comes_while_others_are_hurried_is_not_among_them() -> None:
    queue, lanes = DelayQueue(), [a_lane(f"hub\nu{number}") for number in range(2)]
    for lane in lanes:
        lane.backs_off = True
    queue.put(lanes[0], 60.0)
    queue.hurry(RouteClass.SEND, "hub")
    queue.put(lanes[1], 60.0)
    assert list(queue.due(1.0)) == [lanes[0]]
    assert queue.next_at() == 60.0


def test_lanes_that_are_hurried_again_and_again_leave_no_more_behind_than_there_are() -> None:
    queue, lanes = DelayQueue(), [a_lane(f"hub\nu{number}") for number in range(50)]
    for now in range(200):
        for lane in lanes:
            lane.begin_next()
            lane.backs_off = True
            queue.put(lane, now + 3600.0)
        queue.hurry(RouteClass.SEND, "hub")
        assert len(list(queue.due(float(now)))) == 50
        assert len(queue._heap) + len(queue._old) <= 2 * (1024 + 50)
    assert len(queue) == 0
    assert not queue._backing_off
    assert not queue._hurried


@dataclass
class Waiting:
    """A lane as the model sees it."""

    lane: Lane
    until: float
    hurries: int = 0
    next_hurry: float = -inf
    dropped: bool = False


@dataclass
class Model:
    """The plain way: every waiting lane is looked at each time."""

    held: dict[str, float]
    waiting: list[Waiting] = field(default_factory=list)

    def hurry(self, now: float, route_class: RouteClass, hub: str) -> None:
        for each in self.waiting:
            lane = each.lane
            if each.until > now and lane.backs_off and lane.hub == hub and lane.route_class is route_class:
                sooner = max(now, each.next_hurry)
                if sooner < each.until:
                    each.until = sooner
                    each.next_hurry = sooner + 2.0**each.hurries
                    each.hurries += 1

    def hurry_refused(self, now: float, route_class: RouteClass, endpoint: str) -> None:
        for each in self.waiting:
            lane = each.lane
            if lane.uncounted and lane.flow.endpoint == endpoint and lane.route_class is route_class:
                each.until = min(each.until, now)

    def due(self, now: float) -> list[Waiting]:
        for each in self.waiting:
            if each.until <= now:
                each.until = max(each.until, self.held.get(each.lane.hub, -inf))
        found = [each for each in self.waiting if each.until <= now]
        self.waiting = [each for each in self.waiting if each.until > now]
        return [each for each in found if not each.dropped]


ACTION = st.one_of(
    st.tuples(st.just("go_on"), st.sampled_from([0.5, 1.0, 7.0])),
    st.tuples(st.just("put"), st.sampled_from([0.0, 3.0, 10.0, 60.0])),
    st.tuples(st.just("hurry"), st.sampled_from([(kind, hub) for kind in RouteClass for hub in HUBS])),
    st.tuples(st.just("hurry_refused"), st.sampled_from([(kind, name) for kind in RouteClass for name in ENDPOINTS])),
    st.tuples(st.just("drop"), st.integers(0, 20)),
    st.tuples(st.just("hold"), st.tuples(st.sampled_from(HUBS), st.sampled_from([0.0, 2.0, 30.0]))),
)


class Both:
    """The queue and the model, to which the same happens."""

    def __init__(self, kinds: Sequence[tuple[str, bool, bool, bool, str]], most: int) -> None:
        self.now = 0.0
        self.most = most
        self.held: dict[str, float] = {}
        self.queue, self.model = DelayQueue(lambda lane, _now: self.held.get(lane.hub)), Model(self.held)
        self.idle: list[Waiting] = []
        for number, (hub, joins, backs_off, uncounted, endpoint) in enumerate(kinds):
            lane = a_lane(f"{hub}\nu{number}", joins=joins)
            lane.backs_off, lane.uncounted, lane.flow.endpoint = backs_off, uncounted, endpoint
            self.idle.append(Waiting(lane, 0.0))

    def go_on(self, seconds: float) -> None:
        self.now += seconds

    def put(self, seconds: float) -> None:
        if self.idle:
            each = self.idle.pop(0)
            each.until = self.now + seconds
            self.queue.put(each.lane, each.until)
            self.model.waiting.append(each)

    def hurry(self, what: tuple[RouteClass, str]) -> None:
        self.queue.hurry(*what)
        self.model.hurry(self.now, *what)

    def hurry_refused(self, what: tuple[RouteClass, str]) -> None:
        self.queue.hurry_refused(*what)
        self.model.hurry_refused(self.now, *what)

    def drop(self, number: int) -> None:
        for each in self.model.waiting[number : number + 1]:
            each.dropped = each.lane.dropped = True

    def hold(self, what: tuple[str, float]) -> None:
        self.held[what[0]] = self.now + what[1]

    def wake(self) -> None:
        """Wake in both what is due; the same lanes, each once."""
        expected = self.model.due(self.now)
        woken: list[Lane] = []
        while (at := self.queue.next_at()) is not None and at <= self.now:
            part = list(self.queue.due(self.now, self.most))
            assert len(part) <= self.most
            woken += part
        assert len(woken) == len(set(woken))
        assert set(woken) == {each.lane for each in expected}
        self.idle += expected


@pytest.fixture(autouse=True, params=[1024, 0], ids=["few stale places", "as many stale places as others"])
def most_stale(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move places to a new heap seldom, and often."""
    monkeypatch.setattr(delay_queue, "_MOST_STALE", request.param)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(HUBS), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(ENDPOINTS)),
        min_size=1,
        max_size=12,
    ),
    st.lists(ACTION, max_size=40),
    st.integers(1, 5),
)
def test_the_lanes_that_are_woken_are_those_of_a_plain_model(
    kinds: list[tuple[str, bool, bool, bool, str]], actions: list[tuple[str, Any]], most: int
) -> None:
    both = Both(kinds, most)
    for action, value in actions:
        getattr(both, action)(value)
        both.wake()
    both.go_on(1000.0)
    both.wake()
    assert not [each for each in both.model.waiting if not each.dropped]
    assert (len(both.queue), both.queue._backing_off, both.queue._refused, both.queue.next_at()) == (0, {}, {}, None)
