"""The life of a message by its id: noted where it happens, kept in the store for a while, read by an operator.

Rules guarded: a trace is worth less than any delivery, so noting never waits, never fails and takes a bounded share of
memory and of the store; what cannot be kept is counted and let go. Which ids are kept when there are too many is
decided by the ids themselves, so that ingress and workers keep the same ones. No secret goes in (masked as in logs).
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
from fanout.queue import keys
from fanout.redis.client import Command, RedisClient

What = Literal["accepted", "read", "attempt", "settled"]
Detail = Mapping[str, str | int | float | bool]

MOST_EVENTS = 64  # of one id; the newest stay
MOST_WAITING = 10_000  # events in memory
_EVERY = 0.1  # seconds from the first note to the flush
_WITHIN = 2.0
_LONGEST = 200  # characters of one text
_LOOKED_AT = 1000  # of these secrets are masked: one that begins in what is kept may end beyond it
_WHOLE = 2**32
_COMMANDS_EACH = 3


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One moment of a message's life: unix time in seconds by the clock of whoever noted it, what, and details.

    Details in use: status, failure, number, verdict, delay, end, attempts, partition, entry, worker, hub, operation.
    """

    at: float
    what: What
    detail: Detail = field(default_factory=dict)


class Choice:
    """Which ids are kept: all of them, until `most` in one second are reached; then a share of them, by their digest.

    Every process chooses by the same digest, so an id that is kept under a small share is kept under a larger one too.
    Times are readings of the monotonic clock, handed in.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._share = 1.0
        self._since = float("-inf")
        self._chosen: set[str] = set()
        self._crowded = False

    def __repr__(self) -> str:
        return f"<Choice of {self._share:.3%} of the ids, {len(self._chosen)} this second>"

    def takes(self, message_id: str, now: float) -> bool:
        """Say whether an event of this id, noted at `now`, is to be kept."""
        if now - self._since >= 1.0:
            self._turn(now)
        if message_id in self._chosen:
            return True
        if crc32(message_id.encode()) >= self._share * _WHOLE:
            return False
        if len(self._chosen) >= self._most:
            self._crowded = True
            return False
        self._chosen.add(message_id)
        return True

    def _turn(self, now: float) -> None:
        if self._crowded:
            self._share /= 2
        elif len(self._chosen) < self._most / 2:
            self._share = min(1.0, self._share * 2)
        self._since = now
        self._chosen.clear()
        self._crowded = False


class Traces:
    """The traces of all messages. `keep` is seconds after the last event, 0 keeps nothing; `most` is ids a second.

    Callers ask `on` before they make an event. `skipped` counts events of ids that were not chosen, `lost` those that
    found no room here or no store.
    """

    def __init__(self, redis_client: RedisClient, clock: Clock, *, keep: float, most: int) -> None:
        self._redis = redis_client
        self._clock = clock
        self._keep_ms = ceil(keep * 1000)
        self._choice = Choice(most)
        self._waiting: dict[str, deque[TraceEvent]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._closed = False
        self.on = keep > 0
        self.skipped = 0
        self.lost = 0

    def __repr__(self) -> str:
        return f"<Traces {'on' if self.on else 'off'}, {self._count} waiting, {self.lost} lost>"

    def note(self, message_id: str, event: TraceEvent) -> None:
        """Have an event kept, if there is room for it; returns at once and never fails."""
        if not self.on:
            return
        if not self._choice.takes(message_id, self._clock.monotonic()):
            self.skipped += 1
            return
        if self._count >= MOST_WAITING:
            self.lost += 1
            return
        events = self._waiting.get(message_id)
        if events is None:
            events = self._waiting[message_id] = deque(maxlen=MOST_EVENTS)
            self._wake.set()
        self._count += len(events) < MOST_EVENTS  # else the oldest makes room
        events.append(event)

    async def run(self) -> None:
        """Flush what is noted until `close`, then once more; sleeps while there is nothing."""
        while not self._closed:
            await self._wake.wait()
            await self._clock.sleep(_EVERY)
            await self.flush()
        await self.flush()

    def close(self) -> None:
        """Begin the end; `run` returns when the last events are stored, or lost."""
        self._closed = True
        self._wake.set()

    async def flush(self) -> None:
        """Store what is noted, in one round trip; what the store does not take is lost and counted."""
        self._wake.clear()
        batch, self._waiting = self._waiting, {}
        if not batch:
            return
        left, self._count = self._count, 0
        commands = [command for message_id, events in batch.items() for command in self._commands(message_id, events)]
        try:
            with suppress(QueueError, TimeoutError):
                async with self._clock.timeout(_WITHIN):  # connecting included: the end of a process waits for this
                    replies = await self._redis.call(*commands)
                pushed = zip(batch.values(), replies[::_COMMANDS_EACH], strict=True)
                left -= sum(len(events) for events, reply in pushed if not isinstance(reply, Exception))
        finally:  # when cancelled, too: whether it was stored is not known then
            self.lost += left

    async def of(self, message_id: str) -> list[TraceEvent]:
        """Give what is kept of a message, oldest first, empty when nothing is; QueueError when the store is silent.

        The events of several machines stand in the order of their clocks.
        """
        rows: Sequence[bytes] = await self._redis.ask(
            "LRANGE", keys.trace(message_id), -MOST_EVENTS, -1, within=_WITHIN
        )
        events = [event for row in rows if (event := _read(row)) is not None]
        return sorted(events, key=lambda event: event.at)

    def _commands(self, message_id: str, events: Sequence[TraceEvent]) -> tuple[Command, Command, Command]:
        key = keys.trace(message_id)
        return (
            ("RPUSH", key, *[_written(event) for event in events]),
            ("LTRIM", key, -MOST_EVENTS, -1),
            ("PEXPIRE", key, self._keep_ms),
        )


@asynccontextmanager
async def open_traces(redis_client: RedisClient, clock: Clock, *, keep: float, most: int) -> AsyncIterator[Traces]:
    """Give traces that are stored while the block runs, the last ones at its end; arguments are those of Traces."""
    traces = Traces(redis_client, clock, keep=keep, most=most)
    if not traces.on:
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
    shown = {k: masked(v[:_LOOKED_AT])[:_LONGEST] if isinstance(v, str) else v for k, v in event.detail.items()}
    return _encoder.encode(TraceEvent(event.at, event.what, shown))


def _read(row: bytes) -> TraceEvent | None:
    try:
        return _decoder.decode(row)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None  # of a version that notes more than this one knows
