"""The HTTP server: accepts connections, bounds their number, and ends without failing a caller.

Rules guarded: at most `max_connections` are served at once. Past that, connections are accepted and wait in the lobby,
where they cost a socket each and nothing is read; when the lobby is full they wait in the backlog of the system. None
is ever reset. A probe is answered from the lobby, so that a crowded process is not taken for a dead one. While clients
wait, answers close their connections, and connections without a request give up their places. uvicorn cannot do this:
it reads on while answers wait, and past its bound it refuses.
"""

import asyncio
import contextlib
import resource
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from starlette.types import ASGIApp

from fanout.clock import Clock
from service.http.connection import READ_SIZE, Connection, Phase, Shared, Timeouts

_TICK: Final = 0.25  # seconds between two checks of the deadlines
_AT_ONCE: Final = 64  # connections accepted in one turn of the loop
_LOBBY_PER_PLACE: Final = 16
_SPARE_FILES: Final = 128  # for Redis, the service, logs, and files that are served
_PEEK: Final = 2048  # bytes that are looked at to recognise a probe
_JUST_CAME: Final = 0.2  # seconds in which a request may follow its connection
_PLENTY: Final = 1_000_000  # files
_GIVES_WAY_AFTER: Final = 1.0  # seconds without a request, while others wait


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of one listener; `grace` is how many seconds requests have to end when the server stops.

    `probes` are the paths that are answered even when every place is taken.
    """

    max_connections: int
    timeouts: Timeouts
    grace: float = 5.0
    probes: tuple[str, ...] = ()


class Lobby:
    """Connections that were accepted and have no place yet: those that said nothing, and those with a request."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.silent: dict[int, tuple[socket.socket, float]] = {}  # by file number, with the time they came
        self.ready: deque[socket.socket] = deque()

    def __len__(self) -> int:
        return len(self.silent) + len(self.ready)

    @property
    def full(self) -> bool:
        """Whether the next connection has to wait in the backlog of the system."""
        return len(self) >= self._room


class Server:
    """Serves one application on one listening socket."""

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        limits: ServerLimits,
        clock: Clock,
        refused: Callable[[str, str], None] = lambda _code, _peer: None,
    ) -> None:
        self._listener = listener
        self._limits = limits
        self._clock = clock
        self._places, room = _share_files(limits.max_connections)
        self._lobby = Lobby(room)
        self._taken = 0  # places: connections, and those about to be
        self._accepting = False
        self._ending = False
        self._ended = asyncio.Event()  # a connection ended
        buffer = memoryview(bytearray(READ_SIZE))
        self._shared = Shared(app, clock, limits.timeouts, refused, self._free_place, buffer)
        heads = [f"{method} {path}".encode() for method in ("GET", "HEAD") for path in limits.probes]
        self._probe_heads = tuple(head + end for head in heads for end in (b" ", b"?"))

    def __repr__(self) -> str:
        return f"<Server {self.connections} connections, {self.waiting} waiting>"

    @property
    def connections(self) -> int:
        """How many connections are served now."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many connections wait in the lobby."""
        return len(self._lobby)

    async def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled; then stop accepting, let requests end, and close every connection."""
        async with asyncio.TaskGroup() as group:
            self._shared.start = group.create_task
            group.create_task(self._keep_time())
            self._accept_on()
            ready()
            try:
                await asyncio.Event().wait()
            finally:
                await self._drain()

    def retire(self) -> None:
        """Let every answer close its connection from now on; new connections are still served."""
        self._shared.closes = True

    def close_idle(self, idle_for: float = 0.0) -> None:
        """Close the connections that have had no request for so many seconds."""
        before = self._clock.monotonic() - idle_for
        for connection in list(self._shared.connections):
            if connection.phase is Phase.IDLE and connection.since <= before:
                connection.close()
        for number, (waiting, since) in list(self._lobby.silent.items()):
            if since <= before:
                self._dismiss(number, waiting)

    # Accepting ------------------------------------------------------------------------------------------------------

    def _accept_on(self) -> None:
        if not self._accepting and not self._lobby.full:
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept_off(self) -> None:
        if self._accepting:
            self._accepting = False
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _accept(self, most: int = _AT_ONCE) -> bool:
        # Accept what has come, up to `most`, and return whether there may be more.
        for _ in range(most):
            if self._lobby.full:
                self._accept_off()
                return False
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return False
            except OSError:  # out of files or memory: the next tick tries again
                self._accept_off()
                return False
            accepted.setblocking(False)
            self._admit(accepted)
        return True

    def _admit(self, accepted: socket.socket) -> None:
        if self._taken < self._places and not self._lobby.ready:
            self._serve(accepted)
            return
        number = accepted.fileno()
        self._lobby.silent[number] = (accepted, self._clock.monotonic())
        asyncio.get_running_loop().add_reader(number, self._speaks, number)

    def _speaks(self, number: int) -> None:
        # A connection in the lobby sent something or left.
        asyncio.get_running_loop().remove_reader(number)
        accepted, _since = self._lobby.silent.pop(number)
        try:
            start = accepted.recv(_PEEK, socket.MSG_PEEK)
        except OSError:
            start = b""
        if not start:
            accepted.close()
        elif start.startswith(self._probe_heads) and b"\r\n\r\n" in start:
            self._serve(accepted)
        else:
            self._lobby.ready.append(accepted)
        self._fill_places()

    def _fill_places(self) -> None:
        ready = self._lobby.ready
        while ready and self._taken < self._places:
            self._serve(ready.popleft())
        self._shared.crowded = bool(ready)
        if not self._ending:
            self._accept_on()

    def _serve(self, accepted: socket.socket) -> None:
        self._taken += 1
        self._shared.start(self._connect(accepted))

    async def _connect(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Connection(self._shared), accepted)
        except OSError:
            accepted.close()
            self._free_place()

    def _free_place(self) -> None:
        self._taken -= 1
        self._ended.set()
        self._fill_places()

    def _dismiss(self, number: int, waiting: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(number)
        del self._lobby.silent[number]
        waiting.close()

    # Time -----------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            self._shared.date = f"date: {formatdate(self._clock.wall(), usegmt=True)}\r\n".encode()
            now = self._clock.monotonic()
            for connection in list(self._shared.connections):
                connection.check(now)
            for number, (waiting, since) in list(self._lobby.silent.items()):
                if now - since >= self._limits.timeouts.head:
                    self._dismiss(number, waiting)
            if self._lobby.ready:
                self._make_places(now)
            self._fill_places()  # also accepts again after files or memory ran out
            await self._clock.sleep(_TICK)

    def _make_places(self, now: float) -> None:
        # Close connections without a request, the longest idle first, for as many clients as wait with one.
        before = now - _GIVES_WAY_AFTER
        idle = [each for each in self._shared.connections if each.phase is Phase.IDLE and each.since <= before]
        idle.sort(key=lambda connection: connection.since)
        for connection in idle[: len(self._lobby.ready)]:
            connection.close()

    # The end --------------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        self._ending = True
        self.retire()
        self._accept_off()
        while self._accept():  # closing the listener would reset those that wait in its backlog
            pass
        self._accept_off()
        self._listener.close()
        try:
            async with self._clock.timeout(self._limits.grace):
                while self._taken or self._lobby:
                    self._ended.clear()
                    self.close_idle(_JUST_CAME)
                    with contextlib.suppress(TimeoutError):
                        async with self._clock.timeout(_JUST_CAME):
                            await self._ended.wait()
        except TimeoutError:
            pass
        finally:
            for number, (waiting, _since) in list(self._lobby.silent.items()):
                self._dismiss(number, waiting)
            while self._lobby.ready:
                self._lobby.ready.popleft().close()
            for connection in list(self._shared.connections):
                connection.abort()


def _share_files(wanted: int) -> tuple[int, int]:
    # How many connections may be served and how many may wait, within the files this process may open.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    files = max(_SPARE_FILES, soft - _SPARE_FILES) if soft != resource.RLIM_INFINITY else _PLENTY
    places = min(wanted, files * 3 // 4)
    return places, max(1, min(_LOBBY_PER_PLACE * wanted, files - places))
