"""Runs what may hang beside the event loop: reading a file of a volume, asking for an identity token.

Rules guarded: it holds up neither the loop nor the end of the process. The thread is a daemon, because the end of a
process waits for every other thread, also for one that will never return. There is at most one thread for each file or
identity: a run that was not waited for any longer is waited for again the next time.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from fanout.clock import Clock

T = TypeVar("T")


class Aside(Generic[T]):
    """Runs `function`, again and again, in a thread beside the event loop; each wait takes at most `within` seconds."""

    def __init__(self, function: Callable[[], T], clock: Clock, *, within: float) -> None:
        self._function = function
        self._clock = clock
        self._within = within
        self._running: asyncio.Future[T] | None = None

    async def result(self) -> T:
        """Return what the function returns, or raise what it raises; TimeoutError when it takes too long."""
        if self._running is None:
            self._running = _started(self._function)
        async with self._clock.timeout(self._within):
            await asyncio.wait((self._running,))
        ended, self._running = self._running, None
        return ended.result()


def _started(function: Callable[[], T]) -> "asyncio.Future[T]":
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits has to learn of it
            settle = partial(future.set_exception, error)
        else:
            settle = partial(future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return future
