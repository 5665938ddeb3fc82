"""The HTTP half of `/client`: negotiate, event streams, polls, sends, ends.

Source: contract 8.2. Which transport a GET means is told by its Accept header.
"""

from emulator.exchange import BodyTooLongError, Call, CallerGoneError, Receive, Reply, Send, respond, text_reply
from emulator.refusal import V1, RefusedError, reply_of
from emulator.transports.long_polling import LongPolling
from emulator.transports.sessions import Sessions
from emulator.transports.sse import stream_events


class ClientSide:
    """Answers HTTP requests of clients."""

    def __init__(self, sessions: Sessions, polling: LongPolling) -> None:
        self._sessions = sessions
        self._polling = polling

    async def handle(self, call: Call, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            if self._is_event_stream(call):
                await stream_events(self._sessions, call, receive, send)
                return
            reply = await self._answer(call, receive)
        except RefusedError as refusal:
            reply = reply_of(refusal, V1)
        except BodyTooLongError:
            reply = text_reply("The body is too large.", 413)
        except CallerGoneError:
            return
        await respond(send, reply)

    async def _answer(self, call: Call, receive: Receive) -> Reply:
        path = call.raw_path.rstrip("/")
        if path == "/client/negotiate" and call.method == "POST":
            return self._sessions.negotiate(call)
        if path != "/client":
            raise RefusedError(404, "NotFound", "There is no such path.")
        if call.method == "GET":
            return await self._polling.poll(call, receive)
        if call.method == "POST":
            return await self._polling.post(call, receive)
        if call.method == "DELETE":
            return self._polling.delete(call)
        raise RefusedError(405, "MethodNotAllowed", "This path takes GET, POST and DELETE.")

    def _is_event_stream(self, call: Call) -> bool:
        wanted = "text/event-stream" in call.header(b"accept").lower()
        return wanted and call.method == "GET" and call.raw_path.rstrip("/") == "/client"
