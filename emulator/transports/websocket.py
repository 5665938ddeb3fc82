"""The WebSocket transport of `/client`.

One task reads and one writes, and both end together. A refusal (400, 401, 404, 409, 429) is an HTTP response to the
upgrade request. Source: docs/sources.md, emulator.
"""

import asyncio

from emulator.http import V1, HttpError, Receive, Request, Scope, Send, error_response, respond
from emulator.transports.session import Session
from emulator.transports.sessions import WEB_SOCKETS, Sessions
from fanout.clock import Clock

_NORMAL = 1000


class WebSocketTransport:
    """Serves clients that connect with a WebSocket."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    async def handle(self, request: Request, receive: Receive, send: Send) -> None:
        """Serve one WebSocket until either side ends it."""
        await receive()
        try:
            session = self._open(request)
        except HttpError as error:
            await _refuse(send, error)
            return
        try:
            await send({"type": "websocket.accept"})
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_write(session, send))
                await self._read(session, receive)
        finally:
            self._sessions.close(session)

    def _open(self, request: Request) -> Session:
        if request.raw_path.rstrip("/") != "/client":
            raise HttpError(404, "NotFound", "WebSockets are served at /client/.")
        return self._sessions.open(request, WEB_SOCKETS, in_query=True)

    async def _read(self, session: Session, receive: Receive) -> None:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                session.hub.disconnect(session.client)
                session.client.drop()
                return
            text = event.get("text")
            session.feed(event["bytes"] if text is None else text.encode(), self._clock.monotonic())


async def _write(session: Session, send: Send) -> None:
    outbox = session.client.outbox
    try:
        while True:
            await outbox.wait()
            for frame in outbox.take():
                kind = "text" if isinstance(frame, str) else "bytes"
                await send({"type": "websocket.send", kind: frame})
            if outbox.closed:
                await send({"type": "websocket.close", "code": _NORMAL})
                return
    except OSError:
        session.client.drop()  # the client has disconnected; the reader ends as well


async def _refuse(send: Send, error: HttpError) -> None:
    async def send_as_websocket(event: Scope) -> None:
        await send({**event, "type": f"websocket.{event['type']}"})

    await respond(send_as_websocket, error_response(error, V1))
