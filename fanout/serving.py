"""An HTTP server inside somebody's task group: uvicorn, without its hold on signals and on the process.

Rules guarded: signals belong to whoever runs the process (uvicorn raises the captured signal again when it ends, which
would kill a drain); cancelling the task that runs `serve` closes everything; a port that cannot be had is a
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
    config: uvicorn.Config,
    listener: socket.socket,
    *,
    ready: Callable[[], None] = lambda: None,
    closing: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Serve on `listener` until cancelled; `ready` is called when connections are taken, `closing` before they end."""
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
    """Take a port (0: a free one); ConfigurationError names `option`, the way to choose another."""
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
            f"Port {port} on {host} cannot be had ({error.strerror}): stop what listens there, or choose another with "
            f"{option}."
        ) from None
    return listener


def port_of(listener: socket.socket) -> int:
    """Give the port that was taken."""
    return int(listener.getsockname()[1])
