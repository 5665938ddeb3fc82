"""One lane: what belongs to its head is forgotten with its head, and what it left in the stream is known by id."""

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.helpers import a_flow, a_partition, buffered_in
from workers.lane import Lane, StreamIds


def test_a_new_lane_owes_nothing_to_anybody() -> None:
    lane = Lane("chat\nualice", a_flow())
    assert (lane.attempts, lane.hub, lane.has_left) == (0, "chat", False)
    assert not any((lane.renewed, lane.alone, lane.uncounted, lane.dropped, lane.asked, lane.delayed))


def test_its_head_is_what_waits_longest() -> None:
    owned = a_partition()
    lane = Lane("l", a_flow(owned))
    lane.waiting.extend(buffered_in(owned, number) for number in (1, 2, 3))
    assert lane.head.id == b"1-0"


def test_no_entry_pays_for_its_predecessor() -> None:
    """Attempts, a renewed token, going alone, being uncounted: all of it belonged to the head that is done with."""
    lane = Lane("l", a_flow())
    lane.attempts, lane.renewed, lane.alone, lane.uncounted = 7, True, True, True
    lane.begin_next()
    assert (lane.attempts, lane.renewed, lane.alone, lane.uncounted) == (0, False, False, False)


def test_what_belongs_to_the_lane_stays_when_its_head_is_done_with() -> None:
    lane = Lane("l", a_flow())
    lane.leave(b"9-0")
    lane.begin_next()
    assert lane.ids_to_fetch(5) == [b"9-0"]


def test_what_is_put_back_comes_before_what_is_being_fetched_and_that_before_the_rest() -> None:
    lane = Lane("l", a_flow())
    for number in (3, 4, 5):
        lane.leave(b"%d-0" % number)
    assert lane.ids_to_fetch(1) == [b"3-0"]
    lane.put_back([b"1-0", b"2-0"])
    assert lane.fetching is None
    assert lane.ids_to_fetch(9) == [b"1-0", b"2-0", b"3-0", b"4-0", b"5-0"]
    assert (lane.index, lane.has_left) == (None, True)


def test_the_repr_says_what_waits_where() -> None:
    owned = a_partition()
    lane = Lane("l", a_flow(owned))
    lane.waiting.append(buffered_in(owned, 1))
    assert repr(lane) == "<Lane 'l' 1 waiting, attempt 0>"
    lane.leave(b"2-0")
    assert repr(lane) == "<Lane 'l' 1 waiting, 1 in the stream, attempt 0>"


_IDS = st.tuples(st.integers(0, 2**63), st.integers(0, 2**64 - 1)).map(lambda pair: b"%d-%d" % pair)
_STEPS = st.one_of(
    st.tuples(st.just("append"), _IDS),
    st.tuples(st.just("prepend"), st.lists(_IDS, max_size=4)),
    st.tuples(st.just("take"), st.integers(0, 6)),
)


@given(st.lists(_STEPS, max_size=60))
def test_ids_come_out_in_the_order_they_have(steps: list[tuple[str, bytes | list[bytes] | int]]) -> None:
    ids, model = StreamIds(), list[bytes]()
    for step, value in steps:
        if step == "append" and isinstance(value, bytes):
            ids.append(value)
            model.append(value)
        elif step == "prepend" and isinstance(value, list):
            ids.prepend(value)
            model[:0] = value
        elif isinstance(value, int):
            assert ids.take(value) == model[:value]
            del model[:value]
        assert len(ids) == len(model)
    assert all(stream_id in ids for stream_id in model)
    assert b"1-2" not in ids or b"1-2" in model


def test_a_million_ids_take_sixteen_bytes_each() -> None:
    ids = StreamIds()
    for number in range(10_000):
        ids.append(b"1795761931508-%d" % number)
    assert ids._numbers.itemsize * len(ids._numbers) == 160_000
