"""Lets a caller read what it wrote: a question waits until what was queued before it for the same lanes is settled.

The vendor's service answers such a question after it has done what was asked of it before. Here a join is queued, so a
question that went straight through would overtake it. Settling deletes an entry from its stream, and a lane keeps its
order: when the last entry of a lane that waited at the time of the question is gone, all of them are. Nothing is added
to the queue for it. Rules guarded: the wait is bounded, and so is what is read of a flow; where either is not enough,
the answer says that it may be older than what was written.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.queue.entry import FlowRead, StoredEntry, UnreadableEntryError, decode
from fanout.queue.keys import lane_of, place_of
from fanout.queue.stream import START
from fanout.signalr.message import Item

_PAGE: Final = 500
_PAGES: Final = 10  # of one flow that are searched for a lane
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


class Waiting(Protocol):
    """The queue as a question needs it. Each call raises QueueError when the store does not answer."""

    async def read(self, partition: int, after: Mapping[str, bytes], *, most: int) -> list[FlowRead]:
        """Return at most `most` entries after the id `after` of each flow, oldest first."""

    async def fetch(self, partition: int, ids: Mapping[str, Sequence[bytes]]) -> dict[str, list[StoredEntry | None]]:
        """Return the entries with these ids, by flow; None for one that is gone."""


class Barrier:
    """Waits at most `within` seconds for each question; 0 never waits."""

    def __init__(self, waiting: Waiting, clock: Clock, *, partitions: int, within: float) -> None:
        self._waiting = waiting
        self._clock = clock
        self._partitions = partitions
        self._within = within

    async def passed(self, hub: str, lanes: Sequence[Item]) -> bool:
        """Return whether all that waits now in the lanes of these items is settled, as soon as it is or time is up."""
        until = self._clock.monotonic() + self._within
        try:
            for item in lanes:
                if not await self._settled(hub, item, until):
                    return False
        except QueueError:
            return False
        return True

    async def _settled(self, hub: str, item: Item, until: float) -> bool:
        lane, partition, flow = place_of(hub, item, self._partitions)
        last, whole = await self._last_of(lane, partition, flow)
        pause = _FIRST_PAUSE
        while last:
            if not (await self._waiting.fetch(partition, {flow: [last]}))[flow][0]:
                break
            left = until - self._clock.monotonic()
            if left <= 0:
                return False
            await self._clock.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return whole

    async def _last_of(self, lane: str, partition: int, flow: str) -> tuple[bytes, bool]:
        # The id of the lane's newest entry, b"" for none, and whether the flow was read to its end.
        last, after = b"", START
        hub = lane.partition("\n")[0]
        for _ in range(_PAGES):
            read = await self._waiting.read(partition, {flow: after}, most=_PAGE)
            entries = read[0].entries if read else ()
            for stored in entries:
                if _lane_of(stored, hub) == lane:
                    last = stored.id
            if len(entries) < _PAGE:
                return last, True
            after = entries[-1].id
        return last, False


def _lane_of(stored: StoredEntry, hub: str) -> str:
    try:
        return lane_of(hub, decode(stored.data, hub).item)
    except UnreadableEntryError:
        return ""
