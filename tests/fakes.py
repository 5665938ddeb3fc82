"""Stand-ins for time; everything else in the tests is the real thing."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FakeClock:
    """A clock that moves only by `await clock.advance(seconds)`, which wakes those that sleep until then."""

    def __init__(self, *, wall: float = 1_800_000_000.0) -> None:
        self._now = 1000.0
        self._wall_offset = wall - self._now
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now + self._wall_offset

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, self._count, future))
        await future

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[None]:
        if seconds is None:
            yield
            return
        task = asyncio.current_task()
        assert task is not None
        fired = False

        async def watch() -> None:
            nonlocal fired
            await self.sleep(seconds)
            fired = True
            task.cancel()

        watcher = asyncio.ensure_future(watch())
        try:
            yield
        except asyncio.CancelledError:
            if fired:
                task.uncancel()
                raise TimeoutError from None
            raise
        finally:
            watcher.cancel()

    @property
    def sleeping(self) -> int:
        """How many wait for time to pass."""
        return sum(not future.done() for _when, _count, future in self._sleepers)

    def jump(self, seconds: float) -> None:
        """Move time without waking anybody, as a stopped process sees it."""
        self._now += seconds

    async def advance(self, seconds: float) -> None:
        """Move time on by `seconds`, waking sleepers in order and letting each run until it waits again."""
        end = self._now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            when, _count, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, when)
            if not future.done():
                future.set_result(None)
            await self.settle()
        self._now = end
        await self.settle()

    async def settle(self) -> None:
        """Let everything run that can run now."""
        for _ in range(20):
            await asyncio.sleep(0)
