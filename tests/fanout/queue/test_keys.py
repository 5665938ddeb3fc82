"""Names of keys."""

import re

from hypothesis import given
from hypothesis import strategies as st

from fanout.queue import keys

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.integers(0, 1023), TEXT, TEXT, TEXT)
def test_all_keys_of_a_partition_carry_its_number_as_the_hash_tag_and_nothing_a_caller_chose(
    partition: int, hub: str, name: str, lane: str
) -> None:
    names = [keys.stream(partition), keys.dead(partition), keys.lease(partition), keys.fence(partition)]
    names += [keys.seen(partition, hub, name, lane), keys.idempotency(partition, hub, name)]
    assert len(set(names)) == len(names)
    for key in names:
        assert re.fullmatch(rf"fanout:\{{{partition}\}}:[a-z0-9:]+", key)


def test_keys_of_no_partition_carry_no_hash_tag_of_one() -> None:
    assert "{" not in keys.PARTITIONS + keys.WORKERS


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=2, max_size=2, unique=True))
def test_what_is_told_apart_has_a_key_of_its_own(pair: list[tuple[str, str, str]]) -> None:
    one, two = pair
    assert keys.seen(0, *one) != keys.seen(0, *two)


def test_the_parts_of_a_name_do_not_run_into_each_other() -> None:
    assert keys.seen(0, "ab", "c", "") != keys.seen(0, "a", "bc", "")
    assert keys.idempotency(0, "ab", "c") != keys.idempotency(0, "a", "bc")


def test_names_stay_what_they_are() -> None:
    """A key that changes its name forgets what is stored under the old one."""
    assert keys.stream(3) == "fanout:{3}:stream"
    assert keys.seen(3, "chat", "m1", "chat\nualice") == "fanout:{3}:seen:1f2c5f5656a0d17e81c5bd7ef3dac74d"
    assert keys.idempotency(3, "chat", "k") == "fanout:{3}:key:d1019e7a1145fdcc61a7ea866c48aa16"
