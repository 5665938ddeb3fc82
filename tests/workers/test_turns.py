"""Lanes that are ready: hubs take turns, and the lanes of each."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.crew import a_tenure
from workers.lane import Lane
from workers.turns import Turns


def a_lane(key: str) -> Lane:
    return Lane(key, a_tenure())


def filled(*keys: str) -> Turns:
    turns = Turns()
    for key in keys:
        turns.append(a_lane(key))
    return turns


def emptied(turns: Turns) -> list[str]:
    return [turns.popleft().key for _ in range(len(turns))]


def test_hubs_take_turns_and_so_do_the_lanes_of_each() -> None:
    assert emptied(filled("a\n1", "a\n2", "a\n3", "b\n1", "b\n2")) == ["a\n1", "b\n1", "a\n2", "b\n2", "a\n3"]


def test_a_hub_that_comes_waits_for_one_lane_of_each_other() -> None:
    turns = filled("a\n1", "a\n2", "b\n1", "b\n2")
    turns.popleft()
    turns.append(a_lane("quiet\n1"))
    assert emptied(turns)[:3] == ["b\n1", "a\n2", "quiet\n1"]


def test_a_lane_of_one_hub_alone_goes_behind_the_others() -> None:
    turns = filled("a\n1", "a\n2")
    turns.append(turns.popleft())
    assert emptied(turns) == ["a\n2", "a\n1"]


def test_nothing_comes_out_of_nothing() -> None:
    turns = Turns()
    assert (len(turns), bool(turns), repr(turns)) == (0, False, "<Turns 0 lanes of 0 hubs>")
    with pytest.raises(IndexError):
        turns.popleft()


@given(st.lists(st.one_of(st.none(), st.sampled_from("aaabbc")), max_size=80))
def test_what_goes_in_comes_out_once_in_the_order_of_its_hub_and_no_hub_is_served_twice_before_another(
    events: list[str | None],
) -> None:
    turns, waiting, number = Turns(), dict[str, list[int]](), 0
    waited: Counter[str] = Counter()
    for hub in events:
        if hub is not None:
            number += 1
            turns.append(a_lane(f"{hub}\n{number}"))
            waiting.setdefault(hub, []).append(number)
        elif turns:
            served, _, which = turns.popleft().key.partition("\n")
            assert waiting[served].pop(0) == int(which)
            waited[served] = 0
            for other in waiting:
                if other != served and waiting[other]:
                    waited[other] += 1
                    assert waited[other] <= 3
        assert len(turns) == sum(map(len, waiting.values()))
