"""The walk over all partitions: in order, each letter once, whatever the pages are; on a store in memory."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from fanout.queue.dead_letters import DeadLetter, DeathCause, Page, PageLimits
from fanout.queue.entry import StoredEntry
from service.admin.dead_letters.reference import Bookmark, Place, place_at
from service.admin.dead_letters.scan import Gathering, Walk
from service.admin.dead_letters.selection import Selection
from tests.fakes import FakeClock

PARTITIONS = 3
PLACES = st.sets(st.builds(Place, st.integers(1, 4), st.integers(0, 3), st.integers(0, PARTITIONS - 1)), max_size=25)


def a_dead(place: Place) -> DeadLetter:
    return DeadLetter(place.stream_id, StoredEntry(b"1-0", b""), DeathCause("refused", 0, 0, ""))


class Graves:
    """What a walk asks of the queue, over a set; `page` letters at once."""

    def __init__(self, places: set[Place], page: int) -> None:
        self.places = places
        self.page = page
        self.scans = 0

    async def scan(self, after: Mapping[int, bytes], portion: PageLimits) -> dict[int, Page]:
        self.scans += 1
        return {partition: self._page(partition, start, portion) for partition, start in after.items()}

    def _page(self, partition: int, start: bytes, portion: PageLimits) -> Page:
        here = sorted(place for place in self.places if place.partition == partition)
        behind = place_at(partition, start)
        found = [p for p in here if p > behind and (portion.before is None or p.millisecond < portion.before)]
        return Page(here[-1].stream_id if here else b"", [a_dead(place) for place in found[: self.page]])


async def places_of(walk: Walk, most: int = 1000) -> list[Place]:
    found: list[Place] = []
    while len(found) < most and (step := await walk.step()) is not None:
        found.append(step[0])
    return found


@given(PLACES, st.integers(1, 5), st.integers(1, 7))
async def test_a_walk_in_pieces_meets_each_letter_once_and_in_order(places: set[Place], page: int, piece: int) -> None:
    found: list[Place] = []
    bookmark = Bookmark()
    while True:
        walk = Walk(Graves(places, page), PARTITIONS, bookmark)
        found += await places_of(walk, piece)
        if await walk.over():
            break
        bookmark = walk.bookmark
    assert found == sorted(places)


@given(PLACES, PLACES, st.integers(0, 10))
async def test_a_walk_ends_at_what_was_there_when_it_began(places: set[Place], late: set[Place], first: int) -> None:
    """Letters parked later have later ids; the walk, and its continuation by cursor, never meets them."""
    graves = Graves(set(places), 2)
    walk = Walk(graves, PARTITIONS, Bookmark())
    found = await places_of(walk, first)
    if first:
        graves.places |= {Place(place.millisecond + 10, place.counter, place.partition) for place in late}
        found += await places_of(Walk(graves, PARTITIONS, walk.bookmark))
        assert found == sorted(places)
        assert walk.before == max((place.millisecond + 1 for place in places), default=0)


@given(PLACES, st.integers(0, 5))
async def test_a_walk_ends_before_the_time_it_is_told(places: set[Place], before: int) -> None:
    walk = Walk(Graves(places, 2), PARTITIONS, Bookmark(before=before))
    assert await places_of(walk) == sorted(place for place in places if place.millisecond < before)


async def test_partitions_that_came_to_their_end_are_not_asked_again() -> None:
    graves = Graves({Place(number, 0, 0) for number in range(1, 11)}, 2)
    assert len(await places_of(Walk(graves, PARTITIONS, Bookmark()))) == 10
    assert graves.scans == 6


async def test_gathering_ends_when_its_time_is_over_and_the_walk_goes_on_from_there() -> None:
    clock = FakeClock()
    walk = Walk(Graves({Place(number, 0, 0) for number in range(1, 5)}, 2), PARTITIONS, Bookmark())
    gathering = Gathering(walk, Selection(), clock, clock.monotonic() + 2)
    assert await gathering.next() is not None
    await clock.advance(2)
    assert await gathering.next() is None
    assert not await walk.over()
    assert walk.bookmark.after == Place(1, 0, 0)
