"""One lane: what belongs to its head is forgotten with its head."""

from tests.workers.helpers import a_partition, buffered_in
from workers.lane import Lane


def test_a_new_lane_owes_nothing_to_anybody() -> None:
    lane = Lane("chat:user:alice", a_partition())
    assert lane.attempts == 0
    assert not any((lane.renewed, lane.alone, lane.uncounted, lane.dropped, lane.fetching, lane.stale))
    assert lane.spilled_after is None


def test_its_head_is_what_waits_longest() -> None:
    owned = a_partition()
    lane = Lane("l", owned)
    lane.waiting.extend(buffered_in(owned, number) for number in (1, 2, 3))
    assert lane.head.id == b"1-0"


def test_no_entry_pays_for_its_predecessor() -> None:
    """Attempts, a renewed token, going alone and uncounted calls belong to the head that is done with."""
    lane = Lane("l", a_partition())
    lane.attempts, lane.renewed, lane.alone, lane.uncounted = 7, True, True, True
    lane.begin_next()
    assert (lane.attempts, lane.renewed, lane.alone, lane.uncounted) == (0, False, False, False)


def test_what_belongs_to_the_lane_stays_when_its_head_is_done_with() -> None:
    lane = Lane("l", a_partition())
    lane.spilled_after, lane.fetching, lane.stale = b"9-0", True, True
    lane.begin_next()
    assert (lane.spilled_after, lane.fetching, lane.stale) == (b"9-0", True, True)


def test_the_repr_says_what_waits_where() -> None:
    owned = a_partition()
    lane = Lane("l", owned)
    lane.waiting.append(buffered_in(owned, 1))
    assert repr(lane) == "<Lane 'l' 1 waiting, attempt 0>"
    lane.spilled_after = b"1-0"
    assert "more in the stream" in repr(lane)
