"""Serves an emulator on a port, inside the caller's task group.

Rules guarded: cancelling the task that runs `serve` ends clients, sockets and the sweeper, in that order. A port that
is in use is a ConfigurationError that says what to do, not an exit.
"""

import asyncio
from collections.abc import Callable

import uvicorn

from emulator.app import Emulator
from emulator.config import WELL_KNOWN_PORT
from emulator.tcp import HttpProtocol, WebSocketProtocol
from fanout.clock import Clock
from fanout.serving import listen, port_of
from fanout.serving import serve as serve_http

_SWEEP_SECONDS = 1.0
_SHUTDOWN_SECONDS = 1
_KEEP_ALIVE = 75
_CLOSE_SECONDS = 0.5  # in which clients can read the close message
_POLL_SECONDS = 0.01


async def serve(
    emulator: Emulator,
    *,
    host: str = "127.0.0.1",
    port: int = WELL_KNOWN_PORT,
    ready: Callable[[int], None] = lambda _port: None,
    option: str = "--port",
) -> None:
    """Serve until cancelled. `ready` is called with the actual port when connections are accepted.

    Raise ConfigurationError when the port cannot be opened; its text names `option` as the way to choose another.
    """
    listener = listen(host, port, option=option)
    real_port = port_of(listener)
    async with asyncio.TaskGroup() as tasks:
        sweeper = tasks.create_task(_sweep(emulator, emulator.clock))
        try:
            await serve_http(
                _settings(emulator), listener, ready=lambda: ready(real_port), closing=lambda: _close_clients(emulator)
            )
        finally:
            sweeper.cancel()


async def _sweep(emulator: Emulator, clock: Clock) -> None:
    while True:
        await clock.sleep(_SWEEP_SECONDS)
        emulator.sessions.sweep()


async def _close_clients(emulator: Emulator) -> None:
    emulator.sessions.close_all()
    deadline = emulator.clock.monotonic() + _CLOSE_SECONDS
    while emulator.sessions.all() and emulator.clock.monotonic() < deadline:
        await emulator.clock.sleep(_POLL_SECONDS)


def _settings(emulator: Emulator) -> uvicorn.Config:
    return uvicorn.Config(
        emulator.app,
        interface="asgi3",
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
