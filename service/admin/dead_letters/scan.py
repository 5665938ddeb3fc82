"""Reads the dead letters of all partitions in the order in which they were parked.

Rules guarded: the memory a scan holds is bounded in bytes, however large the letters are. A scan ends at the letters
that existed when it began, so a letter that is replayed and parked again is not visited twice.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Protocol

from fanout.clock import Clock
from fanout.queue.dead_letters import DeadLetter, Page, PageLimits
from service.admin.dead_letters.command import Selection
from service.admin.dead_letters.reference import Cursor, LetterRef, ref_at

_BUFFER_SIZE = 4 * 1024 * 1024  # bytes held in all, approximately, plus one letter for each partition


class PageSource(Protocol):
    """The part of the queue that a scan reads."""

    async def scan(self, after: Mapping[int, bytes], limits: PageLimits) -> dict[int, Page]:
        """Return what follows these ids in each of these partitions."""


class Scan:
    """One pass over all partitions, starting at a cursor."""

    def __init__(self, letters: PageSource, partitions: int, start: Cursor) -> None:
        self._letters = letters
        self._page_size = _BUFFER_SIZE // partitions
        self._last = start.after
        self._before = start.before
        self._end_known = False
        self._heap: list[tuple[LetterRef, DeadLetter]] = []
        self._buffered = dict.fromkeys(range(partitions), 0)  # letters in the heap, by partition
        self._to_read = set(range(partitions))
        self._after = {partition: start.after_in(partition) for partition in range(partitions)}

    @property
    def cursor(self) -> Cursor:
        """The position after the letter that was returned last."""
        return Cursor(self._last, self._before)

    @property
    def before(self) -> int:
        """The unix millisecond before which all letters of this scan were parked; known after the first `next`."""
        return self._before or 0

    async def next(self) -> tuple[LetterRef, DeadLetter] | None:
        """Return the next letter, or None at the end."""
        if await self.at_end():
            return None
        ref, letter = heappop(self._heap)
        self._buffered[ref.partition] -= 1
        if not self._buffered[ref.partition]:
            self._to_read.add(ref.partition)
        self._last = ref
        return ref, letter

    async def at_end(self) -> bool:
        """Return whether no letter is left."""
        if self._to_read:
            after = {partition: self._after[partition] for partition in self._to_read}
            pages = await self._letters.scan(after, PageLimits(self._before, size=self._page_size))
            self._to_read.clear()
            self._fix_end(pages)
            for partition, page in pages.items():
                self._buffer(partition, page)
        return not self._heap

    def _fix_end(self, pages: dict[int, Page]) -> None:
        if self._end_known:
            return
        self._end_known = True  # the first read covers all partitions
        ends = [ref_at(partition, page.last).millisecond + 1 for partition, page in pages.items() if page.last]
        end = max(ends, default=0)
        self._before = end if self._before is None else min(self._before, end)

    def _buffer(self, partition: int, page: Page) -> None:
        if not page.letters:
            return  # this partition is exhausted and is not read again
        self._buffered[partition] = len(page.letters)
        self._after[partition] = page.letters[-1].id
        for letter in page.letters:
            heappush(self._heap, (ref_at(partition, letter.id), letter))


class FilteredScan:
    """The letters of a scan that match a selection, until `deadline` by the monotonic clock."""

    def __init__(self, scan: Scan, selection: Selection, clock: Clock, deadline: float) -> None:
        self._scan = scan
        self._selection = selection
        self._clock = clock
        self._deadline = deadline

    async def next(self) -> tuple[LetterRef, DeadLetter] | None:
        """Return the next match, or None when none is left or the time is up."""
        while self._clock.monotonic() < self._deadline and (found := await self._scan.next()) is not None:
            if self._selection.matches(found[1]):
                return found
        return None
