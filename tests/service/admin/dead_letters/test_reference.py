"""Ids and cursors: what is printed is read back, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admin.dead_letters.reference import Cursor, LetterRef, parse_cursor, parse_ref, ref_at

REFS = st.builds(LetterRef, st.integers(0, 2**41), st.integers(0, 2**62), st.integers(0, 1023))


@given(REFS, st.integers(0, 10**14))
def test_ids_and_cursors_are_read_back(ref: LetterRef, before: int) -> None:
    assert parse_ref(str(ref)) == ref
    assert ref_at(ref.partition, ref.stream_id) == ref
    assert parse_cursor(str(Cursor(ref, before))) == Cursor(ref, before)


@pytest.mark.parametrize(
    "text",
    ["", "1-0", "1:2", "1:2-3 ", "-1:2-3", "1:2-3-4", "12345:1-0", "0:9999999999999999999-0", "\u0661:1-0"],
)
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_ref(text) is None


@pytest.mark.parametrize(
    "text", ["", "1-0.0", "1-0.0.", "1-0.0.1 ", "9999999999999999999-0.0.1", "1-0.0.1234567890123456"]
)
def test_what_is_no_cursor_is_none(text: str) -> None:
    assert parse_cursor(text) is None


@given(REFS, REFS)
def test_a_scan_continues_after_its_cursor_in_every_partition(after: LetterRef, other: LetterRef) -> None:
    """A letter comes after the cursor exactly when its stream id is greater than where its partition continues."""
    start = ref_at(other.partition, Cursor(after).after_in(other.partition))
    assert (other > after) == (other > start) or other == LetterRef(0, 0, other.partition)


def test_letters_of_one_moment_are_ordered_by_partition() -> None:
    assert sorted([LetterRef(5, 1, 0), LetterRef(5, 0, 3), LetterRef(4, 9, 9), LetterRef(5, 0, 1)]) == [
        LetterRef(4, 9, 9),
        LetterRef(5, 0, 1),
        LetterRef(5, 0, 3),
        LetterRef(5, 1, 0),
    ]
