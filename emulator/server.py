"""Serves an emulator on a port, inside the caller's task group.

Rule guarded: cancelling the task that runs `serve` ends clients, sockets and the sweeper, in that order; a taken port
is a ConfigurationError that says what to do, not an exit.
"""

import asyncio
from collections.abc import Callable

import uvicorn

from emulator.app import Emulator
from emulator.config import WELL_KNOWN_PORT
from emulator.transports.http import HttpProtocol, WebSocketProtocol
from fanout.clock import Clock
from fanout.serving import listen, port_of
from fanout.serving import serve as serve_http

_SWEEP_EVERY = 1.0
_GRACE = 1
_KEEP_ALIVE = 75
_GOODBYE = 0.5  # seconds clients are given to read why the connection ends
_LOOK = 0.01


async def serve(
    emulator: Emulator,
    *,
    host: str = "127.0.0.1",
    port: int = WELL_KNOWN_PORT,
    ready: Callable[[int], None] = lambda _port: None,
    option: str = "--port",
) -> None:
    """Serve until cancelled; `ready` is called with the real port once connections are taken.

    Raises ConfigurationError when the port cannot be had; it names `option` as the way to choose another.
    """
    listener = listen(host, port, option=option)
    real_port = port_of(listener)
    async with asyncio.TaskGroup() as tasks:
        sweeper = tasks.create_task(_sweep(emulator, emulator.clock))
        try:
            await serve_http(
                _settings(emulator), listener, ready=lambda: ready(real_port), closing=lambda: _say_goodbye(emulator)
            )
        finally:
            sweeper.cancel()


async def _sweep(emulator: Emulator, clock: Clock) -> None:
    while True:
        await clock.sleep(_SWEEP_EVERY)
        emulator.sessions.sweep()


async def _say_goodbye(emulator: Emulator) -> None:
    emulator.sessions.close_all()
    give_up = emulator.clock.monotonic() + _GOODBYE
    while emulator.sessions.all() and emulator.clock.monotonic() < give_up:
        await emulator.clock.sleep(_LOOK)


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
        timeout_graceful_shutdown=_GRACE,
    )
