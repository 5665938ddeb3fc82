"""Lanes: order inside, turns across, bounded memory, nothing lost on any way through."""

from collections import deque
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fanout.signalr.message import Scope
from tests.builders import a_join, a_message, an_entry
from tests.workers.crew import a_tenure, held_in
from workers.lane import Lane
from workers.lanes import Lanes
from workers.route_class import RouteClass
from workers.tenure import START, Held, Tenure, order_of

KEYS = ("a", "b")
NAMES = st.sampled_from(KEYS)
DEPTH = 4
DEEPER = 8  # a quarter of it is more than the head


def taken_from(lanes: Lanes, now: float = 0.0) -> Lane:
    lane = lanes.take(now)
    assert lane is not None
    return lane


def filled(keys: str, *, depth: int = 64, room: int = 0) -> tuple[Lanes, Tenure]:
    """Lanes with one entry for each letter, in order; the ids count from 1. Without room memory is always short."""
    lanes, tenure = Lanes(depth=depth, room=room), a_tenure()
    for sequence, key in enumerate(keys, start=1):
        lanes.add(key, held_in(tenure, sequence))
    return lanes, tenure


def test_entries_of_a_lane_come_out_in_the_order_added() -> None:
    lanes, _ = filled("aaaa")
    out = []
    while (lane := lanes.take(0.0)) is not None:
        out.append(lane.head.id)
        lanes.advance(lane)
    assert out == [b"1-0", b"2-0", b"3-0", b"4-0"]
    assert (lanes.waiting, len(lanes), lanes.ready) == (0, 0, 0)


def test_a_lane_with_its_head_out_gives_nothing_until_the_head_is_done() -> None:
    lanes, _ = filled("aa")
    lane = taken_from(lanes)
    assert lanes.take(0.0) is None
    lanes.advance(lane)
    assert taken_from(lanes).head.id == b"2-0"


def test_lanes_take_turns_so_that_a_long_one_starves_nobody() -> None:
    lanes, _ = filled("aaaaaaaaabcd")
    turns = []
    while (lane := lanes.take(0.0)) is not None:
        turns.append(lane.key)
        lanes.advance(lane)
    assert turns == ["a", "b", "c", "d", *"aaaaaaaa"]


def test_the_same_destination_in_two_partitions_is_two_lanes() -> None:
    lanes = Lanes()
    lanes.add("a", held_in(a_tenure(0), 1))
    lanes.add("a", held_in(a_tenure(1), 1))
    assert len(lanes) == 2
    assert {taken_from(lanes).tenure.partition, taken_from(lanes).tenure.partition} == {0, 1}


def test_a_postponed_head_waits_in_its_lane_while_others_go() -> None:
    lanes, _ = filled("ab")
    lanes.postpone(taken_from(lanes), 5.0)
    assert taken_from(lanes, 4.9).key == "b"
    assert lanes.take(4.9) is None
    assert lanes.next_due() == 5.0
    assert taken_from(lanes, 5.0).key == "a"
    assert lanes.next_due() is None


def test_postponed_lanes_come_back_in_the_order_they_are_due() -> None:
    lanes, _ = filled("abc")
    for until in (3.0, 1.0, 2.0):
        lanes.postpone(taken_from(lanes), until)
    assert [taken_from(lanes, 9.0).key for _ in "abc"] == ["b", "c", "a"]


def test_attempts_and_a_renewed_token_belong_to_the_head_alone() -> None:
    lanes, _ = filled("aa")
    lane = taken_from(lanes)
    lane.attempts, lane.renewed = 3, True
    lanes.advance(lane)
    assert (lane.attempts, lane.renewed) == (0, False)


def test_past_its_depth_a_lane_leaves_the_rest_in_the_stream() -> None:
    lanes, tenure = filled("aaaa", depth=DEPTH)
    assert not lanes.add("a", held_in(tenure, 5))
    assert not lanes.add("a", held_in(tenure, 6))
    lane = taken_from(lanes)
    assert (lane.spilled_after, lanes.waiting) == (b"4-0", 4)
    assert tenure.known == {b"1-0", b"2-0", b"3-0", b"4-0"}
    assert lanes.has_spilled(tenure)
    assert not lanes.has_spilled(a_tenure())


def test_a_spilled_lane_asks_for_more_when_a_quarter_is_left() -> None:
    lanes, tenure = filled("aaaa", depth=DEPTH)
    lanes.add("a", held_in(tenure, 5))
    for _ in range(2):
        lanes.advance(taken_from(lanes))
        assert lanes.hungry() is None
    lanes.advance(taken_from(lanes))
    lane = lanes.hungry()
    assert lane is not None
    assert lanes.hungry() is None  # it asks once
    lanes.refill(lane, [held_in(tenure, 5)], scanned_to=b"5-0", complete=True)
    assert lane.spilled_after is None
    assert [held.id for held in lane.waiting] == [b"4-0", b"5-0"]


def test_what_is_read_while_a_lane_is_spilled_comes_after_what_was_spilled() -> None:
    lanes, tenure = filled("aaaa", depth=DEPTH)
    for sequence in (5, 6):
        lanes.add("a", held_in(tenure, sequence))
    for _ in range(4):
        lanes.advance(taken_from(lanes))
    lane = lanes.hungry()
    assert lane is not None
    assert lanes.take(0.0) is None
    assert not lanes.add("a", held_in(tenure, 7))
    lanes.refill(lane, [held_in(tenure, 5)], scanned_to=b"5-0", complete=False)
    assert lane.spilled_after == b"5-0"
    lanes.advance(taken_from(lanes))
    assert lanes.hungry() is lane


def test_a_fetch_that_found_nothing_and_is_not_complete_is_asked_for_again() -> None:
    lanes, tenure = filled("aaaa", depth=DEPTH)
    lanes.add("a", held_in(tenure, 5))
    for _ in range(4):
        lanes.advance(taken_from(lanes))
    lane = lanes.hungry()
    assert lane is not None
    lanes.refill(lane, [], scanned_to=b"4-5", complete=False)
    assert lanes.hungry() is lane
    lanes.refill(lane, [], scanned_to=b"9-0", complete=True)
    assert (lanes.hungry(), len(lanes)) == (None, 0)


def test_a_fetch_that_found_more_than_there_is_room_for_leaves_the_rest() -> None:
    lanes, tenure = filled("aaaa", depth=DEPTH)
    lanes.add("a", held_in(tenure, 5))
    for _ in range(4):
        lanes.advance(taken_from(lanes))
    lane = lanes.hungry()
    assert lane is not None
    lanes.refill(lane, [held_in(tenure, i) for i in range(5, 15)], scanned_to=b"14-0", complete=True)
    assert (len(lane.waiting), lane.spilled_after, lanes.waiting) == (DEPTH, b"8-0", DEPTH)


def test_a_head_that_is_repeated_leaves_all_behind_it_to_the_stream() -> None:
    lanes, tenure = filled("aaa")
    lane = taken_from(lanes)
    lanes.postpone(lane, 1.0)
    assert (lanes.waiting, lane.spilled_after, tenure.known) == (1, b"1-0", {b"1-0"})
    assert not lanes.add("a", held_in(tenure, 4))


def test_a_lane_that_is_on_its_second_attempt_takes_nothing_more_in() -> None:
    lanes, tenure = filled("a")
    lane = taken_from(lanes)
    lane.attempts = 2
    assert not lanes.add("a", held_in(tenure, 2))
    assert lane.spilled_after == b"1-0"


def test_a_head_that_has_to_be_repeated_while_its_lane_is_being_fetched_for_keeps_the_order() -> None:
    """What was fetched stands behind entries that the repeated head just left to the stream."""
    lanes, tenure = filled("aaaaaaaa", depth=8)
    lanes.add("a", held_in(tenure, 9))
    for _ in range(6):
        lanes.advance(taken_from(lanes))
    fetching = lanes.hungry()  # 7 and 8 are left; 9 is being looked for, after 8
    assert fetching is not None
    lanes.postpone(taken_from(lanes), 1.0)  # 7 is repeated, 8 goes back to the stream
    lanes.refill(fetching, [held_in(tenure, 9)], scanned_to=b"9-0", complete=True)
    lanes.advance(taken_from(lanes, 2.0))
    lane = lanes.take(2.0)
    if lane is None:
        lane = lanes.hungry()
        assert lane is not None
        assert lane.spilled_after == b"7-0"
    else:
        assert lane.head.id == b"8-0"


def test_while_memory_is_not_short_what_waits_behind_a_repeated_head_stays() -> None:
    lanes, tenure = filled("aaa", room=6)
    lane = taken_from(lanes)
    lane.attempts = 2
    lanes.postpone(lane, 1.0)
    assert (lanes.waiting, lane.spilled_after) == (3, None)
    assert lanes.add("a", held_in(tenure, 4))
    assert not lanes.add("a", held_in(tenure, 5))  # more than half the room is taken
    assert lane.spilled_after == b"4-0"


def test_where_heads_alone_are_too_many_they_wait_for_their_time_in_the_stream() -> None:
    lanes, tenure = filled("aab")
    tenure.low = 1
    lane = taken_from(lanes)
    lane.attempts = 3
    lanes.postpone(lane, 5.0)
    assert (lanes.waiting, lane.waiting) == (1, deque())
    assert not lanes.add("a", held_in(tenure, 4))
    assert lanes.take(4.9) is not lane
    assert not lanes.any_hungry
    assert lanes.wake_due(5.0) == 0
    assert lanes.hungry() is lane
    assert order_of(lane.spilled_after or b"") < (1, 0)
    lanes.refill(lane, [held_in(tenure, 1)], scanned_to=b"1-0", complete=False)
    again = taken_from(lanes, 5.0)
    assert (again, again.head.id, again.attempts, again.spilled_after) == (lane, b"1-0", 3, b"1-0")


def test_a_head_that_somebody_took_away_meanwhile_leaves_nothing_to_the_next() -> None:
    lanes, tenure = filled("a")
    tenure.low = 0
    lane = taken_from(lanes)
    lane.attempts = 3
    lanes.postpone(lane, 5.0)
    lanes.wake_due(5.0)
    assert lanes.hungry() is lane
    lanes.refill(lane, [held_in(tenure, 2)], scanned_to=b"2-0", complete=True)
    assert (lane.head.id, lane.attempts) == (b"2-0", 0)


def test_hubs_take_turns_so_that_one_with_many_lanes_starves_no_other() -> None:
    lanes, tenure = Lanes(), a_tenure()
    for number in range(1, 6):
        lanes.add(f"noisy\nu{number}", held_in(tenure, number))
    lanes.add("quiet\nu1", held_in(tenure, 6))
    assert [taken_from(lanes).hub for _ in range(4)] == ["noisy", "quiet", "noisy", "noisy"]


def test_only_lanes_of_the_classes_asked_for_are_given() -> None:
    lanes, tenure = filled("a")
    everybody = an_entry(a_message("", scope=Scope.BROADCAST))
    lanes.add("b", held_in(tenure, 2, entry=everybody))
    lanes.add("j", held_in(tenure, 3, entry=an_entry(a_join())))
    assert [lanes.ready_in(each) for each in RouteClass] == [1, 1, 1]
    assert lanes.take(0.0, ()) is None
    broadcast = lanes.take(0.0, [RouteClass.BROADCAST])
    assert broadcast is not None
    assert broadcast.key == "b"
    assert lanes.take(0.0, [RouteClass.BROADCAST]) is None
    lanes.postpone(broadcast, 1.0)
    assert lanes.wake_due(1.0) == 1
    assert lanes.ready_in(RouteClass.BROADCAST) == 1


def test_entries_that_went_together_leave_together() -> None:
    lanes, _ = filled("aaaa")
    lanes.advance(taken_from(lanes), 3)
    assert (taken_from(lanes).head.id, lanes.waiting) == (b"4-0", 1)


def test_entries_can_leave_from_the_middle_of_a_lane_that_was_taken() -> None:
    lanes, _ = filled("aaaa")
    lane = taken_from(lanes)
    lane.attempts = 1
    lanes.remove(lane, [lane.waiting[1], lane.waiting[3]])
    assert ([held.id for held in lane.waiting], lanes.waiting, lane.attempts) == ([b"1-0", b"3-0"], 2, 1)
    lanes.remove(lane, [lane.waiting[0]])
    assert (lane.head.id, lane.attempts) == (b"3-0", 0)
    lanes.release(lane)
    assert taken_from(lanes) is lane


def test_a_dropped_tenure_is_forgotten_and_its_heads_in_flight_change_nothing() -> None:
    lanes, tenure = filled("aabc")
    other = a_tenure(1)
    lanes.add("z", held_in(other, 1))
    a, b = taken_from(lanes), taken_from(lanes)
    lanes.postpone(b, 3.0)
    lanes.drop(tenure)
    assert (lanes.waiting, len(lanes), lanes.next_due()) == (1, 1, None)
    lanes.advance(a)
    lanes.postpone(a, 1.0)
    lanes.refill(a, [held_in(tenure, 9)], scanned_to=b"9-0", complete=True)
    assert taken_from(lanes, 99.0).key == "z"
    assert (lanes.waiting, len(lanes)) == (1, 1)
    assert lanes.take(99.0) is None


def test_a_dropped_lane_is_not_fetched_for() -> None:
    lanes, tenure = filled("aaaa", depth=DEPTH)
    lanes.add("a", held_in(tenure, 5))
    for _ in range(4):
        lanes.advance(taken_from(lanes))
    lanes.drop(tenure)
    assert lanes.hungry() is None


def test_a_lane_and_the_lanes_tell_their_state_to_people() -> None:
    lanes, _ = filled("aaaab", depth=3)
    lane = taken_from(lanes)
    assert "3 waiting, more in the stream" in repr(lane)
    assert repr(lanes) == "<Lanes 2, 4 entries, 1 ready, 0 delayed>"


class World(RuleBasedStateMachine):
    """Two partitions with a model of their streams; reader, couriers, settling and fetching in any interleaving."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(depth=DEEPER, room=0)
        self.now = 0.0
        self.stride = 1
        self.sequence = 0
        self.streams: list[list[tuple[bytes, str]]] = [[], []]
        self.tenures = [a_tenure(0), a_tenure(1)]
        self.low = inf
        self.out: list[Lane] = []
        self.unsettled: list[Held] = []
        self.fetches: list[tuple[Lane, bytes, list[tuple[bytes, str]], bytes]] = []
        self.delivered: dict[tuple[int, str], list[bytes]] = {}
        self.everything: dict[tuple[int, str], list[bytes]] = {}

    @initialize(
        keys=st.lists(NAMES, max_size=12),
        stride=st.integers(1, 8),
        room=st.sampled_from([0, 0, 10, 1000]),
        low=st.sampled_from([inf, 0, 1, 4]),
    )
    def begin(self, keys: list[str], stride: int, room: int, low: float) -> None:
        self.lanes = Lanes(depth=DEEPER, room=room)
        self.low = low
        for tenure in self.tenures:
            tenure.low = low
        self.stride = stride
        for key in keys:
            self.append(0, key)

    @rule(partition=st.integers(0, 1), key=NAMES)
    def append(self, partition: int, key: str) -> None:
        self.sequence += 1
        entry_id = f"{self.sequence}-0".encode()
        self.streams[partition].append((entry_id, key))
        self.everything.setdefault((partition, key), []).append(entry_id)

    @rule(partition=st.integers(0, 1), key=NAMES, count=st.integers(1, 2 * DEEPER))
    def flood(self, partition: int, key: str, count: int) -> None:
        """Many entries of one lane arrive and are read."""
        for _ in range(count):
            self.append(partition, key)
        self.read(partition, 1000)

    @rule(partition=st.integers(0, 1), count=st.sampled_from([1, 5, 1000]))
    def read(self, partition: int, count: int) -> None:
        tenure = self.tenures[partition]
        after = [row for row in self.streams[partition] if order_of(row[0]) > order_of(tenure.cursor)]
        for entry_id, key in after[:count]:
            tenure.cursor = entry_id
            if entry_id not in tenure.known:
                self.lanes.add(key, self.held(tenure, entry_id))

    @rule()
    def take(self) -> None:
        lane = self.lanes.take(self.now)
        if lane is None:
            return
        assert lane not in self.out, "two heads of one lane are out"
        place = (lane.tenure.partition, lane.key)
        done = self.delivered.setdefault(place, [])
        assert lane.head.id == self.everything[place][len(done)], "not the oldest of its lane"
        lane.attempts += 1
        self.out.append(lane)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        self.finish(self.out.pop(data.draw(st.integers(0, len(self.out) - 1))))

    @rule(count=st.integers(1, DEEPER))
    def deliver(self, count: int) -> None:
        """Several calls in a row that go well."""
        for _ in range(count):
            before = len(self.out)
            self.take()
            if len(self.out) > before:
                self.finish(self.out.pop())

    @precondition(lambda self: self.out)
    @rule(data=st.data(), delay=st.integers(0, 3))
    def postpone(self, data: st.DataObject, delay: int) -> None:
        lane = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.lanes.postpone(lane, self.now + delay)

    @rule(delay=st.integers(0, 3))
    def fail(self, delay: int) -> None:
        """A call that does not go well, from start to end."""
        before = len(self.out)
        self.take()
        if len(self.out) > before:
            self.lanes.postpone(self.out.pop(), self.now + delay)

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.settled(self.unsettled.pop(data.draw(st.integers(0, len(self.unsettled) - 1))))

    def begin_fetch(self, count: int) -> None:
        """As the task that refills does: at once, one lane at a time; the answer comes when it comes."""
        lane = None if self.fetches else self.lanes.hungry()
        if lane is not None:
            after = lane.spilled_after
            assert after is not None
            rows = [row for row in self.streams[lane.tenure.partition] if order_of(row[0]) > order_of(after)]
            self.fetches.append((lane, after, rows[:count], rows[-1][0] if rows else after))

    @precondition(lambda self: self.fetches)
    @rule()
    def end_fetch(self) -> None:
        lane, after, rows, last = self.fetches.pop()
        tenure = lane.tenure
        seen = [row for row in rows if order_of(row[0]) <= order_of(tenure.cursor)]
        found = [self.held(tenure, row[0]) for row in seen if row[1] == lane.key and row[0] not in tenure.known]
        scanned_to = seen[-1][0] if seen else after
        read_since = any(
            order_of(last) < order_of(r[0]) <= order_of(tenure.cursor) for r in self.streams[tenure.partition]
        )
        complete = not read_since and (len(seen) < len(rows) or not rows or rows[-1][0] == last)
        self.lanes.refill(lane, found, scanned_to=scanned_to, complete=complete)
        self.begin_fetch(self.stride)

    @rule(partition=st.integers(0, 1), settled=st.booleans())
    def drop(self, partition: int, settled: bool) -> None:
        """The tenure ends; its calls in flight end as they will before another begins."""
        tenure = self.tenures[partition]
        self.lanes.drop(tenure)
        assert not self.lanes.has_spilled(tenure)
        for lane in [lane for lane in self.out if lane.tenure is tenure]:
            self.out.remove(lane)
            self.lanes.advance(lane)
            if settled:
                self.delivered[partition, lane.key].append(lane.head.id)
                self.unsettled.append(lane.head)
        for held in [held for held in self.unsettled if held.tenure is tenure]:
            self.unsettled.remove(held)
            self.settled(held)
        self.tenures[partition] = a_tenure(partition)
        self.tenures[partition].low = self.low

    @invariant()
    def counters_are_exact(self) -> None:
        lanes = list(self.lanes._lanes.values())
        assert len(self.lanes) == len(lanes)
        assert self.lanes.waiting == sum(len(lane.waiting) for lane in lanes)
        assert all(len(lane.waiting) <= DEEPER for lane in lanes)
        assert all(lane.waiting or lane.fetching or lane.delayed for lane in lanes)

    @invariant()
    def known_is_what_is_held_or_not_yet_settled(self) -> None:
        for tenure in self.tenures:
            lanes = [lane for lane in self.lanes._lanes.values() if lane.tenure is tenure]
            held = {held.id for lane in lanes for held in lane.waiting}
            assert tenure.known == held | {held.id for held in self.unsettled if held.tenure is tenure}

    def teardown(self) -> None:
        """Whatever happened, everything is delivered once, lane by lane in order, when it goes on undisturbed."""
        for _ in range(50 + 4 * self.sequence):
            if {place: ids for place, ids in self.delivered.items() if ids} == self.everything:
                break
            while self.unsettled:
                self.settled(self.unsettled.pop())
            for partition in range(2):
                self.read(partition, 1000)
            self.take()
            while self.out:
                self.finish(self.out.pop())
            self.now += 10
            self.begin_fetch(1000)
            if self.fetches:
                self.end_fetch()
        assert {place: ids for place, ids in self.delivered.items() if ids} == self.everything
        while self.fetches:
            self.end_fetch()
        assert (len(self.lanes), self.lanes.waiting) == (0, 0)

    def finish(self, lane: Lane) -> None:
        self.delivered[lane.tenure.partition, lane.key].append(lane.head.id)
        self.unsettled.append(lane.head)
        self.lanes.advance(lane)
        self.begin_fetch(self.stride)

    def held(self, tenure: Tenure, entry_id: bytes) -> Held:
        return held_in(tenure, order_of(entry_id)[0])

    def settled(self, held: Held) -> None:
        self.streams[held.tenure.partition] = [row for row in self.streams[held.tenure.partition] if row[0] != held.id]
        held.tenure.known.discard(held.id)


World.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
test_any_interleaving_delivers_everything_once_and_in_order = pytest.mark.timeout(60)(World.TestCase)


def test_order_of_an_id_is_a_number_not_a_text() -> None:
    assert order_of(b"9-0") < order_of(b"10-0") < order_of(b"10-2") < order_of(b"10-10")
    assert order_of(START) < order_of(b"1")
