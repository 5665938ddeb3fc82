"""Serves an emulator on a port, inside the caller's task group.

Rules guarded: signals belong to whoever runs the process, so none are captured here; cancelling the task that runs
`serve` ends clients, sockets and the sweeper; a taken port is a ConfigurationError that says what to do, not an exit.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from emulator.app import Emulator
from emulator.config import WELL_KNOWN_PORT
from emulator.wire import HttpProtocol, WebSocketProtocol
from fanout.clock import Clock
from fanout.errors import ConfigurationError

_SWEEP_EVERY = 1.0
_GRACE = 1
_KEEP_ALIVE = 75


class _Server(uvicorn.Server):
    """A uvicorn that tells when it listens and leaves signals alone."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_started = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._tell_started()


async def serve(
    emulator: Emulator,
    *,
    host: str = "127.0.0.1",
    port: int = WELL_KNOWN_PORT,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve until cancelled; `ready` is called with the real port once connections are taken.

    Raises ConfigurationError when the port cannot be had.
    """
    listener = _listen(host, port)
    real_port: int = listener.getsockname()[1]
    server = _Server(_settings(emulator), lambda: ready(real_port) if ready is not None else None)
    with contextlib.closing(listener):
        async with asyncio.TaskGroup() as tasks:
            sweeper = tasks.create_task(_sweep(emulator, emulator.clock))
            try:
                await server.serve(sockets=[listener])
            except asyncio.CancelledError:
                emulator.sessions.close_all()
                await server.shutdown(sockets=[listener])
                raise
            finally:
                sweeper.cancel()


async def _sweep(emulator: Emulator, clock: Clock) -> None:
    while True:
        await clock.sleep(_SWEEP_EVERY)
        emulator.sessions.sweep()


def _settings(emulator: Emulator) -> uvicorn.Config:
    return uvicorn.Config(
        emulator.app,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"The emulator cannot listen on {host}: {error.strerror or error}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Port {port} on {host} cannot be had ({error.strerror}): "
            "stop what listens there, or start the emulator with another --port."
        ) from None
    return listener
