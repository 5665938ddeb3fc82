"""Ids and cursors: what is printed is read back, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admin.dead_letters.reference import Bookmark, Place, bookmark_of, place_at, place_of

PLACES = st.builds(Place, st.integers(0, 2**41), st.integers(0, 2**62), st.integers(0, 1023))


@given(PLACES, st.integers(0, 10**14))
def test_ids_and_cursors_are_read_back(place: Place, before: int) -> None:
    assert place_of(str(place)) == place
    assert place_at(place.partition, place.stream_id) == place
    assert bookmark_of(str(Bookmark(place, before))) == Bookmark(place, before)


@pytest.mark.parametrize(
    "text",
    ["", "1-0", "1:2", "1:2-3 ", "-1:2-3", "1:2-3-4", "12345:1-0", "0:9999999999999999999-0", "\u0661:1-0"],
)
def test_what_is_no_id_is_none(text: str) -> None:
    assert place_of(text) is None


@pytest.mark.parametrize(
    "text", ["", "1-0.0", "1-0.0.", "1-0.0.1 ", "9999999999999999999-0.0.1", "1-0.0.1234567890123456"]
)
def test_what_is_no_cursor_is_none(text: str) -> None:
    assert bookmark_of(text) is None


@given(PLACES, PLACES)
def test_a_walk_goes_on_behind_its_bookmark_in_every_partition(after: Place, other: Place) -> None:
    """A letter comes behind the bookmark exactly when its stream id is greater than where its partition goes on."""
    start = place_at(other.partition, Bookmark(after).after_in(other.partition))
    assert (other > after) == (other > start) or other == Place(0, 0, other.partition)


def test_a_place_of_one_moment_is_ordered_by_partition() -> None:
    assert sorted([Place(5, 1, 0), Place(5, 0, 3), Place(4, 9, 9), Place(5, 0, 1)]) == [
        Place(4, 9, 9),
        Place(5, 0, 1),
        Place(5, 0, 3),
        Place(5, 1, 0),
    ]
