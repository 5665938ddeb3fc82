"""The transports of `/client` over plain HTTP: negotiate, Server-Sent Events and long polling.

The Accept header decides which transport a GET is for. With long polling the first poll opens the connection and is
answered at once; a poll without data is answered 200 without a body after a time; a newer poll ends the older one with
204, and so does the end of the connection. Frames are taken from the outbox only for a caller that is still connected.
Source: docs/sources.md, emulator.
"""

import asyncio

from emulator.config import EmulatorConfig
from emulator.http import (
    V1,
    BodyTooLargeError,
    ClientDisconnectedError,
    HttpError,
    Receive,
    Request,
    Response,
    Send,
    error_response,
    read_body,
    respond,
    text_response,
)
from emulator.transports.session import SERVER_SENT_EVENTS, Session
from emulator.transports.sessions import LONG_POLLING, WEB_SOCKETS, Sessions
from fanout.clock import Clock

_NO_DATA = Response(200, b"", "text/plain")
_ENDED = Response(204)
_EVENT_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-store")]


class HttpTransports:
    """Answers the HTTP requests of clients."""

    def __init__(self, config: EmulatorConfig, clock: Clock, sessions: Sessions) -> None:
        self._config = config
        self._clock = clock
        self._sessions = sessions

    async def handle(self, request: Request, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            if _is_event_stream(request):
                await self._stream(request, receive, send)
                return
            response = await self._answer(request, receive)
        except HttpError as error:
            response = error_response(error, V1)
        except BodyTooLargeError:
            response = text_response(f"The body is larger than {self._config.max_body} bytes.", 413)
        except ClientDisconnectedError:
            return
        await respond(send, response)

    async def _answer(self, request: Request, receive: Receive) -> Response:
        path = request.raw_path.rstrip("/")
        if path == "/client/negotiate" and request.method == "POST":
            return self._sessions.negotiate(request)
        if path != "/client":
            raise HttpError(404, "NotFound", "There is no such path.")
        if request.method == "GET":
            return await self._poll(request, receive)
        if request.method == "POST":
            return await self._receive(request, receive)
        if request.method == "DELETE":
            self._sessions.close(self._existing(request))
            return Response(202)
        raise HttpError(405, "MethodNotAllowed", "This path takes GET, POST and DELETE.")

    async def _receive(self, request: Request, receive: Receive) -> Response:
        """Take what a client without a WebSocket sends."""
        session = self._existing(request)
        body = await read_body(receive, self._config.max_body, request.header(b"content-length"))
        session.feed(body, self._clock.monotonic())
        return Response(200)

    def _existing(self, request: Request) -> Session:
        session = self._sessions.find(request)
        if session is None or session.client.transport == WEB_SOCKETS:
            raise HttpError(404, "NotFound", "There is no connection with this id.")
        return session

    async def _poll(self, request: Request, receive: Receive) -> Response:
        session = self._sessions.find(request)
        if session is None:
            session = self._sessions.open(request, LONG_POLLING, in_query=False)
            session.attached = False
            return _NO_DATA
        if session.client.transport != LONG_POLLING:
            raise HttpError(409, "Conflict", "This connection uses another transport.")
        session.client.last_received = self._clock.monotonic()
        session.poll += 1
        session.client.outbox.wake()
        return await self._wait(session, session.poll, receive)

    async def _wait(self, session: Session, poll: int, receive: Receive) -> Response:
        session.attached = True
        try:
            async with self._clock.timeout(self._config.poll_timeout), asyncio.TaskGroup() as tasks:
                watcher = tasks.create_task(_supersede_when_disconnected(session, poll, receive))
                await _frames_or_end(session, poll)
                watcher.cancel()
        except TimeoutError:
            return _NO_DATA
        finally:
            if session.poll == poll:
                session.attached = False
        return self._take(session) if session.poll == poll else _ENDED

    def _take(self, session: Session) -> Response:
        frames = session.client.outbox.take()
        if frames:
            data = b"".join(frame.encode() if isinstance(frame, str) else frame for frame in frames)
            return Response(200, data, "application/octet-stream")
        self._sessions.close(session)
        return _ENDED

    async def _stream(self, request: Request, receive: Receive, send: Send) -> None:
        """Serve one event stream until either side ends it, or raise HttpError before it begins."""
        session = self._sessions.open(request, SERVER_SENT_EVENTS, in_query=True)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _EVENT_HEADERS})
            await send({"type": "http.response.body", "body": b":\r\n\r\n", "more_body": True})
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_drop_when_disconnected(session, receive))
                await _write_events(session, send)
        finally:
            self._sessions.close(session)


def _is_event_stream(request: Request) -> bool:
    accepted = "text/event-stream" in request.header(b"accept").lower()
    return accepted and request.method == "GET" and request.raw_path.rstrip("/") == "/client"


async def _frames_or_end(session: Session, poll: int) -> None:
    """Return when frames wait, the connection has ended or a newer poll has arrived."""
    outbox = session.client.outbox
    while session.poll == poll and not outbox.closed and not len(outbox):
        await outbox.next_change()


async def _supersede_when_disconnected(session: Session, poll: int, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if session.poll == poll:
        session.poll += 1
        session.client.outbox.wake()


async def _write_events(session: Session, send: Send) -> None:
    outbox = session.client.outbox
    while True:
        await outbox.wait()
        for frame in outbox.take():
            await send({"type": "http.response.body", "body": event_of(str(frame)), "more_body": True})
        if outbox.closed:
            await send({"type": "http.response.body", "body": b""})
            return


async def _drop_when_disconnected(session: Session, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    session.client.drop()


def event_of(message: str) -> bytes:
    """Return one message as an event, each line with a `data: ` of its own.

    A line break inside JSON is white space, so writing it as a line feed changes no value.
    """
    lines = message.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return ("".join(f"data: {line}\r\n" for line in lines) + "\r\n").encode()
