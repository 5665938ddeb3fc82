"""An HTTP server inside the caller's task group: uvicorn, without its handling of signals.

Rules guarded: signals belong to the caller, because uvicorn raises a captured signal again when it ends, which would
kill a drain. Cancelling the task that runs `serve` closes everything. A port that is not available is a
ConfigurationError that says what to do.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn

from fanout.errors import ConfigurationError

_BACKLOG = 2048


class _Server(uvicorn.Server):
    """A uvicorn server that reports when it is listening and does not handle signals."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_started()


async def serve(
    config: uvicorn.Config,
    listener: socket.socket,
    *,
    ready: Callable[[], None] = lambda: None,
    closing: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Serve until cancelled. `ready` is called when connections are accepted, `closing` before they are closed."""
    server = _Server(config, ready)
    with contextlib.closing(listener):
        try:
            await server.serve(sockets=[listener])
        except asyncio.CancelledError:
            if closing is not None:
                await closing()
            await server.shutdown(sockets=[listener])
            raise


def listen(host: str, port: int, *, option: str) -> socket.socket:
    """Listen on a port, 0 for a free one. ConfigurationError names `option`, with which to choose another."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"Cannot listen on {host}: {error.strerror or error}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Port {port} on {host} is not available ({error.strerror}). Stop what listens there, or choose another "
            f"port with {option}."
        ) from None
    return listener


def port_of(listener: socket.socket) -> int:
    """Return the port of a listener."""
    return int(listener.getsockname()[1])
