"""The only access to time: every wait and every reading of a clock goes through a `Clock`.

Rule guarded: code that decides takes `now` as a number; code that acts holds a `Clock`. Tests pass a clock of their own
and never wait. Durations are seconds as float everywhere.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Clock(Protocol):
    """Clocks and waits, as the rest of the code uses them."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards, for durations and deadlines inside one process."""

    def wall(self) -> float:
        """Return unix time in seconds, for what other machines see (token expiry, message age)."""

    async def sleep(self, seconds: float) -> None:
        """Wait; 0 yields to the event loop once."""

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """Raise TimeoutError when the block takes longer than `seconds`; None means no limit."""


class SystemClock:
    """The clocks of the machine and the waits of asyncio."""

    # The functions themselves: they run several times per message, and a method around them would cost twice as much.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)
