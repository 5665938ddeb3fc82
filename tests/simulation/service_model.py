"""A model of the service: takes what the product's real client sends and answers as the current conditions say.

Rule guarded: what counts is what arrives here. A request whose sender gave up, froze or died may still arrive, late. An
answer may be lost after the delivery. Each call has an identity, so that every repeat has to be accounted for.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from random import Random
from typing import Protocol

from fanout.clock import Clock
from fanout.errors import MaybeSentError, NotSentError, WithheldError
from fanout.http1.exchange import ExchangeTimeoutError, Headers, Response, StaleConnectionError
from fanout.http1.messages import Request
from fanout.http1.pool import MayWrite
from tests.simulation.loop import HOST, Host, SimulatedLoop

DELIVERING = frozenset({"ok", "500 after", "lost after", "hang"})
REFUSING_JOINED = ("400", "404", "415", "501", "413", "403")  # what a service that runs no `:execute` may answer
TROUBLE: tuple[str, ...] = ("429", "429 wait", "429 date", "500", "500 after", "503", "503 wait", "408", "401", "gone")
TROUBLE += ("not sent", "lost before", "lost after", "hang", "403", "302", "html")
_SHIFT = 0.37  # where in its second the service is when a run begins


@dataclass
class ServiceConditions:
    """How the service answers now. Each trouble is (what, chance, the only lane or hub concerned or None)."""

    latency: float = 0.01
    troubles: list[tuple[str, float, str | None]] = field(default_factory=list)
    joined: str = ""  # the status that answers each `:execute` now; "" runs it
    noise: float = 0.0  # chance of any trouble at all
    quotas: dict[str, int] = field(default_factory=dict)  # calls taken in each second, by class
    over_quota: str = "429"  # what answers the others
    connect: float = 0.0  # the longest that a call waits for a connection, in seconds


@dataclass(eq=False)
class Call:
    """One request: who sent what, and what became of it. `seen` is what its sender learned, "" when nothing."""

    number: int
    host: Host
    tags: tuple[str, ...]
    kind: str  # the class of calls the service limits apart
    lane: str
    began: float
    let_go: float  # when its place in the rate was taken, before it waited for a connection
    fate: str
    reply: "asyncio.Future[Response]"
    arrived: float | None = None  # when it delivered
    reached: float | None = None  # when the answer became final: delivered, or no such destination
    ended: float | None = None  # when its sender stopped waiting
    seen: str = ""
    pause: float | None = None  # the seconds its sender was asked to wait, by its sender's clock
    token: str = ""  # of the lease under which it began, "" when that is not known


class ServiceListener(Protocol):
    """Takes note of calls, and knows the hub of each lane."""

    hubs: dict[str, str]

    def tags_of(self, request: Request) -> tuple[str, ...]: ...
    def lane_of(self, tag: str) -> str: ...
    def kind_of(self, tag: str) -> str: ...
    def count(self, what: str) -> None: ...
    def began(self, call: Call, request: Request) -> None: ...
    def arrived(self, call: Call) -> None: ...
    def ended(self, call: Call) -> None: ...


class ServiceModel:
    """The service. `doomed` are the ids it always refuses."""

    def __init__(self, loop: SimulatedLoop, random: Random, observer: ServiceListener, doomed: dict[str, str]) -> None:
        self.loop = loop
        self.conditions = ServiceConditions()
        self.observer = observer
        self._random = random
        self._doomed = doomed
        self._count = 0
        self._taken: Counter[tuple[str, int]] = Counter()

    def begin(self, request: Request, let_go: float | None = None) -> Call:
        """Register a request that leaves a worker now, and was let go then or now."""
        tags = self.observer.tags_of(request)
        lane, kind = (self.observer.lane_of(tags[0]), self.observer.kind_of(tags[0])) if tags else ("", "")
        self._count += 1
        fate = self._within_quota(self._fate(tags, lane), kind)
        if fate == "404" and (request.head.method == "DELETE" or ":closeConnections" in request.head.target):
            fate = "400"  # to leaving and closing a bare 404 is no refusal: it may mean that what is named is gone
        now = self.loop.time()
        let_go = now if let_go is None else let_go
        call = Call(self._count, HOST.get(), tags, kind, lane, now, let_go, fate, self.loop.create_future())
        self.observer.began(call, request)
        if call.fate not in ("not sent", "lost before"):
            late = self._random.random() * 3 if call.fate == "hang" else 0.0
            self.loop.outside(self.delay() + late, self._arrive, call)
        return call

    def delay(self) -> float:
        """Draw the seconds of one trip."""
        return self.conditions.latency * (0.3 + self._random.random() ** 3 * 3)

    def to_connect(self) -> float:
        """Draw the seconds until a connection is open: mostly few, rarely as long as a lease lives."""
        return self._random.random() ** 4 * self.conditions.connect

    def _fate(self, tags: Sequence[str], lane: str) -> str:
        if len(tags) > 1 and self.conditions.joined:
            return self.conditions.joined
        for tag in tags:
            if tag in self._doomed:
                return self._doomed[tag]
        for what, chance, only in self.conditions.troubles:
            if only in (None, lane, self.observer.hubs.get(lane)) and self._random.random() < chance:
                return what
        if self.conditions.noise and self._random.random() < self.conditions.noise:
            return self._random.choice(TROUBLE)
        return "ok"

    def _within_quota(self, fate: str, kind: str) -> str:
        quota = self.conditions.quotas.get(kind)
        if fate != "ok" or quota is None:
            return fate
        second = int(self.loop.time() + _SHIFT)
        self._taken[kind, second] += 1
        if self._taken[kind, second] <= quota:
            return fate
        self.observer.count(f"calls over a quota ({kind})")
        return self.conditions.over_quota

    def _arrive(self, call: Call) -> None:
        if call.host.dead and self._random.random() < 0.5:
            return  # it was still in the buffers of the killed process
        if call.fate in DELIVERING:
            call.arrived = call.reached = self.loop.time()
            self.observer.arrived(call)
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
            case ["html"]:
                return Response(200, Headers(b"Content-Type: text/html\r\n"), b"<html>", reused=False)
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


OnDone = Callable[[Response | NotSentError | MaybeSentError], None]


class ModelPool:
    """The part of a connection pool that the product's client uses; one for each worker."""

    def __init__(self, service: ServiceModel, clock: Clock, *, request_timeout: float) -> None:
        self._service = service
        self._clock = clock
        self._request_timeout = request_timeout
        self._rests = False
        self._calling: set[asyncio.Task[None]] = set()

    async def send(self, request: Request, may_write: MayWrite | None = None) -> Response:
        """Send a request as http1.pool.Pool.send does, with its errors; it may take long to connect."""
        let_go = self._service.loop.time()
        if self._service.conditions.connect:
            await self._clock.sleep(self._service.to_connect())
        if may_write is not None and not may_write():
            self._service.observer.count("calls withheld after the wait for a connection")
            raise WithheldError("withheld")
        return await self._carried(self._service.begin(request, let_go))

    @property
    def may_start(self) -> bool:
        """Whether `start` may succeed; the real pool may be wrong about it too."""
        return True

    def start(self, request: Request, before_write: Callable[[], None], on_done: OnDone) -> bool:
        """Send a request as http1.pool.Pool.start does; every other time no connection is idle."""
        self._rests = not self._rests
        if self._rests:
            before_write()
            task = self._service.loop.create_task(self._call_back(self._service.begin(request), on_done))
            self._calling.add(task)
            task.add_done_callback(self._calling.discard)
        return self._rests

    async def _call_back(self, call: Call, on_done: OnDone) -> None:
        answer: Response | NotSentError | MaybeSentError
        try:
            answer = await self._carried(call)
        except (NotSentError, MaybeSentError) as error:
            answer = error
        on_done(answer)

    async def _carried(self, call: Call) -> Response:
        try:
            response = await self._exchange(call)
            call.seen = call.fate
            call.pause = _asked(response, self._clock.wall())
        except BaseException as error:
            call.seen = type(error).__name__
            raise
        finally:
            call.ended = self._service.loop.time()
            self._service.observer.ended(call)
        return response

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _exchange(self, call: Call) -> Response:
        if call.fate in ("not sent", "lost before", "lost after"):
            await self._clock.sleep(self._service.delay() * (4 if call.fate == "lost after" else 1))
            if call.fate == "not sent":
                raise NotSentError("connection refused")
            raise StaleConnectionError("the connection ended", reused=call.number % 2 == 0)
        try:
            async with self._clock.timeout(self._request_timeout):
                return await call.reply
        except TimeoutError:
            raise ExchangeTimeoutError("no answer in time", reused=False) from None


def _asked(response: Response, wall: float) -> float | None:
    text = response.headers.get("retry-after")
    if text is None:
        return None
    return float(text) if text.isdigit() else max(0.0, parsedate_to_datetime(text).timestamp() - wall)
