"""A scan over all partitions: in order, each letter once, whatever the pages are; on a store in memory."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from fanout.queue.dead_letters import DeadLetter, DeathCause, Page, PageLimits
from fanout.queue.entry import StoredEntry
from service.admin.dead_letters.command import Selection
from service.admin.dead_letters.reference import Cursor, LetterRef, ref_at
from service.admin.dead_letters.scan import FilteredScan, Scan
from tests.fakes import FakeClock

PARTITIONS = 3
REFS = st.sets(st.builds(LetterRef, st.integers(1, 4), st.integers(0, 3), st.integers(0, PARTITIONS - 1)), max_size=25)


def a_letter(ref: LetterRef) -> DeadLetter:
    return DeadLetter(ref.stream_id, StoredEntry(b"1-0", b""), DeathCause("refused", 0, 0, ""))


class PagesInMemory:
    """The part of the queue that a scan reads, over a set; `page` letters at once."""

    def __init__(self, refs: set[LetterRef], page: int) -> None:
        self.refs = refs
        self.page = page
        self.scans = 0

    async def scan(self, after: Mapping[int, bytes], limits: PageLimits) -> dict[int, Page]:
        self.scans += 1
        return {partition: self._page(partition, start, limits) for partition, start in after.items()}

    def _page(self, partition: int, start: bytes, limits: PageLimits) -> Page:
        here = sorted(ref for ref in self.refs if ref.partition == partition)
        behind = ref_at(partition, start)
        found = [p for p in here if p > behind and (limits.before is None or p.millisecond < limits.before)]
        return Page(here[-1].stream_id if here else b"", [a_letter(ref) for ref in found[: self.page]])


async def refs_of(scan: Scan, most: int = 1000) -> list[LetterRef]:
    found: list[LetterRef] = []
    while len(found) < most and (result := await scan.next()) is not None:
        found.append(result[0])
    return found


@given(REFS, st.integers(1, 5), st.integers(1, 7))
async def test_a_scan_in_pieces_returns_each_letter_once_in_order(refs: set[LetterRef], page: int, piece: int) -> None:
    found: list[LetterRef] = []
    cursor = Cursor()
    while True:
        scan = Scan(PagesInMemory(refs, page), PARTITIONS, cursor)
        found += await refs_of(scan, piece)
        if await scan.at_end():
            break
        cursor = scan.cursor
    assert found == sorted(refs)


@given(REFS, REFS, st.integers(0, 10))
async def test_a_scan_ends_at_what_existed_when_it_began(
    refs: set[LetterRef], late: set[LetterRef], first: int
) -> None:
    """Letters parked later have later ids; the scan, and its continuation by cursor, never return them."""
    source = PagesInMemory(set(refs), 2)
    scan = Scan(source, PARTITIONS, Cursor())
    found = await refs_of(scan, first)
    if first:
        source.refs |= {LetterRef(ref.millisecond + 10, ref.counter, ref.partition) for ref in late}
        found += await refs_of(Scan(source, PARTITIONS, scan.cursor))
        assert found == sorted(refs)
        assert scan.before == max((ref.millisecond + 1 for ref in refs), default=0)


@given(REFS, st.integers(0, 5))
async def test_a_scan_ends_before_the_time_it_is_told(refs: set[LetterRef], before: int) -> None:
    scan = Scan(PagesInMemory(refs, 2), PARTITIONS, Cursor(before=before))
    assert await refs_of(scan) == sorted(ref for ref in refs if ref.millisecond < before)


async def test_partitions_that_came_to_their_end_are_not_asked_again() -> None:
    source = PagesInMemory({LetterRef(number, 0, 0) for number in range(1, 11)}, 2)
    assert len(await refs_of(Scan(source, PARTITIONS, Cursor()))) == 10
    assert source.scans == 6


async def test_a_filtered_scan_ends_when_its_time_is_over_and_the_scan_continues_from_there() -> None:
    clock = FakeClock()
    scan = Scan(PagesInMemory({LetterRef(number, 0, 0) for number in range(1, 5)}, 2), PARTITIONS, Cursor())
    filtered = FilteredScan(scan, Selection(), clock, clock.monotonic() + 2)
    assert await filtered.next() is not None
    await clock.advance(2)
    assert await filtered.next() is None
    assert not await scan.at_end()
    assert scan.cursor.after == LetterRef(1, 0, 0)
