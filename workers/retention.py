"""Deletes dead letters once they are older than FANOUT_MAX_DEAD_AGE.

Rules guarded: the owner of a partition does it, under its lease, in small steps; what is old is decided in the store,
by the clock that wrote the id of the letter. Each letter that is deleted is counted, also when the answer to a step was
lost: the store reports it again until it was told of the count. A killed worker may have counted up to one step that
its successor counts too, and never one too few.
"""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from fanout.clock import Clock
from fanout.errors import LeaseLostError, QueueError
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters, OldDeleted
from workers.partition import OwnedPartition

_INTERVAL: Final = 10.0  # seconds between two rounds, and between two lines of the log
_SHORTEST: Final = 0.1  # seconds between two rounds where letters may become old sooner than that
_LATEST: Final = 3600.0  # seconds after which a partition is looked at again, because the store's clock may be set
_FAILURES_EVERY: Final = 60.0  # seconds between two lines of the log that say that Redis did not answer
_BETWEEN: Final = 0.05  # seconds between two steps of a partition, in which Redis does the work of others


@dataclass(frozen=True, slots=True)
class Look:
    """The next look at a partition: when, and the last letter counted that the store has not been told of."""

    at: float = -inf
    counted: bytes = b""


def next_look(step: OldDeleted, now: float, max_age: float) -> Look:
    """Return when to look again after a step.

    At once while there is more, or something to tell the store. Else when the oldest letter becomes too old. Where
    there is none, no letter can become too old before `max_age`.
    """
    if step.count or step.left == 0:
        return Look(now, step.last)
    return Look(now + min(max_age if step.left is None else step.left, _LATEST))


class Retention:
    """The dead letters of one worker's partitions. `max_age` is in seconds, 0 keeps them."""

    def __init__(
        self, dead_letters: DeadLetters, clock: Clock, metrics: Metrics, log: Logger, *, max_age: float
    ) -> None:
        self._dead_letters = dead_letters
        self._clock = clock
        self._counter = metrics.dropped_letters["age"]
        self._log = log
        self._max_age = max_age
        self._looks: dict[OwnedPartition, Look] = {}
        self._unsaid = 0  # letters deleted since the last line of the log
        self._said = -inf
        self._failure_said = -inf

    def __repr__(self) -> str:
        return f"<Retention, {self._max_age:g} s>"

    def tasks(self, partitions: Callable[[], Collection[OwnedPartition]]) -> list[Coroutine[Any, Any, None]]:
        """Return what has to run: nothing where dead letters have no age."""
        return [self.run(partitions)] if self._max_age else []

    async def run(self, partitions: Callable[[], Collection[OwnedPartition]]) -> None:
        """Look at the partitions that are owned, again and again, until cancelled."""
        interval = min(_INTERVAL, max(_SHORTEST, self._max_age))
        while True:
            self._looks = {owned: self._looks.get(owned, Look()) for owned in partitions()}
            more = False
            for owned, look in list(self._looks.items()):
                now = self._clock.monotonic()
                if look.at <= now and owned.may_act(now):
                    more |= await self._step(owned, look)
            self._say(self._clock.monotonic())
            await self._clock.sleep(_BETWEEN if more else interval)

    async def _step(self, owned: OwnedPartition, look: Look) -> bool:
        """Make one step in a partition; return whether the next one is due at once."""
        try:
            step = await self._dead_letters.delete_old(owned.number, owned.lease.token, self._max_age, look.counted)
        except LeaseLostError:
            return False  # the next owner does it
        except QueueError as error:  # the next round asks again, and is told what this one deleted
            self._log_failure(owned.number, error)
            return False
        self._counter.inc(step.count)
        self._unsaid += step.count
        now = self._clock.monotonic()
        self._looks[owned] = next_look(step, now, self._max_age)
        return self._looks[owned].at <= now

    def _log_failure(self, partition: int, error: QueueError) -> None:
        now = self._clock.monotonic()
        if now - self._failure_said >= _FAILURES_EVERY:  # every partition fails in every round of an outage
            self._log.warning("dead_letters.unreachable", partition=partition, error=str(error))
            self._failure_said = now

    def _say(self, now: float) -> None:
        if self._unsaid and now - self._said >= _INTERVAL:
            self._log.warning("dead_letters.aged", deleted=self._unsaid, age=self._max_age)
            self._unsaid, self._said = 0, now
