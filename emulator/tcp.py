"""The TCP connection under a request: numbered for the journal, and reset for the faults that need it.

uvicorn's protocols are extended here so that each request carries its connection, and so that nothing of a request is
logged: a browser's WebSocket has its token in the query. Rule guarded: a reset is a real one. Without SO_LINGER 0 the
kernel ends the connection with FIN, which a client reads as "closed by the server" and not as "connection reset".
"""

import asyncio
import itertools
import logging
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from emulator.http import Receive, Scope

_EXTENSION = "emulator.tcp"  # in the ASGI scope
_LINGER_0 = struct.pack("ii", 1, 0)
_logger = logging.getLogger("emulator.tcp")
_logger.setLevel(logging.ERROR)
_numbers = itertools.count(1)


class TcpConnection:
    """One accepted TCP connection. `number` counts from 1."""

    def __init__(self, transport: asyncio.Transport, number: int) -> None:
        self._transport = transport
        self.number = number

    def __repr__(self) -> str:
        return f"<TcpConnection {self.number}>"

    def reset(self) -> None:
        """End the connection with an RST."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self._transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with the TCP connection in each request's scope."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _logger
        self.access_log = False
        self._connection: TcpConnection | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the server wires a stream's transport alone, and so does the base class
        super().connection_made(transport)
        self._connection = TcpConnection(transport, next(_numbers))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: self._connection}  # type: ignore[dict-item]  # ASGI lets servers add extensions; the base names its own


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSockets whose URLs are not logged."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _logger


def tcp_connection_of(scope: Scope) -> TcpConnection | None:
    """Return the connection of a request; None when the application is called without this server."""
    found = (scope.get("extensions") or {}).get(_EXTENSION)
    return found if isinstance(found, TcpConnection) else None


async def reset_connection(connection: TcpConnection | None, receive: Receive) -> None:
    """Reset a request's connection and wait until the server has noticed. Without a connection, raise instead."""
    if connection is None:
        raise ConnectionResetError("the emulator resets this connection")
    connection.reset()
    while (await receive())["type"] != "http.disconnect":
        pass
