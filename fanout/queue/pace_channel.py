"""Shares the pace of sending among all workers through Redis: slowdowns at once, demand twice a second.

Rules guarded: a refusal seen by one worker slows all of them within milliseconds, because each worker waits in a
blocking read of the same stream. A worker that starts learns which pauses are still running. While Redis cannot be
reached, each worker keeps the share it had last and never sends without a limit.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.queue.keys import KEYS, Keys
from fanout.queue.worker_scripts import EXCHANGE_DEMAND
from fanout.redis.client import Command, RedisClient, reply_or_raise

_BLOCK = 5.0  # seconds one read waits for a notice
_RETRY_DELAY = 0.5  # seconds after a failed read
_MAX_NOTICES = 1000  # kept in the stream, approximately
_FRESH = 2.0  # seconds
_MAX_RECENT = 50  # notices a worker that starts looks at
_DEMAND_INTERVAL = 0.5  # seconds
_DEMAND_LIFETIME_MS = 3000


@dataclass(frozen=True, slots=True)
class PaceNotice:
    """What a worker learned of the pace of one class of calls.

    `pause` is the seconds that remained when the notice was received. `rate`, `taken` and `refused` are calls a second
    of all workers, infinity where there is no limit. `share` of the calls is refused whatever the rate; while `is_test`
    that is not certain.
    """

    route_class: int
    pause: float
    rate: float
    taken: float
    refused: float
    share: float
    asked: bool
    capped: bool = False
    is_test: bool = False


OnNotice = Callable[[PaceNotice], None]


class PaceChannel:
    """One worker's end of the exchange with the other workers, about one endpoint."""

    def __init__(
        self, redis_client: RedisClient, clock: Clock, keys: Keys = KEYS, *, worker: str, endpoint: str = ""
    ) -> None:
        self._redis = redis_client
        self._clock = clock
        self._notices = keys.pace_notices(endpoint)
        self._demand = keys.demand(endpoint)
        self.worker = worker
        self._last = b""
        self._outgoing: list[PaceNotice] = []
        self._has_outgoing = asyncio.Event()

    def __repr__(self) -> str:
        return f"<PaceChannel of {self.worker}, {len(self._outgoing)} to send>"

    def publish(self, notice: PaceNotice) -> None:
        """Queue a notice for the other workers; return at once."""
        self._outgoing.append(notice)
        self._has_outgoing.set()

    async def run_publishing(self) -> None:
        """Send queued notices until cancelled. Drop what cannot be sent: it would be outdated when it arrived."""
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            notices, self._outgoing = self._outgoing, []
            try:
                await self._redis.call(*(self._command(notice) for notice in notices))
            except QueueError:
                continue

    async def run_receiving(self, on_notice: OnNotice) -> None:
        """Call `on_notice` for each notice of another worker until cancelled, beginning with pauses still running."""
        while True:
            try:
                notices = await self._recent() if not self._last else await self._next()
            except QueueError:
                await self._clock.sleep(_RETRY_DELAY)
                continue
            for notice in notices:
                on_notice(notice)

    async def run_exchanging_demand(
        self, own_demand: Callable[[], Sequence[float]], on_others: Callable[[Sequence[float]], None]
    ) -> None:
        """Publish this worker's demand by class and pass the sum of the others' to `on_others`, until cancelled."""
        while True:
            demand = own_demand()
            text = ",".join(f"{value:g}" for value in demand)
            with suppress(QueueError):  # the last share remains in force
                rows = await self._redis.run(EXCHANGE_DEMAND, [self._demand], [self.worker, _DEMAND_LIFETIME_MS, text])
                on_others(_sums(rows, self.worker, len(demand)))
            await self._clock.sleep(_DEMAND_INTERVAL)

    async def _recent(self) -> list[PaceNotice]:
        time, rows = await self._redis.call(("TIME",), ("XREVRANGE", self._notices, "+", "-", "COUNT", _MAX_RECENT))
        now = int(reply_or_raise(time)[0]) + int(reply_or_raise(time)[1]) / 1e6
        self._last = bytes(reply_or_raise(rows)[0][0]) if reply_or_raise(rows) else b"0-0"
        ages = [now - int(bytes(row[0]).partition(b"-")[0]) / 1000 for row in reversed(rows)]
        notices = [(age, _notice(row[1], age=age)) for age, row in zip(ages, reversed(rows), strict=True)]
        # Older pauses that the service asked for are in `Pauses`, unless they were lifted.
        return [notice for age, notice in notices if notice.pause > 0 and not (notice.asked and age > _FRESH)]

    async def _next(self) -> list[PaceNotice]:
        command: Command = ("XREAD", "BLOCK", int(_BLOCK * 1000), "STREAMS", self._notices, self._last)
        reply = await self._redis.ask(*command, time_limit=_BLOCK + 2, blocking=True)
        if not reply:
            return []
        rows = reply[0][1]
        self._last = bytes(rows[-1][0])
        return [_notice(row[1], age=0.0) for row in rows if _fields(row[1])[b"w"] != self.worker.encode()]

    def _command(self, notice: PaceNotice) -> Command:
        return (
            "XADD", self._notices, "MAXLEN", "~", _MAX_NOTICES, "*",
            "w", self.worker, "c", notice.route_class, "p", notice.pause,
            "r", notice.rate, "t", notice.taken, "u", notice.refused, "s", notice.share,
            "a", int(notice.asked), "x", int(notice.capped), "d", int(notice.is_test),
        )  # fmt: skip


def _fields(flat: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _notice(flat: Sequence[bytes], *, age: float) -> PaceNotice:
    fields = _fields(flat)
    return PaceNotice(
        route_class=int(fields[b"c"]),
        pause=max(0.0, float(fields[b"p"]) - age),
        rate=float(fields[b"r"]),
        taken=float(fields[b"t"]),
        refused=float(fields[b"u"]),
        share=float(fields[b"s"]),
        asked=fields[b"a"] == b"1",
        capped=fields[b"x"] == b"1",
        is_test=fields.get(b"d") == b"1",
    )


def _sums(rows: Sequence[bytes], worker: str, classes: int) -> list[float]:
    sums = [0.0] * classes
    for name, text in zip(rows[::2], rows[1::2], strict=True):
        values = text.partition(b":")[2].split(b",")
        if name != worker.encode() and len(values) == classes:
            sums = [total + float(value) for total, value in zip(sums, values, strict=True)]
    return sums
