"""The only access to time: every wait and every reading of a clock goes through a `Clock`.

Rule guarded: code that decides takes `now` as a number; code that acts holds a `Clock`. Tests pass a clock of their own
and never wait. Durations are seconds as float everywhere. A lease runs out in Redis while this machine is suspended, so
the clock that deadlines are measured by must not stand still meanwhile.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Clocks and waits, as the rest of the code uses them."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards and go on while the machine sleeps, for deadlines in one process."""

    def wall(self) -> float:
        """Return unix time in seconds, for what other machines see (token expiry, message age)."""

    async def sleep(self, seconds: float) -> None:
        """Wait; 0 yields to the event loop once."""

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        """Raise TimeoutError when the block takes longer than `seconds`; None means no limit."""


def _boot_clock() -> Callable[[], float]:
    # CLOCK_MONOTONIC stands still while a Linux machine is suspended. Other systems have no CLOCK_BOOTTIME.
    boot_time: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot_time is None else partial(time.clock_gettime, boot_time)


class SystemClock:
    """The clocks of the machine and the waits of asyncio."""

    # The functions themselves: they run several times per message, and a method around them would cost twice as much.
    monotonic = staticmethod(_boot_clock())
    wall = staticmethod(time.time)
    timeout = staticmethod(asyncio.timeout)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
