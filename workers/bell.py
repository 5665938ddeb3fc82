"""Wakes who waits for work: couriers for lanes, the reader for room, the alarm for postponed lanes.

Rule guarded: nobody polls. A ring wakes at most as many sleepers as there is work for, and a ring nobody hears is not
lost, because whoever goes to sleep looks for work first.
"""

import asyncio
from collections import deque


class Bell:
    """The places where one worker's tasks sleep."""

    def __init__(self) -> None:
        self._sleepers: deque[asyncio.Future[None]] = deque()
        self.room = asyncio.Event()  # set: there may be room to read
        self.room.set()
        self.hungry = asyncio.Event()  # set: a lane may have to be refilled
        self.due = asyncio.Event()  # set: the next postponed lane may have changed

    def __repr__(self) -> str:
        return f"<Bell {len(self._sleepers)} asleep>"

    def ring(self, count: int) -> None:
        """Wake up to `count` couriers."""
        while count > 0 and self._sleepers:
            sleeper = self._sleepers.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                count -= 1

    async def sleep(self) -> None:
        """Wait to be rung for."""
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        await sleeper
