"""The one door to time: every wait and every reading of a clock goes through here.

Rule guarded: code that decides takes `now` as a number; code that acts holds a `Clock`. Tests put a clock of their own
in its place and never wait. Durations are seconds as float everywhere.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Clock(Protocol):
    """Time as the rest of the code sees it."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; for durations and deadlines inside one process."""

    def wall(self) -> float:
        """Unix time in seconds; for what other machines see (token expiry, message age)."""

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` (0 yields once)."""

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """Bound the block to `seconds` and raise TimeoutError past it; None does not bound."""


class SystemClock:
    """The machine's own clocks and asyncio's waits."""

    # The functions themselves: they are read several times for each message, and a call around them costs twice theirs.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)
