"""The last look at the queue, shared by everybody who asks.

Rules guarded: the queue is looked at once a second at most, however many consoles ask, and those that ask meanwhile
wait for the same look. An error is shared like an answer, so that a Redis that is away is not asked more often than one
that is there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fanout.clock import Clock
from fanout.errors import QueueError, QueueSilentError
from fanout.queue.pauses import Pause, Pauses
from fanout.queue.survey import Survey, Surveyor
from service.admin.overview.figures import Overview, overview_of

Memory = Callable[[], Awaitable[float | None]]
MOST_HUBS: Final = 200  # that are told apart
_FRESH: Final = 1.0  # seconds for which a look is answered again
_WITHIN: Final = 3.0  # seconds that one look may take
_COMPARED: Final = 30.0  # seconds after which an earlier look says nothing of the rate of now


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the queue, when it began by the clock of this process, and its figures, worked out once."""

    began: float
    survey: Survey
    overview: Overview
    pauses: Sequence[Pause]
    memory_ratio: float | None


class Looks:
    """The last look, shared by all who ask within a second."""

    def __init__(self, surveyor: Surveyor, pauses: Pauses, memory: Memory, clock: Clock) -> None:
        """`memory` returns the share of its memory that Redis uses."""
        self._surveyor = surveyor
        self._pauses = pauses
        self._memory = memory
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: Look | None = None
        self._ended = float("-inf")
        self._error: QueueError | None = None

    async def latest(self) -> Look:
        """Return a look that is at most a second old; QueueError when Redis did not answer."""
        async with self._lock:
            now = self._clock.monotonic()
            if now - self._ended >= _FRESH:
                await self._look(now)
                self._ended = self._clock.monotonic()  # who waited meanwhile gets this look, however long it took
            if self._error is not None:
                raise self._error
            if self._last is None:
                raise QueueError("The queue was not looked at yet.")
            return self._last

    async def _look(self, began: float) -> None:
        earlier = self._last
        is_recent = earlier is not None and began - earlier.began <= _COMPARED
        try:
            async with self._clock.timeout(_WITHIN):
                survey, pauses = await self._surveyor.look(), await self._pauses.current()
                memory_ratio = await self._memory()
        except (QueueError, TimeoutError) as error:
            silent = QueueSilentError(f"Redis did not answer within {_WITHIN:g} s.")
            self._error = error if isinstance(error, QueueError) else silent
            return
        self._error = None
        before = earlier.survey if earlier is not None and is_recent else None
        self._last = Look(began, survey, overview_of(survey, before, MOST_HUBS), [*pauses], memory_ratio)
