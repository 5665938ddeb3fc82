"""One lane: what belongs to its head is forgotten with its head."""

from tests.workers.crew import a_tenure, held_in
from workers.lane import Lane


def test_a_new_lane_owes_nothing_to_anybody() -> None:
    lane = Lane("chat:user:alice", a_tenure())
    assert lane.attempts == 0
    assert not any((lane.renewed, lane.alone, lane.throttled, lane.dropped, lane.fetching, lane.stale))
    assert lane.spilled_after is None


def test_its_head_is_what_waits_longest() -> None:
    tenure = a_tenure()
    lane = Lane("l", tenure)
    lane.waiting.extend(held_in(tenure, number) for number in (1, 2, 3))
    assert lane.head.id == b"1-0"


def test_no_entry_pays_for_its_predecessor() -> None:
    """Attempts, a renewed token, going alone, being throttled: all of it belonged to the head that is done with."""
    lane = Lane("l", a_tenure())
    lane.attempts, lane.renewed, lane.alone, lane.throttled = 7, True, True, True
    lane.begin_next()
    assert (lane.attempts, lane.renewed, lane.alone, lane.throttled) == (0, False, False, False)


def test_what_belongs_to_the_lane_stays_when_its_head_is_done_with() -> None:
    lane = Lane("l", a_tenure())
    lane.spilled_after, lane.fetching, lane.stale = b"9-0", True, True
    lane.begin_next()
    assert (lane.spilled_after, lane.fetching, lane.stale) == (b"9-0", True, True)


def test_the_repr_says_what_waits_where() -> None:
    tenure = a_tenure()
    lane = Lane("l", tenure)
    lane.waiting.append(held_in(tenure, 1))
    assert repr(lane) == "<Lane 'l' 1 waiting, attempt 0>"
    lane.spilled_after = b"1-0"
    assert "more in the stream" in repr(lane)
