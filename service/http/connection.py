"""How long, and how much, a connection may take to say what it wants: what uvicorn itself does not bound.

Rule guarded: nobody holds a place here by connecting and saying nothing, or by sending the head of a request byte by
byte, or without end. A head that comes whole, as nearly all do, costs no timer. (Bodies are bounded in `body`.)
"""

import asyncio
import http
import secrets
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.problems import PROBLEM_TYPES, Problem, response_of

MOST_HEAD = 64 * 1024  # bytes


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection, with an end to its patience; `within` is seconds for the head of a request."""

    within: ClassVar[float] = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._head_size = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn narrows it too
        """Wait for a first request as long as for a next one."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the timer when a head began here and did not end."""
        super().data_received(data)
        if not self._in_head:
            return
        self._head_size += len(data)
        if self._head_size > MOST_HEAD:
            self._refuse("headTooLarge")
        elif self._late is None:
            self._late = self.loop.call_later(self.within, self._is_late)

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._in_head = True
        self._head_size = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that it ended."""
        self._in_head = False
        self._stop()
        super().on_headers_complete()

    def _is_late(self) -> None:
        self._late = None
        if self.cycle is not None and not self.cycle.response_complete:  # an earlier request is still being answered
            self._late = self.loop.call_later(self.within, self._is_late)
        else:
            self._refuse("headTooSlow")

    def _refuse(self, code: str) -> None:
        self._stop()
        self._in_head = False
        if self.transport.is_closing():
            return
        kind = PROBLEM_TYPES[code]
        answer = response_of(
            Problem(code, kind.status, f"{kind.title}.", {"Connection": "close"}), secrets.token_hex(8)
        )
        lines = [f"HTTP/1.1 {kind.status} {http.HTTPStatus(kind.status).phrase}".encode()]
        lines += [b"%b: %b" % header for header in answer.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def bounded_connection(within: float) -> type[BoundedConnection]:
    """Give the connections of a server whose heads have `within` seconds."""
    return type("Patient", (BoundedConnection,), {"within": within})
