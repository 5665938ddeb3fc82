"""Goes through the dead letters of all partitions in the order in which they were parked.

Rules guarded: what is held in memory is bounded in bytes however large the letters are; the walk ends at the letters
that were there when it began, so a letter that is parked again behind it is not met twice.
"""

from heapq import heappop, heappush
from typing import Protocol

from fanout.clock import Clock
from fanout.queue.dead_letters import DeadLetter, Page, PageLimits
from service.admin.dead_letters.reference import Bookmark, Place, place_at
from service.admin.dead_letters.selection import Selection

_SIZE = 4 * 1024 * 1024  # bytes held, about; and one letter more for each partition


class Scanning(Protocol):
    """What a walk asks of the queue."""

    async def scan(self, after: dict[int, bytes], portion: PageLimits) -> dict[int, Page]:
        """Give what follows in each of these partitions."""


class Walk:
    """One walk from a bookmark on; `bookmark` tells how far it came."""

    def __init__(self, letters: Scanning, partitions: int, start: Bookmark) -> None:
        self._letters = letters
        self._size = _SIZE // partitions
        self._place = start.after
        self._before = start.before
        self._known = False
        self._heap: list[tuple[Place, DeadLetter]] = []
        self._held = dict.fromkeys(range(partitions), 0)  # by partition, how many of its letters are in the heap
        self._due = set(range(partitions))  # those to ask for more
        self._after = {partition: start.after_in(partition) for partition in range(partitions)}

    @property
    def bookmark(self) -> Bookmark:
        """How far it came: behind the letter given last."""
        return Bookmark(self._place, self._before)

    @property
    def before(self) -> int:
        """Where it ends: the unix millisecond before which all its letters were parked; known after the first step."""
        return self._before or 0

    async def step(self) -> tuple[Place, DeadLetter] | None:
        """Give the next letter; None when there is none left."""
        if await self.over():
            return None
        place, letter = heappop(self._heap)
        self._held[place.partition] -= 1
        if not self._held[place.partition]:
            self._due.add(place.partition)
        self._place = place
        return place, letter

    async def over(self) -> bool:
        """Tell whether there is nothing left."""
        if self._due:
            after = {partition: self._after[partition] for partition in self._due}
            pages = await self._letters.scan(after, PageLimits(self._before, size=self._size))
            self._due.clear()
            self._learn(pages)
            for partition, page in pages.items():
                self._take(partition, page)
        return not self._heap

    def _learn(self, pages: dict[int, Page]) -> None:
        if self._known:
            return
        self._known = True  # the first time all partitions are asked
        ends = [place_at(partition, page.last).millisecond + 1 for partition, page in pages.items() if page.last]
        end = max(ends, default=0)
        self._before = end if self._before is None else min(self._before, end)

    def _take(self, partition: int, page: Page) -> None:
        if not page.letters:
            return  # it has come to its end and is not asked again
        self._held[partition] = len(page.letters)
        self._after[partition] = page.letters[-1].id
        for letter in page.letters:
            heappush(self._heap, (place_at(partition, letter.id), letter))


class Gathering:
    """Takes from a walk what a selection wants, as long as there is time: until `deadline` by the monotonic clock."""

    def __init__(self, walk: Walk, selection: Selection, clock: Clock, deadline: float) -> None:
        self._walk = walk
        self._selection = selection
        self._clock = clock
        self._deadline = deadline

    async def next(self) -> tuple[Place, DeadLetter] | None:
        """Give the next letter that fits; None when there is none left, or no time."""
        while self._clock.monotonic() < self._deadline and (found := await self._walk.step()) is not None:
            if self._selection.takes(found[1]):
                return found
        return None
