"""Order in a lane, turns across lanes, bounded memory, and nothing lost in any interleaving."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from fanout.queue.entry import Entry
from fanout.queue.stream import START
from fanout.signalr.message import Priority, RouteClass, Scope
from tests.builders import a_join, a_message, an_entry
from tests.examples import examples
from tests.workers.helpers import a_flow, a_partition, buffered_in
from workers.lane import FairQueue, Lane
from workers.partition import BufferedEntry, OwnedPartition, order_of
from workers.schedule import Schedule

KEYS = ("a", "b")
NAMES = st.sampled_from(KEYS)
DEPTH = 4
DEEPER = 8  # a quarter of it is more than the head


def taken_from(lanes: Schedule, now: float = 0.0) -> Lane:
    lane = lanes.take(now)
    assert lane is not None
    return lane


PLENTY = 1_000_000  # bytes: room for a thousand entries of these tests


def filled(keys: str, *, depth: int = 64, room: int = PLENTY) -> tuple[Schedule, OwnedPartition]:
    """Lanes with one entry of 1000 bytes for each letter, in order; the ids count from 1."""
    lanes, owned = Schedule(depth=depth, room=room), a_partition()
    for sequence, key in enumerate(keys, start=1):
        lanes.add(key, buffered_in(owned, sequence))
    return lanes, owned


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
    lanes = Schedule()
    lanes.add("a", buffered_in(a_partition(0), 1))
    lanes.add("a", buffered_in(a_partition(1), 1))
    assert len(lanes) == 2
    assert {taken_from(lanes).partition.number, taken_from(lanes).partition.number} == {0, 1}


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


def asked_for(lanes: Schedule, owned: OwnedPartition, most: int = 100, now: float = 0.0) -> tuple[Lane, list[bytes]]:
    """Return the one lane to be fetched for, and the ids that are fetched."""
    [(lane, ids)] = lanes.to_fetch(owned, now, most)
    assert isinstance(ids, list)
    return lane, ids


def test_past_its_depth_a_lane_leaves_the_rest_in_the_stream() -> None:
    lanes, owned = filled("aaaa", depth=DEPTH)
    assert not lanes.add("a", buffered_in(owned, 5))
    assert not lanes.add("a", buffered_in(owned, 6))
    flow = a_flow(owned)
    assert (lanes.waiting, lanes.left, flow.left, lanes.size, flow.size) == (4, 2, 2, 4000, 4000)
    assert flow.known == {b"1-0", b"2-0", b"3-0", b"4-0"}
    assert all(lanes.knows(flow, b"%d-0" % number) for number in range(1, 7))
    assert not lanes.knows(flow, b"7-0")


def test_what_comes_for_a_blocked_lane_is_left_in_the_stream_until_it_may_go_on() -> None:
    lanes, owned = filled("b")
    flow = a_flow(owned)
    lanes.block(flow, "a")
    assert not lanes.add("a", buffered_in(owned, 2))
    assert not lanes.add("a", buffered_in(owned, 3))
    lanes.advance(taken_from(lanes))
    assert (lanes.take(0.0), lanes.to_fetch(owned, 0.0, 100)) == (None, [])
    assert lanes.knows(flow, b"3-0")
    lanes.unblock(flow, "a")
    lane, ids = asked_for(lanes, owned)
    assert ids == [b"2-0", b"3-0"]
    lanes.fetched(lane, ids, [buffered_in(owned, 3)])  # the other was settled by the former owner
    assert taken_from(lanes).head.id == b"3-0"


def test_a_blocked_lane_for_which_nothing_came_ends_when_it_may_go_on() -> None:
    lanes, owned = filled("")
    flow = a_flow(owned)
    for key in ("a", "b"):
        lanes.block(flow, key)
    lanes.unblock(flow, "a")
    assert len(lanes) == 1
    lanes.drop(owned)
    lanes.unblock(flow, "b")  # it was dropped meanwhile
    assert (len(lanes), lanes.left, lanes.to_fetch(owned, 0.0, 100)) == (0, 0, [])


def test_what_went_aside_is_known_by_the_lane_that_it_left() -> None:
    """A new owner of the partition finds it in that lane, so that one has to wait while it is in flight."""
    lanes, _owned = filled("aa")
    lanes.step_aside(taken_from(lanes), "a aside")
    found = {lane.key: lane.home for lane in (taken_from(lanes), taken_from(lanes))}
    assert found == {"a": "a", "a aside": "a"}


def test_a_lane_asks_for_what_it_left_when_a_quarter_of_it_is_left() -> None:
    lanes, owned = filled("aaaa", depth=DEPTH)
    lanes.add("a", buffered_in(owned, 5))
    for _ in range(2):
        lanes.advance(taken_from(lanes))
        assert lanes.to_fetch(owned, 0.0, 100) == []
    lanes.advance(taken_from(lanes))
    lane, ids = asked_for(lanes, owned)
    assert (ids, lanes.left) == ([b"5-0"], 0)
    assert lanes.to_fetch(owned, 0.0, 100) == []  # it asks once
    lanes.fetched(lane, ids, [buffered_in(owned, 5)])
    assert not lane.has_left
    assert [buffered.id for buffered in lane.waiting] == [b"4-0", b"5-0"]


def test_what_is_read_while_a_lane_has_left_something_comes_after_it() -> None:
    lanes, owned = filled("aaaa", depth=DEPTH)
    for sequence in (5, 6):
        lanes.add("a", buffered_in(owned, sequence))
    for _ in range(4):
        lanes.advance(taken_from(lanes))
    lane, ids = asked_for(lanes, owned)
    assert lanes.take(0.0) is None
    assert not lanes.add("a", buffered_in(owned, 7))
    lanes.fetched(lane, ids, [buffered_in(owned, 5), buffered_in(owned, 6)])
    for expected in (b"5-0", b"6-0"):
        assert taken_from(lanes).head.id == expected
        lanes.advance(lane)
    assert asked_for(lanes, owned) == (lane, [b"7-0"])


def test_a_lane_whose_entries_are_all_gone_ends() -> None:
    lanes, owned = filled("aaaa", depth=DEPTH)
    lanes.add("a", buffered_in(owned, 5))
    for _ in range(4):
        lanes.advance(taken_from(lanes))
    lane, ids = asked_for(lanes, owned)
    lanes.fetched(lane, ids, [])
    assert (len(lanes), lanes.waiting, lanes.left) == (0, 0, 0)


def test_one_fetch_serves_several_lanes_and_no_more_than_asked() -> None:
    lanes, owned = filled("aabbcc", depth=1)
    assert lanes.left == 3
    for _ in range(3):
        lanes.advance(taken_from(lanes))
    assert [(lane.key, list(ids)) for lane, ids in lanes.to_fetch(owned, 0.0, 2)] == [("a", [b"2-0"]), ("b", [b"4-0"])]
    assert [(lane.key, list(ids)) for lane, ids in lanes.to_fetch(owned, 0.0, 2)] == [("c", [b"6-0"])]


def test_a_repeated_head_leaves_all_behind_it_in_the_stream_when_memory_is_short() -> None:
    lanes, owned = filled("aaa", room=4000)
    lane = taken_from(lanes)
    lanes.postpone(lane, 1.0)
    assert (lanes.waiting, lanes.left, a_flow(owned).known) == (1, 2, {b"1-0"})
    assert not lanes.add("a", buffered_in(owned, 4))


def test_a_failing_lane_takes_nothing_more_in_when_memory_is_short() -> None:
    lanes, owned = filled("a", room=1000)
    lane = taken_from(lanes)
    lane.attempts = 2
    assert not lanes.add("a", buffered_in(owned, 2))
    assert lane.has_left


def test_a_head_that_has_to_be_repeated_while_its_lane_is_being_fetched_for_keeps_the_order() -> None:
    """What is being fetched stands behind entries that the repeated head just left in the stream."""
    lanes, owned = filled("aaaaaaaa", depth=8, room=3000)
    lanes.add("a", buffered_in(owned, 9))
    for _ in range(6):
        lanes.advance(taken_from(lanes))
    lane, ids = asked_for(lanes, owned)
    assert ids == [b"9-0"]
    lanes.postpone(taken_from(lanes), 1.0)  # 7 is repeated, 8 goes back to the stream, and what is fetched comes after
    lanes.fetched(lane, ids, [buffered_in(owned, 9)])
    out: list[bytes] = []
    while len(out) < 3:
        for each, wanted in lanes.to_fetch(owned, 2.0, 9):
            lanes.fetched(each, wanted, [buffered_in(owned, int(id_.partition(b"-")[0])) for id_ in wanted])
        out.append(taken_from(lanes, 2.0).head.id)
        lanes.advance(lane)
    assert out == [b"7-0", b"8-0", b"9-0"]


def test_while_memory_is_not_short_what_waits_behind_a_repeated_head_stays() -> None:
    lanes, owned = filled("aaa", room=8000)
    lane = taken_from(lanes)
    lane.attempts = 2
    lanes.postpone(lane, 1.0)
    assert (lanes.waiting, lane.has_left) == (3, False)
    assert lanes.add("a", buffered_in(owned, 4))
    assert not lanes.add("a", buffered_in(owned, 5))  # more than half the room is taken


def test_where_heads_alone_are_too_many_they_wait_for_their_time_in_the_stream() -> None:
    lanes, owned = filled("aab", room=1500)
    lane = taken_from(lanes)
    lane.attempts = 3
    lanes.postpone(lane, 5.0)
    assert (lanes.waiting, lane.waiting) == (1, [])
    assert not lanes.add("a", buffered_in(owned, 4))
    assert lanes.take(4.9) is not lane
    assert lanes.to_fetch(owned, 4.9, 9) == []
    assert lanes.wake_due(5.0) == 0
    [(fetching, ids)] = lanes.to_fetch(owned, 5.0, 9)
    assert (fetching, list(ids)) == (lane, [b"1-0"])  # what fails is fetched one by one
    lanes.fetched(lane, ids, [buffered_in(owned, 1)])
    again = taken_from(lanes, 5.0)
    assert (again, again.head.id, again.attempts) == (lane, b"1-0", 3)


def test_a_lane_that_is_put_off_while_it_is_to_be_fetched_for_waits_once() -> None:
    """It would be ready twice otherwise, and have two calls in flight."""
    probing = [False]
    lanes = Schedule(room=1500, held_until=lambda _lane, now: now + 1.0 if probing[0] else None)
    owned = a_partition()
    for number in (1, 2):
        lanes.add("a", buffered_in(owned, number))
    lane = taken_from(lanes)
    lanes.postpone(lane, 1.0)  # the head is left in the stream too
    lanes.wake_due(1.0)
    [(_, ids)] = lanes.to_fetch(owned, 1.0, 9)
    lanes.fetched(lane, ids, [buffered_in(owned, 1)])  # it asks for more at once
    assert taken_from(lanes, 1.0) is lane
    probing[0] = True
    lanes.postpone(lane, 2.0)
    assert lanes.to_fetch(owned, 1.5, 9) == []
    probing[0] = False
    lanes.wake_due(3.0)
    for fetched, wanted in lanes.to_fetch(owned, 3.0, 9):
        lanes.fetched(fetched, wanted, [buffered_in(owned, int(id_[:1])) for id_ in wanted])
    assert taken_from(lanes, 3.0) is lane
    assert lanes.take(9.0) is None


def test_a_head_that_somebody_took_away_meanwhile_leaves_nothing_to_the_next() -> None:
    lanes, owned = filled("aa", room=1500)
    lane = taken_from(lanes)
    lane.attempts = 3
    lanes.postpone(lane, 5.0)
    lanes.wake_due(5.0)
    [(_, ids)] = lanes.to_fetch(owned, 5.0, 9)
    lanes.fetched(lane, ids, [])
    [(_, ids)] = lanes.to_fetch(owned, 5.0, 9)
    lanes.fetched(lane, ids, [buffered_in(owned, 2)])
    assert (lane.head.id, lane.attempts) == (b"2-0", 0)


def test_a_lane_whose_hub_is_held_back_is_not_fetched_for_until_it_may_be_called() -> None:
    until: list[float | None] = [9.0]
    lanes, owned = Schedule(room=1500, held_until=lambda *_args: until[0]), a_partition()
    for sequence, key in enumerate("aab", start=1):
        lanes.add(key, buffered_in(owned, sequence))
    lanes.postpone(taken_from(lanes), 5.0)
    until[0] = None
    lanes.wake_due(5.0)
    until[0] = 9.0
    assert lanes.to_fetch(owned, 5.0, 9) == []
    until[0] = None
    lanes.wake_due(9.0)
    assert len(lanes.to_fetch(owned, 9.0, 9)) == 1


def test_each_flow_has_its_part_of_the_room() -> None:
    lanes, owned = filled("aa", room=8000)
    users, groups = a_flow(owned), a_flow(owned, "gchat")
    assert (lanes.room_of(users), lanes.room_of(groups)) == (4000, 3000)
    lanes.add("g", buffered_in(owned, 9, flow="gchat"))
    assert (lanes.room_of(users), lanes.room_of(groups)) == (1000, 2000)


def test_a_flow_takes_no_more_of_what_is_shared_than_is_free() -> None:
    lanes, owned = filled("aaaaa", room=8000)
    users, groups = a_flow(owned), a_flow(owned, "gchat")
    assert (lanes.room_of(users), lanes.room_of(groups)) == (1000, 1000)
    lanes.add("g", buffered_in(owned, 9, flow="gchat"))
    assert (lanes.room_of(users), lanes.room_of(groups)) == (0, 0)


def test_where_what_is_shared_is_taken_each_flow_has_some_of_its_own_and_then_an_entry() -> None:
    lanes, owned = filled("a" * 768, depth=768, room=1024_000)
    groups = a_flow(owned, "gchat")
    assert (lanes.room_of(a_flow(owned)), lanes.room_of(groups)) == (0, 2000)
    lanes.add("g", buffered_in(owned, 1001, flow="gchat"))
    assert lanes.room_of(groups) == 1000
    for number in range(255):
        lanes.add("b", buffered_in(owned, 1002 + number, flow="gnews"))
    assert (lanes.size, lanes.room_of(groups), lanes.room_of(a_flow(owned, "bchat"))) == (1024_000, 0, 1)


def test_a_reader_is_woken_when_a_flow_that_is_behind_has_room_again() -> None:
    lanes, owned = filled("aaaa", room=5336)
    woken: list[int] = []
    owned.on_wake = lambda: woken.append(lanes.waiting)
    for _ in range(4):
        lanes.advance(taken_from(lanes))
    assert woken == [3, 2, 1, 0]


def test_a_large_part_is_read_again_only_when_a_quarter_of_it_is_free() -> None:
    lanes, owned = filled("a" * 100, depth=200, room=133_333)
    woken: list[int] = []
    owned.on_wake = lambda: woken.append(lanes.waiting)
    for _ in range(30):
        lanes.advance(taken_from(lanes))
    assert woken == [74, 73, 72, 71, 70]


def test_what_waits_for_its_time_goes_back_to_the_stream_when_the_part_shrinks() -> None:
    lanes, owned = filled("aaabbbcd", room=53_336)
    for _ in range(3):
        lanes.postpone(taken_from(lanes), 9.0)
    assert not lanes.make_room(a_flow(owned))
    for number in range(3):
        lanes.add("g", buffered_in(a_partition(number + 1), 1))
    woken: list[int] = []
    owned.on_wake = lambda: woken.append(lanes.waiting)
    lanes.advance(taken_from(lanes))
    assert woken, "its reader finds out that there is room to make"
    assert lanes.make_room(a_flow(owned))
    assert (a_flow(owned).resting, a_flow(owned).size, lanes.left) == (2000, 2000, 5)
    assert not lanes.make_room(a_flow(owned))
    lanes.wake_due(9.0)
    assert a_flow(owned).resting == 0


def test_past_the_most_lanes_only_a_flow_that_holds_nothing_is_read() -> None:
    lanes, owned = filled("a", room=PLENTY)
    lanes._most_lanes = 1
    assert lanes.room_of(a_flow(owned)) == 0
    assert lanes.room_of(a_flow(owned, "gchat")) > 0


def test_lanes_that_back_off_go_at_once_when_calls_like_theirs_succeed_again() -> None:
    lanes, owned = Schedule(), a_partition()
    for number, key in enumerate(("chat\nu1", "chat\nu2", "news\nu1"), start=1):
        lanes.add(key, buffered_in(owned, number))
        lanes.postpone(taken_from(lanes), 60.0, backs_off=key != "chat\nu2")
    lanes.hurry(RouteClass.BROADCAST, "chat")
    assert lanes.take(1.0) is None
    lanes.hurry(RouteClass.SEND, "chat")
    assert taken_from(lanes, 1.0).key == "chat\nu1"
    assert lanes.take(59.0) is None  # one was asked to wait, one waits for another hub


def test_a_lane_that_fails_again_is_hurried_less_and_less_often_whoever_else_is_served() -> None:
    lanes, owned = Schedule(), a_partition()
    lanes.add("chat\nu1", buffered_in(owned, 1))
    attempts: list[float] = []
    lanes.postpone(taken_from(lanes), 3600.0, backs_off=True)
    for tenth in range(1, 1000):  # another destination of the hub is served ten times a second
        now = tenth / 10
        lanes.hurry(RouteClass.SEND, "chat")
        if (lane := lanes.take(now)) is not None:
            attempts.append(now)
            lanes.postpone(lane, 3600.0, backs_off=True)
    assert attempts == [0.1, 1.1, 3.1, 7.1, 15.1, 31.1, 63.1]


def test_the_next_head_of_a_lane_is_hurried_at_once() -> None:
    lanes, owned = Schedule(), a_partition()
    for number in (1, 2):
        lanes.add("chat\nu1", buffered_in(owned, number))
    lanes.postpone(taken_from(lanes), 60.0, backs_off=True)
    lanes.hurry(RouteClass.SEND, "chat")
    lanes.advance(taken_from(lanes, 1.0))
    lanes.postpone(taken_from(lanes, 1.0), 60.0, backs_off=True)
    lanes.hurry(RouteClass.SEND, "chat")
    assert taken_from(lanes, 1.5).head.id == b"2-0"


def test_hubs_take_turns_so_that_one_with_many_lanes_starves_no_other() -> None:
    lanes, owned = Schedule(), a_partition()
    for number in range(1, 6):
        lanes.add(f"noisy\nu{number}", buffered_in(owned, number))
    lanes.add("quiet\nu1", buffered_in(owned, 6))
    assert [taken_from(lanes).hub for _ in range(4)] == ["noisy", "quiet", "noisy", "noisy"]


def test_only_lanes_of_the_classes_asked_for_are_given() -> None:
    lanes, owned = filled("a")
    everybody = an_entry(a_message("", scope=Scope.BROADCAST))
    lanes.add("b", buffered_in(owned, 2, entry=everybody, flow="bchat"))
    lanes.add("j", buffered_in(owned, 3, entry=an_entry(a_join())))
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
    assert ([buffered.id for buffered in lane.waiting], lanes.waiting, lane.attempts) == ([b"1-0", b"3-0"], 2, 1)
    lanes.remove(lane, [lane.waiting[0]])
    assert (lane.head.id, lane.attempts) == (b"3-0", 0)
    lanes.release(lane)
    assert taken_from(lanes) is lane


def test_a_partition_that_is_given_up_takes_its_lanes_with_it_whatever_they_were_doing() -> None:
    lanes, owned = filled("aabc")
    other = a_partition(1)
    lanes.add("z", buffered_in(other, 1))
    a, b = taken_from(lanes), taken_from(lanes)
    lanes.postpone(b, 3.0)
    lanes.drop(owned)
    assert (lanes.waiting, len(lanes), lanes.next_due(), lanes.size) == (1, 1, None, 1000)
    lanes.advance(a)
    lanes.postpone(a, 1.0)
    lanes.fetched(a, (), [buffered_in(owned, 9)])
    assert taken_from(lanes, 99.0).key == "z"
    assert (lanes.waiting, len(lanes)) == (1, 1)
    assert lanes.take(99.0) is None


def test_a_dropped_lane_is_not_fetched_for() -> None:
    lanes, owned = filled("aaaa", depth=DEPTH)
    lanes.add("a", buffered_in(owned, 5))
    for _ in range(4):
        lanes.advance(taken_from(lanes))
    lanes.drop(owned)
    assert (lanes.to_fetch(owned, 0.0, 9), lanes.left) == ([], 0)


def test_nothing_of_a_dropped_partition_stays_in_memory_until_its_lanes_would_have_been_due() -> None:
    lanes = Schedule(room=1 << 30)
    for _ in range(8):  # each time the partition is owned again, and fails again
        owned = a_partition()
        for number in range(500):
            lanes.add(f"u{number}", buffered_in(owned, number + 1))
        taken = [taken_from(lanes) for _ in range(500)]
        for lane in taken:
            lanes.postpone(lane, 300.0, backs_off=True)
        lanes.drop(owned)
        assert not any(lane.waiting or lane.group for lane in taken)
        lanes.wake_due(0.0, 500)  # as the dispatcher does in each turn
    delayed = lanes._delayed
    assert (len(delayed), dict(delayed._backing_off)) == (0, {})
    assert len(delayed._heap) + len(delayed._old) < 2000


def test_a_lane_and_the_lanes_tell_their_state_to_people() -> None:
    lanes, _ = filled("aaaab", depth=3)
    lane = taken_from(lanes)
    assert "3 waiting, 1 in the stream" in repr(lane)
    assert repr(lanes) == "<Schedule 2 lanes, 4 entries, 0 delayed>"


class World(RuleBasedStateMachine):
    """Two partitions with a model of their streams; reading, calls, settling and fetching in any interleaving."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Schedule(depth=DEEPER, held_until=self.held_until)
        self.now = 0.0
        self.stride = 1
        self.sequence = 0
        self.streams: list[list[tuple[bytes, str]]] = [[], []]
        self.all_owned = [a_partition(0), a_partition(1)]
        self.out: list[Lane] = []
        self.unsettled: list[BufferedEntry] = []
        self.fetches: list[tuple[Lane, Sequence[bytes]]] = []
        self.delivered: dict[tuple[int, str], list[bytes]] = {}
        self.everything: dict[tuple[int, str], list[bytes]] = {}
        self.held = -1.0

    def held_until(self, _lane: Lane, now: float) -> float | None:
        return self.held if self.held > now else None

    @initialize(
        keys=st.lists(NAMES, max_size=12),
        stride=st.integers(1, 8),
        room=st.sampled_from([0, 2000, 10_000, 1_000_000]),
    )
    def begin(self, keys: list[str], stride: int, room: int) -> None:
        self.lanes = Schedule(depth=DEEPER, room=room, held_until=self.held_until)
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
        flow = a_flow(self.all_owned[partition])
        after = [row for row in self.streams[partition] if order_of(row[0]) > order_of(flow.cursor)]
        for entry_id, key in after[:count]:
            flow.cursor = entry_id
            self.lanes.add(key, self.buffered(flow.partition, entry_id))

    @rule()
    def take(self) -> None:
        lane = self.lanes.take(self.now)
        if lane is None:
            return
        assert lane not in self.out, "two heads of one lane are out"
        place = (lane.partition.number, lane.key)
        done = self.delivered.setdefault(place, [])
        assert lane.head.id == self.everything[place][len(done)], "not the oldest of its lane"
        if self.held > self.now:  # as the dispatcher does with a lane whose hub is held back
            self.lanes.postpone(lane, self.held)
            return
        lane.attempts += 1
        self.out.append(lane)

    @rule(seconds=st.integers(1, 3))
    def hold_back(self, seconds: int) -> None:
        """A breaker opens."""
        self.held = max(self.held, self.now + seconds)

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

    @rule(partition=st.integers(0, 1))
    def make_room(self, partition: int) -> None:
        """The reader finds no room in a flow that is behind."""
        self.lanes.make_room(a_flow(self.all_owned[partition]))

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.settled(self.unsettled.pop(data.draw(st.integers(0, len(self.unsettled) - 1))))

    def begin_fetch(self, count: int) -> None:
        """As the task that fetches does: one fetch of a partition at a time; the answer comes when it comes."""
        for owned in self.all_owned:
            if not any(lane.partition is owned for lane, _ids in self.fetches):
                self.fetches += self.lanes.to_fetch(owned, self.now, count)

    @precondition(lambda self: self.fetches)
    @rule()
    def end_fetch(self) -> None:
        lane, ids = self.fetches.pop()
        there = {row[0] for row in self.streams[lane.partition.number]}
        self.lanes.fetched(lane, ids, [self.buffered(lane.partition, id_) for id_ in ids if id_ in there])
        self.begin_fetch(self.stride)

    @rule(partition=st.integers(0, 1), settled=st.booleans())
    def drop(self, partition: int, settled: bool) -> None:
        """The partition is given up; its calls in flight end before it is owned again."""
        owned = self.all_owned[partition]
        self.lanes.drop(owned)
        for lane in [lane for lane in self.out if lane.partition is owned]:
            self.out.remove(lane)
            self.lanes.advance(lane)
            if settled:
                self.delivered[partition, lane.key].append(lane.head.id)
                self.unsettled.append(lane.head)
        for buffered in [buffered for buffered in self.unsettled if buffered.partition is owned]:
            self.unsettled.remove(buffered)
            self.settled(buffered)
        self.all_owned[partition] = a_partition(partition)

    @invariant()
    def counters_are_exact(self) -> None:
        lanes = list(self.lanes._lanes.values())
        assert len(self.lanes) == len(lanes)
        assert self.lanes.waiting == sum(len(lane.waiting) for lane in lanes)
        assert all(len(lane.waiting) <= DEEPER for lane in lanes)
        assert self.lanes.size == 1000 * self.lanes.waiting
        assert self.lanes.left == sum(len(lane.index or ()) for lane in lanes)
        for owned in self.all_owned:
            resting = sum(len(lane.waiting) for lane in lanes if lane.partition is owned and lane.delayed)
            assert a_flow(owned).resting == 1000 * resting
        assert all(lane.waiting or lane.has_left for lane in lanes)

    @invariant()
    def a_lane_is_in_one_place(self) -> None:
        ready = [
            lane
            for of_endpoint in self.lanes._ready.values()
            for queue in of_endpoint.queues
            for level in queue._levels
            for lanes in (*level.come.values(), *level.turns.values())
            for lane in lanes
        ]
        places = [lane for lane in ready if not lane.dropped]
        delayed = [*self.lanes._delayed._heap, *self.lanes._delayed._old]
        places += [place[2] for place in delayed if place[2].due is place and not place[2].dropped]
        assert len(places) == len(set(places)), "a lane is ready or delayed twice"
        assert not [lane for lane in places if lane in self.out]

    @invariant()
    def known_is_what_is_held_or_not_yet_settled(self) -> None:
        for owned in self.all_owned:
            lanes = [lane for lane in self.lanes._lanes.values() if lane.partition is owned]
            buffered = {buffered.id for lane in lanes for buffered in lane.waiting}
            flow = a_flow(owned)
            assert flow.known == buffered | {b.id for b in self.unsettled if b.partition is owned}
            assert flow.waiting == sum(len(lane.waiting) for lane in lanes)

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
        self.delivered[lane.partition.number, lane.key].append(lane.head.id)
        self.unsettled.append(lane.head)
        self.lanes.advance(lane)
        self.begin_fetch(self.stride)

    def buffered(self, owned: OwnedPartition, entry_id: bytes) -> BufferedEntry:
        return buffered_in(owned, order_of(entry_id)[0])

    def settled(self, buffered: BufferedEntry) -> None:
        self.streams[buffered.partition.number] = [
            row for row in self.streams[buffered.partition.number] if row[0] != buffered.id
        ]
        buffered.flow.known.discard(buffered.id)


World.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=40, deadline=None)
test_any_interleaving_delivers_everything_once_and_in_order = pytest.mark.timeout(60)(World.TestCase)


def test_order_of_an_id_is_a_number_not_a_text() -> None:
    assert order_of(b"9-0") < order_of(b"10-0") < order_of(b"10-2") < order_of(b"10-10")
    assert order_of(START) < order_of(b"1")


# The queue of ready lanes -------------------------------------------------------------------------------------------


def a_lane(key: str = "hub\nu1", entry: Entry | None = None, flow: str = "uhub") -> Lane:
    owned = a_partition()
    lane = Lane(key, a_flow(owned, flow))
    lane.waiting.append(buffered_in(owned, 1, entry=entry, flow=flow))
    return lane


def queue_of(*keys: str) -> FairQueue:
    queue = FairQueue()
    for key in keys:
        queue.append(a_lane(key))
    return queue


def emptied(queue: FairQueue) -> list[str]:
    return [queue.popleft().key for _ in range(len(queue))]


def test_hubs_take_queue_and_so_do_the_lanes_of_each() -> None:
    assert emptied(queue_of("a\n1", "a\n2", "a\n3", "b\n1", "b\n2")) == ["a\n1", "b\n1", "a\n2", "b\n2", "a\n3"]


def test_a_hub_that_comes_has_the_next_turn_after_others_that_came() -> None:
    queue = queue_of("a\n1", "a\n2", "a\n3", "b\n1", "b\n2")
    queue.popleft()
    queue.append(a_lane("quiet\n1"))
    assert emptied(queue) == ["b\n1", "quiet\n1", "a\n2", "b\n2", "a\n3"]


def test_hubs_that_come_again_and_again_wait_for_one_lane_of_each_other() -> None:
    queue = queue_of(*(f"backlog\n{number}" for number in range(9)), "x\n1", "y\n1")
    served = []
    while queue:
        lane = queue.popleft()
        served.append(lane.key[0])
        if lane.hub != "backlog" and len(served) < 25:
            queue.append(lane)
    assert "".join(served) == "bxybxybxybxybxybxybxybxybxy"


def test_a_hub_without_lanes_is_forgotten_when_its_turn_has_come() -> None:
    queue = FairQueue()
    for number in range(100):
        queue.append(a_lane(f"hub{number}\n1"))
        queue.popleft()
    queue.append(a_lane("hub1\n1"))
    queue.popleft()
    assert sum(len(level.turns) for level in queue._levels) == 1


def test_a_lane_of_one_hub_alone_goes_behind_the_others() -> None:
    queue = queue_of("a\n1", "a\n2")
    queue.append(queue.popleft())
    assert emptied(queue) == ["a\n2", "a\n1"]


def test_nothing_comes_out_of_nothing() -> None:
    queue = FairQueue()
    assert (len(queue), bool(queue), repr(queue)) == (0, False, "<FairQueue 0 lanes>")
    with pytest.raises(IndexError):
        queue.popleft()


def test_a_long_list_and_single_messages_of_one_hub_take_turns() -> None:
    queue, listed = FairQueue(), an_entry(a_message())
    for number in range(4):
        queue.append(a_lane(f"a\nu{number}", replace(listed, body_ref="o1")))
    queue.append(a_lane("a\nusingle"))
    assert emptied(queue)[:2] == ["a\nu0", "a\nusingle"]


def test_urgent_lanes_go_first_and_the_others_still_get_their_turn() -> None:
    queue = FairQueue()
    for number in range(20):
        queue.append(a_lane(f"a\nU{number}", an_entry(replace(a_message(), priority=Priority.HIGH)), "Ua"))
        queue.append(a_lane(f"a\nu{number}", flow="ua"))
        queue.append(a_lane(f"a\nq{number}", an_entry(replace(a_message(), priority=Priority.LOW)), "qa"))
    order = "".join(key[2] for key in emptied(queue))
    assert order[:16] == "UUUUUUUqUUUUUUUq"
    assert order[-10:].count("q") >= 9


@given(st.lists(st.one_of(st.none(), st.sampled_from("aaabbc")), max_size=80))
def test_what_goes_in_comes_out_once_in_the_order_of_its_hub_and_no_hub_is_served_twice_before_another(
    events: list[str | None],
) -> None:
    queue, waiting, number = FairQueue(), dict[str, list[int]](), 0
    waited: Counter[str] = Counter()
    for hub in events:
        if hub is not None:
            number += 1
            queue.append(a_lane(f"{hub}\n{number}"))
            waiting.setdefault(hub, []).append(number)
        elif queue:
            served, _, which = queue.popleft().key.partition("\n")
            assert waiting[served].pop(0) == int(which)
            waited[served] = 0
            for other in waiting:
                if other != served and waiting[other]:
                    waited[other] += 1
                    assert waited[other] <= 3
        assert len(queue) == sum(map(len, waiting.values()))


def test_an_endpoint_has_turns_and_refused_lanes_of_its_own() -> None:
    lanes, owned = Schedule(), a_partition()
    for number, flow in enumerate(("uchat", "@uchat@east", "@uchat@east"), 1):
        lanes.add(f"{flow.removeprefix('@')[1:]}\nu{number}", buffered_in(owned, number, f"u{number}", flow=flow))
    assert (lanes.ready, lanes.ready_in(RouteClass.SEND), lanes.ready_in(RouteClass.SEND, "east")) == (3, 1, 2)
    east, home = lanes.take(0.0, endpoint="east"), lanes.take(0.0)
    assert east is not None
    assert home is not None
    assert (east.key, home.key, lanes.take(0.0)) == ("chat@east\nu2", "chat\nu1", None)
    for lane in (east, home):
        lane.uncounted = True
        lanes.postpone(lane, 300.0)
    lanes.hurry_refused(RouteClass.SEND, "east")
    assert lanes.wake_due(1.0) == 1
    assert (lanes.ready_in(RouteClass.SEND), lanes.ready_in(RouteClass.SEND, "east")) == (0, 2)
