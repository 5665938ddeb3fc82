"""The long-polling transport of `/client`, and the POSTs and DELETEs that it shares with Server-Sent Events.

Source: contract 8.2 and the transport protocol: the first poll opens the connection and answers at once; a poll without
data answers 200 with nothing after a while; a newer poll ends the older one with 204, and so does the end of the
connection. What waits is only taken for a caller that is still there.
"""

import asyncio

from emulator.config import EmulatorConfig
from emulator.exchange import Call, Receive, Reply, read_body
from emulator.refusal import RefusedError
from emulator.transports.session import Session
from emulator.transports.sessions import LONG_POLLING, WEB_SOCKETS, Sessions
from fanout.clock import Clock

_NOTHING = Reply(200, b"", "text/plain")
_OVER = Reply(204)


class LongPolling:
    """Answers polls, sends and ends of connections without a WebSocket."""

    def __init__(self, config: EmulatorConfig, clock: Clock, sessions: Sessions) -> None:
        self._config = config
        self._clock = clock
        self._sessions = sessions

    async def poll(self, call: Call, receive: Receive) -> Reply:
        """Answer one GET."""
        session = self._sessions.find(call)
        if session is None:
            session = self._sessions.open(call, LONG_POLLING, in_query=False)
            session.attached = False
            return _NOTHING
        if session.client.transport != LONG_POLLING:
            raise RefusedError(409, "Conflict", "This connection uses another transport.")
        session.client.last_received = self._clock.monotonic()
        session.poll += 1
        session.client.outbox.wake()
        return await self._wait(session, session.poll, receive)

    async def post(self, call: Call, receive: Receive) -> Reply:
        """Take what a client sends."""
        session = self._existing(call)
        body = await read_body(receive, self._config.max_body, call.header(b"content-length"))
        session.feed(body, self._clock.monotonic())
        return Reply(200)

    def delete(self, call: Call) -> Reply:
        """End a connection as its client wishes."""
        self._sessions.close(self._existing(call))
        return Reply(202)

    def _existing(self, call: Call) -> Session:
        session = self._sessions.find(call)
        if session is None or session.client.transport == WEB_SOCKETS:
            raise RefusedError(404, "NotFound", "No connection with this id.")
        return session

    async def _wait(self, session: Session, number: int, receive: Receive) -> Reply:
        session.attached = True
        try:
            async with self._clock.timeout(self._config.poll_timeout), asyncio.TaskGroup() as tasks:
                watcher = tasks.create_task(_supersede_when_gone(session, number, receive))
                await _something(session, number)
                watcher.cancel()
        except TimeoutError:
            return _NOTHING
        finally:
            if session.poll == number:
                session.attached = False
        return self._take(session) if session.poll == number else _OVER

    def _take(self, session: Session) -> Reply:
        outbox = session.client.outbox
        frames = outbox.take()
        if frames:
            data = b"".join(frame.encode() if isinstance(frame, str) else frame for frame in frames)
            return Reply(200, data, "application/octet-stream")
        self._sessions.close(session)
        return _OVER


async def _something(session: Session, number: int) -> None:
    """Wait until frames wait, the connection is over or a newer poll has come."""
    outbox = session.client.outbox
    while session.poll == number and not outbox.closed and not outbox.waiting:
        outbox.rest()
        await outbox.wait()


async def _supersede_when_gone(session: Session, number: int, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if session.poll == number:
        session.poll += 1
        session.client.outbox.wake()
