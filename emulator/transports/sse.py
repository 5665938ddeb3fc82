"""The Server-Sent Events transport of `/client`: events down, POSTs up.

Source: contract 8.2 and the transport protocol. Each line of a message gets a `data: ` of its own; a line break inside
JSON is white space, so its conversion to a line feed changes no value.
"""

import asyncio

from emulator.exchange import Call, Receive, Send
from emulator.transports.session import TEXT_ONLY, Session
from emulator.transports.sessions import Sessions

_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-store")]


async def stream_events(sessions: Sessions, call: Call, receive: Receive, send: Send) -> None:
    """Serve one event stream until either side ends it; raises RefusedError before it starts."""
    session = sessions.open(call, TEXT_ONLY, in_query=True)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b":\r\n\r\n", "more_body": True})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_hang_up_when_gone(session, receive))
            await _write(session, send)
    finally:
        sessions.close(session)


async def _write(session: Session, send: Send) -> None:
    outbox = session.client.outbox
    while True:
        await outbox.wait()
        for frame in outbox.take():
            await send({"type": "http.response.body", "body": event_of(str(frame)), "more_body": True})
        if outbox.closed:
            await send({"type": "http.response.body", "body": b""})
            return


async def _hang_up_when_gone(session: Session, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    session.client.hang_up()


def event_of(message: str) -> bytes:
    """Frame one message as an event."""
    lines = message.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return ("".join(f"data: {line}\r\n" for line in lines) + "\r\n").encode()
