"""The HTTP and WebSocket protocols of uvicorn, with what the emulator needs of the socket.

Rules guarded: each call carries its peer, so that a fault can cut the very connection it came over; nothing of a
request is logged, because a browser's WebSocket carries its token in the query.
"""

import asyncio
import itertools
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from emulator.transports.peer import KEY, Peer

_logger = logging.getLogger("emulator.transports.http")
_logger.setLevel(logging.ERROR)
_numbers = itertools.count(1)


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose scopes name the peer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _logger
        self.access_log = False
        self._peer: Peer | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        self._peer = Peer(transport, next(_numbers))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {KEY: self._peer}  # type: ignore[dict-item]  # the base types known extensions only


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSockets whose URLs stay out of the log."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _logger
