"""One ownership of one partition."""

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.crew import a_tenure
from workers.tenure import before, order_of


def test_a_tenure_may_act_as_long_as_its_lease_is_valid_and_it_has_not_ended() -> None:
    tenure = a_tenure(3, expires=10.0)
    assert tenure.partition == 3
    assert tenure.may_act(9.9)
    assert not tenure.may_act(10.0)
    tenure.ended = True
    assert not tenure.may_act(9.9)


def test_a_lost_tenure_is_silent_for_ever() -> None:
    tenure = a_tenure()
    tenure.lose()
    assert (tenure.ended, tenure.lost) == (True, True)
    assert not tenure.lease.is_valid(float("-inf"))
    assert tenure.lease.token == "w:1"


def test_whoever_waits_for_quiet_is_told_at_once_when_nothing_is_in_flight() -> None:
    told: list[str] = []
    a_tenure().when_quiet(lambda: told.append("now"))
    assert told == ["now"]


def test_whoever_waits_for_quiet_is_told_when_the_last_call_ends() -> None:
    tenure, told = a_tenure(), list[int]()
    tenure.began_call()
    tenure.began_call()
    tenure.when_quiet(lambda: told.append(tenure.in_flight))
    tenure.ended_call()
    assert told == []
    tenure.ended_call()
    assert told == [0]


def test_everybody_who_waits_for_quiet_is_told() -> None:
    """A partition on its way back can be lost, or the whole worker can leave, while calls are still in flight."""
    tenure, told = a_tenure(), list[str]()
    tenure.began_call()
    tenure.when_quiet(lambda: told.append("first"))
    tenure.when_quiet(lambda: told.append("second"))
    tenure.ended_call()
    assert sorted(told) == ["first", "second"]


def test_a_tenure_tells_its_state_to_people() -> None:
    tenure = a_tenure(3)
    tenure.known.add(b"1-0")
    tenure.began_call()
    assert repr(tenure) == "<Tenure of 3 running: 1 known, 1 in flight>"
    tenure.lose()
    assert "ended" in repr(tenure)


@given(st.integers(1, 2**40), st.integers(0, 2**64 - 1))
def test_nothing_is_between_an_id_and_the_one_before_it(milliseconds: int, sequence: int) -> None:
    earlier, later = order_of(before(b"%d-%d" % (milliseconds, sequence))), (milliseconds, sequence)
    assert earlier < later
    assert later == ((earlier[0], earlier[1] + 1) if sequence else (earlier[0] + 1, 0))
    assert earlier[1] < 2**64
