"""Names of keys."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.queue.keys import KEYS, Keys, check_namespace
from fanout.queue.remembered import dedup_mark, idempotency_mark

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


NAMESPACE = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}", fullmatch=True)


@given(NAMESPACE, st.integers(0, 1023))
def test_all_keys_of_a_partition_carry_its_number_as_the_hash_tag_and_nothing_a_caller_chose(
    namespace: str, partition: int
) -> None:
    keys = Keys(check_namespace(namespace))
    names = [keys.stream(partition, "uchat"), keys.dead(partition), keys.lease(partition), keys.fence(partition)]
    names.append(keys.seen(partition))
    assert len(set(names)) == len(names)
    for key in names:
        assert re.fullmatch(rf"{re.escape(namespace)}:\{{{partition}\}}:[a-z0-9:]+", key)


@pytest.mark.parametrize("text", ["", "{a}", "a{b", "a b", "a\n", ":a", "ä", "a" * 65, "*"])
def test_a_namespace_that_would_break_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 64"):
        check_namespace(text)


def test_keys_of_no_partition_carry_no_hash_tag_of_one() -> None:
    names = [KEYS.partitions, KEYS.endpoints, KEYS.workers, KEYS.pace_notices(), KEYS.demand("east"), KEYS.trace("{1}")]
    assert "{" not in "".join(names)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=2, max_size=2, unique=True))
def test_what_is_told_apart_is_remembered_apart(pair: list[tuple[str, str, str]]) -> None:
    one, two = pair
    assert dedup_mark(*one) != dedup_mark(*two)


def test_the_parts_of_a_name_do_not_run_into_each_other() -> None:
    assert dedup_mark("ab", "c", "") != dedup_mark("a", "bc", "")
    assert idempotency_mark("ab", "c") != idempotency_mark("a", "bc")


def test_names_stay_what_they_are() -> None:
    """A key that changes its name forgets what is stored under the old one."""
    assert KEYS.stream(3, "uchat") == "fanout:{3}:q:uchat"
    assert KEYS.seen(3) == "fanout:{3}:seen"
    assert dedup_mark("chat", "m1", "chat\nualice").hex() == "480406dc1a27333e7b7cedef"
    assert idempotency_mark("chat", "k").hex() == "6c67acc3744ff103c8b953e2"
