"""What workers tell each other about the service's limits, through Redis: slowdowns at once, demand twice a second.

Rules guarded: a refusal seen by one worker slows all of them within milliseconds (a stream that everybody reads,
blocking, takes nothing from anybody); a worker that starts learns the pauses that are still running; when the store
cannot be asked, everybody keeps the share it had last, never no limit.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.queue import keys
from fanout.queue.scripts import SHARE
from fanout.redis.client import Command, RedisClient, raised

_BLOCK = 5.0
_PAUSE = 0.5
_KEPT = 1000
_RECENT = 50
_SHARE_EVERY = 0.5
_SHARE_LIFETIME_MS = 3000


@dataclass(frozen=True, slots=True)
class Signal:
    """A slowdown of one class, as it travels: `pause` in seconds, still to go when it was received."""

    route_class: int
    pause: float
    rate: float
    factor: float
    asked: bool


Heard = Callable[[Signal], None]


class Signals:
    """The workers' talk, as one worker hears and speaks it."""

    def __init__(self, redis_client: RedisClient, clock: Clock, *, worker: str) -> None:
        self._redis = redis_client
        self._clock = clock
        self._worker = worker
        self._last = b""
        self._outgoing: list[Signal] = []
        self._speak = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Signals of {self._worker}, {len(self._outgoing)} to tell>"

    def tell(self, signal: Signal) -> None:
        """Have the others told, soon; returns at once."""
        self._outgoing.append(signal)
        self._speak.set()

    async def run_telling(self) -> None:
        """Tell what is handed in, until cancelled. What cannot be told is dropped: it would be old when it came."""
        while True:
            await self._speak.wait()
            self._speak.clear()
            signals, self._outgoing = self._outgoing, []
            try:
                await self._redis.call(*(self._command(signal) for signal in signals))
            except QueueError:
                continue

    async def run_hearing(self, heard: Heard) -> None:
        """Hand on what others tell, until cancelled; first what is still running."""
        while True:
            try:
                rows = await self._recent() if not self._last else await self._next()
            except QueueError:
                await self._clock.sleep(_PAUSE)
                continue
            for signal in rows:
                heard(signal)

    async def run_sharing(self, mine: Callable[[], Sequence[float]], share: Callable[[Sequence[float]], None]) -> None:
        """Publish this worker's demand by class and hand on the sum of the others', until cancelled."""
        while True:
            demand = mine()
            said = ",".join(f"{value:g}" for value in demand)
            with suppress(QueueError):  # the last share stands
                rows = await self._redis.run(SHARE, [keys.DEMAND], [self._worker, _SHARE_LIFETIME_MS, said])
                share(_sums(rows, self._worker, len(demand)))
            await self._clock.sleep(_SHARE_EVERY)

    async def _recent(self) -> list[Signal]:
        time, rows = await self._redis.call(("TIME",), ("XREVRANGE", keys.SIGNALS, "+", "-", "COUNT", _RECENT))
        now = int(raised(time)[0]) + int(raised(time)[1]) / 1e6
        self._last = bytes(raised(rows)[0][0]) if raised(rows) else b"0-0"
        signals = [_signal(row[1], late=now - int(bytes(row[0]).partition(b"-")[0]) / 1000) for row in reversed(rows)]
        return [signal for signal in signals if signal.pause > 0]

    async def _next(self) -> list[Signal]:
        command: Command = ("XREAD", "BLOCK", int(_BLOCK * 1000), "STREAMS", keys.SIGNALS, self._last)
        reply = await self._redis.ask(*command, within=_BLOCK + 2)
        if not reply:
            return []
        rows = reply[0][1]
        self._last = bytes(rows[-1][0])
        return [_signal(row[1], late=0.0) for row in rows if _fields(row[1])[b"w"] != self._worker.encode()]

    def _command(self, signal: Signal) -> Command:
        return (
            "XADD", keys.SIGNALS, "MAXLEN", "~", _KEPT, "*", "w", self._worker, "c", signal.route_class,
            "p", signal.pause, "r", signal.rate, "f", signal.factor, "a", int(signal.asked),
        )  # fmt: skip


def _fields(flat: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _signal(flat: Sequence[bytes], *, late: float) -> Signal:
    fields = _fields(flat)
    return Signal(
        route_class=int(fields[b"c"]),
        pause=max(0.0, float(fields[b"p"]) - late),
        rate=float(fields[b"r"]),
        factor=float(fields[b"f"]),
        asked=fields[b"a"] == b"1",
    )


def _sums(rows: Sequence[bytes], worker: str, classes: int) -> list[float]:
    sums = [0.0] * classes
    for name, text in zip(rows[::2], rows[1::2], strict=True):
        values = text.partition(b":")[2].split(b",")
        if name != worker.encode() and len(values) == classes:
            sums = [total + float(value) for total, value in zip(sums, values, strict=True)]
    return sums
