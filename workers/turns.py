"""A bound for what many tasks do together in one turn of the event loop.

Rule guarded: a backlog in every partition at once keeps nothing else from having its turn. Each task yields between the
parts of its work, but sixteen that do so still take sixteen parts in one turn.
"""

import asyncio
from collections import deque


class Turns:
    """Lets at most `most` entries be taken in before all else has its turn. Who has to wait goes on in order."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._begins = False  # the next turn

    def __repr__(self) -> str:
        return f"<Turns of {self._most}, {len(self._waiting)} waiting>"

    async def take(self, count: int) -> None:
        """Return when `count` entries, which are not more than `most`, may be taken in."""
        loop = asyncio.get_running_loop()
        if not self._begins:
            self._begins = True
            loop.call_soon(self._begin)
        if self._waiting or count > self._left:
            place = loop.create_future()
            self._waiting.append((place, count))
            await place
        else:
            self._left -= count

    def _begin(self) -> None:
        self._left = self._most
        while self._waiting and self._waiting[0][1] <= self._left:
            place, count = self._waiting.popleft()
            if not place.done():  # else it was cancelled
                self._left -= count
                place.set_result(None)
        self._begins = bool(self._waiting)
        if self._begins:
            asyncio.get_running_loop().call_soon(self._begin)
