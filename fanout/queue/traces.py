"""Traces of messages by id: recorded where an event happens, kept in Redis for a while, read by an operator.

Rules guarded: a trace is worth less than any delivery, so recording never waits, never fails and uses a bounded part of
memory and of Redis. What cannot be kept is counted and dropped. When there are too many ids, a digest of the id decides
which are kept, so that ingress and workers keep the same ones. Secrets are masked as in logs.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from typing import Literal
from zlib import crc32

import msgspec

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.log import masked
from fanout.queue.keys import KEYS, Keys
from fanout.redis.client import Command, RedisClient

What = Literal["accepted", "read", "attempt", "settled"]
Detail = Mapping[str, str | int | float | bool]

MAX_EVENTS = 64  # of one id; the newest are kept
MAX_BUFFERED_EVENTS = 10_000  # in memory, of all ids
_FLUSH_DELAY = 0.1  # seconds from the first event to the flush
_TIMEOUT = 2.0
_MAX_TEXT = 200  # characters of one text
_MAX_MASKED = 1000  # characters searched for secrets: one that begins in the kept part may end beyond it
_CRC_RANGE = 2**32
_COMMANDS_PER_ID = 3


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One event of a message: unix time in seconds by the clock of the recording process, what happened, and details.

    Details in use: status, failure, number, verdict, delay, end, attempts, partition, entry, worker, hub, operation.
    """

    at: float
    what: What
    detail: Detail = field(default_factory=dict)


class TraceSampler:
    """Decides which ids are kept: all of them up to `max_per_second`, beyond that a share of them by their digest.

    Every process uses the same digest, so an id that is kept under a small share is kept under a larger one too. Times
    are readings of the monotonic clock.
    """

    def __init__(self, max_per_second: int) -> None:
        self._max_per_second = max_per_second
        self._share = 1.0
        self._since = float("-inf")
        self._chosen: set[str] = set()
        self._reached_max = False

    def __repr__(self) -> str:
        return f"<TraceSampler of {self._share:.3%} of the ids, {len(self._chosen)} this second>"

    def samples(self, message_id: str, now: float) -> bool:
        """Return whether an event of this id, recorded at `now`, is to be kept."""
        if now - self._since >= 1.0:
            self._begin_second(now)
        if message_id in self._chosen:
            return True
        if crc32(message_id.encode()) >= self._share * _CRC_RANGE:
            return False
        if len(self._chosen) >= self._max_per_second:
            self._reached_max = True
            return False
        self._chosen.add(message_id)
        return True

    def _begin_second(self, now: float) -> None:
        if self._reached_max:
            self._share /= 2
        elif len(self._chosen) < self._max_per_second / 2:
            self._share = min(1.0, self._share * 2)
        self._since = now
        self._chosen.clear()
        self._reached_max = False


class Traces:
    """The traces of all messages. `keep` is in seconds after the last event; 0 keeps nothing.

    Callers check `is_enabled` before they create an event. `skipped` counts events of ids that were not sampled,
    `lost` those for which there was no room in memory or that Redis did not take.
    """

    def __init__(
        self, redis_client: RedisClient, clock: Clock, keys: Keys = KEYS, *, keep: float, max_per_second: int
    ) -> None:
        self._redis = redis_client
        self._clock = clock
        self._keys = keys
        self._keep_ms = ceil(keep * 1000)
        self._sampler = TraceSampler(max_per_second)
        self._waiting: dict[str, deque[TraceEvent]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._closed = False
        self.is_enabled = keep > 0
        self.skipped = 0
        self.lost = 0

    def __repr__(self) -> str:
        return f"<Traces {'on' if self.is_enabled else 'off'}, {self._count} waiting, {self.lost} lost>"

    def record(self, message_id: str, event: TraceEvent) -> None:
        """Keep an event if its id is sampled and there is room. Return at once and never fail."""
        if not self.is_enabled:
            return
        if not self._sampler.samples(message_id, self._clock.monotonic()):
            self.skipped += 1
            return
        if self._count >= MAX_BUFFERED_EVENTS:
            self.lost += 1
            return
        events = self._waiting.get(message_id)
        if events is None:
            events = self._waiting[message_id] = deque(maxlen=MAX_EVENTS)
            self._wake.set()
        self._count += len(events) < MAX_EVENTS  # else the oldest is dropped for it
        events.append(event)

    async def run(self) -> None:
        """Store recorded events until `close`, then once more. Sleep while there are none."""
        while not self._closed:
            await self._wake.wait()
            await self._clock.sleep(_FLUSH_DELAY)
            await self.flush()
        await self.flush()

    def close(self) -> None:
        """Let `run` return when the last events are stored or lost."""
        self._closed = True
        self._wake.set()

    async def flush(self) -> None:
        """Store recorded events in one round trip. What Redis does not take is lost and counted."""
        self._wake.clear()
        batch, self._waiting = self._waiting, {}
        if not batch:
            return
        left, self._count = self._count, 0
        commands = [command for message_id, events in batch.items() for command in self._commands(message_id, events)]
        try:
            with suppress(QueueError, TimeoutError):
                async with self._clock.timeout(_TIMEOUT):  # includes connecting, because shutdown waits for this
                    replies = await self._redis.call(*commands)
                pushed = zip(batch.values(), replies[::_COMMANDS_PER_ID], strict=True)
                left -= sum(len(events) for events, reply in pushed if not isinstance(reply, Exception))
        finally:  # also when cancelled: whether it was stored is not known then
            self.lost += left

    async def events_of(self, message_id: str) -> list[TraceEvent]:
        """Return the events kept of a message, oldest first. Raise QueueError when Redis does not answer.

        Events of several machines are ordered by the clocks of these machines.
        """
        rows: Sequence[bytes] = await self._redis.ask(
            "LRANGE", self._keys.trace(message_id), -MAX_EVENTS, -1, time_limit=_TIMEOUT
        )
        events = [event for row in rows if (event := _read(row)) is not None]
        return sorted(events, key=lambda event: event.at)

    def _commands(self, message_id: str, events: Sequence[TraceEvent]) -> tuple[Command, Command, Command]:
        key = self._keys.trace(message_id)
        return (
            ("RPUSH", key, *[_written(event) for event in events]),
            ("LTRIM", key, -MAX_EVENTS, -1),
            ("PEXPIRE", key, self._keep_ms),
        )


@asynccontextmanager
async def open_traces(
    redis_client: RedisClient, clock: Clock, keys: Keys = KEYS, *, keep: float, max_per_second: int
) -> AsyncIterator[Traces]:
    """Yield traces that are stored while the block runs, the last ones at its end. Arguments are those of Traces."""
    traces = Traces(redis_client, clock, keys, keep=keep, max_per_second=max_per_second)
    if not traces.is_enabled:
        yield traces
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(traces.run())
        try:
            yield traces
        finally:
            traces.close()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TraceEvent)


def _written(event: TraceEvent) -> bytes:
    shown = {k: masked(v[:_MAX_MASKED])[:_MAX_TEXT] if isinstance(v, str) else v for k, v in event.detail.items()}
    return _encoder.encode(TraceEvent(event.at, event.what, shown))


def _read(row: bytes) -> TraceEvent | None:
    try:
        return _decoder.decode(row)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None  # written by a version that knows other events
