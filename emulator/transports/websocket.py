"""The WebSocket transport of `/client`.

Source: contract 8.2. One task reads, one writes; both end together. What the client is refused with (401, 404, 409,
400, 429) is answered to the upgrade request, as HTTP.
"""

import asyncio

from emulator.exchange import Call, Receive, Scope, Send, respond
from emulator.refusal import V1, RefusedError, reply_of
from emulator.transports.session import Session
from emulator.transports.sessions import WEB_SOCKETS, Sessions
from fanout.clock import Clock

_NORMAL = 1000


class WebSocketDoor:
    """Takes upgrade requests."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    async def handle(self, call: Call, receive: Receive, send: Send) -> None:
        """Serve one WebSocket until either side ends it."""
        await receive()
        try:
            session = self._open(call)
        except RefusedError as refusal:
            await _refuse(send, refusal)
            return
        try:
            await send({"type": "websocket.accept"})
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_write(session, send))
                await self._read(session, receive)
        finally:
            self._sessions.close(session)

    def _open(self, call: Call) -> Session:
        if call.raw_path.rstrip("/") != "/client":
            raise RefusedError(404, "NotFound", "WebSockets are served at /client/.")
        return self._sessions.open(call, WEB_SOCKETS, in_query=True)

    async def _read(self, session: Session, receive: Receive) -> None:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                session.hub.disconnect(session.client)
                session.client.hang_up()
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
        session.client.hang_up()  # the peer is gone; the reader hears of it too


async def _refuse(send: Send, refusal: RefusedError) -> None:
    async def send_as_websocket(event: Scope) -> None:
        await send({**event, "type": f"websocket.{event['type']}"})

    await respond(send_as_websocket, reply_of(refusal, V1))
