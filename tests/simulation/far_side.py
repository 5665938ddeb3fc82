"""The scripted service at the far side: takes what the product's real client sends and answers as the weather has it.

Rule guarded: what counts is what arrives here. A request whose sender gave up, froze or died may still arrive, late; an
answer may be lost after the delivery; each call is told apart, so that every repeat has to be accounted for.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import Protocol

from fanout.clock import Clock
from fanout.errors import NotSentError
from fanout.signalr.http1.exchange import Headers, Request, Response
from fanout.signalr.http1.failures import ExchangeTimeoutError, StaleConnectionError
from tests.simulation.loop import HOST, Host, SimulatedLoop

DELIVERING = frozenset({"ok", "500 after", "lost after", "hang"})
REFUSING = frozenset({"400", "403", "404", "413"})
TROUBLE: tuple[str, ...] = ("429", "429 wait", "429 date", "500", "500 after", "503", "503 wait", "408", "401", "gone")
TROUBLE += ("not sent", "lost before", "lost after", "hang")


@dataclass
class FarWeather:
    """What the service does now: each condition is (what, chance, the only lane it is about or None)."""

    latency: float = 0.01
    conditions: list[tuple[str, float, str | None]] = field(default_factory=list)
    executes: bool = True
    noise: float = 0.0  # chance of any trouble at all


@dataclass(eq=False)
class Call:
    """One request: who sent what, what became of it; `seen` is what its sender was told, "" when nothing."""

    number: int
    host: Host
    tags: tuple[str, ...]
    lane: str
    began: float
    fate: str
    reply: "asyncio.Future[Response]"
    arrived: float | None = None  # when it delivered
    reached: float | None = None  # when it was answered for good: delivered, or nobody there to deliver to
    ended: float | None = None  # when its sender stopped waiting
    seen: str = ""


class FarWitness(Protocol):
    """Who is told of calls."""

    def tags_of(self, request: Request) -> tuple[str, ...]: ...
    def lane_of(self, tag: str) -> str: ...
    def began(self, call: Call, request: Request) -> None: ...
    def arrived(self, call: Call) -> None: ...
    def ended(self, call: Call) -> None: ...


class FarSide:
    """The service; `doomed` are the tags it refuses whatever the weather."""

    def __init__(self, loop: SimulatedLoop, random: Random, witness: FarWitness, doomed: dict[str, str]) -> None:
        self.loop = loop
        self.weather = FarWeather()
        self.witness = witness
        self._random = random
        self._doomed = doomed
        self._count = 0

    def begin(self, request: Request) -> Call:
        """Take note of a request that leaves a worker now."""
        tags = self.witness.tags_of(request)
        lane = self.witness.lane_of(tags[0]) if tags else ""
        self._count += 1
        call = Call(
            self._count, HOST.get(), tags, lane, self.loop.time(), self._fate(tags, lane), self.loop.create_future()
        )
        self.witness.began(call, request)
        if call.fate not in ("not sent", "lost before"):
            late = self._random.random() * 3 if call.fate == "hang" else 0.0
            self.loop.outside(self.delay() + late, self._arrive, call)
        return call

    def delay(self) -> float:
        """Draw one trip's time in seconds."""
        return self.weather.latency * (0.3 + self._random.random() ** 3 * 3)

    def _fate(self, tags: Sequence[str], lane: str) -> str:
        if len(tags) > 1 and not self.weather.executes:
            return "404"
        for tag in tags:
            if tag in self._doomed:
                return self._doomed[tag]
        for what, chance, only in self.weather.conditions:
            if only in (None, lane) and self._random.random() < chance:
                return what
        if self.weather.noise and self._random.random() < self.weather.noise:
            return self._random.choice(TROUBLE)
        return "ok"

    def _arrive(self, call: Call) -> None:
        if call.host.dead and self._random.random() < 0.5:
            return  # it was still in the dead process's buffers
        if call.fate in DELIVERING:
            call.arrived = call.reached = self.loop.time()
            self.witness.arrived(call)
        elif call.fate == "gone":
            call.reached = self.loop.time()
        if call.fate not in ("lost after", "hang"):
            self.loop.outside(self.delay(), self._answer, call)

    def _answer(self, call: Call) -> None:
        if not call.reply.done():
            call.reply.set_result(self._response(call.fate))

    def _response(self, fate: str) -> Response:
        headers = b""
        match fate.split():
            case ["ok"]:
                status = 202
            case ["gone"]:
                status, headers = 404, b"x-ms-error-code: Warning.Group.NotExisted\r\n"
            case [code, "wait"]:
                status, headers = int(code), b"Retry-After: %d\r\n" % self._random.randint(0, 2)
            case [code, "date"]:
                when = datetime.fromtimestamp(1_800_000_000 + self.loop.time() + 1, UTC)
                status, headers = int(code), f"Retry-After: {format_datetime(when, usegmt=True)}\r\n".encode()
            case _:
                status = int(fate.split(maxsplit=1)[0])
        return Response(status, Headers(headers), b"", reused=False)


class ModelPool:
    """What the product's client uses of its connection pool; belongs to one worker."""

    def __init__(self, far: FarSide, clock: Clock, *, request_timeout: float) -> None:
        self._far = far
        self._clock = clock
        self._request_timeout = request_timeout

    async def send(self, request: Request) -> Response:
        """Send one request as http1.pool.Pool.send does, with its errors."""
        call = self._far.begin(request)
        try:
            response = await self._exchange(call)
            call.seen = call.fate
        except BaseException as error:
            call.seen = type(error).__name__
            raise
        finally:
            call.ended = self._far.loop.time()
            self._far.witness.ended(call)
        return response

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _exchange(self, call: Call) -> Response:
        if call.fate in ("not sent", "lost before", "lost after"):
            await self._clock.sleep(self._far.delay() * (4 if call.fate == "lost after" else 1))
            if call.fate == "not sent":
                raise NotSentError("connection refused")
            raise StaleConnectionError("the connection ended", reused=call.number % 2 == 0)
        try:
            async with self._clock.timeout(self._request_timeout):
                return await call.reply
        except TimeoutError:
            raise ExchangeTimeoutError("no answer in time", reused=False) from None
