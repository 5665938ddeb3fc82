"""The emulator as one thing: its parts put together, and the ASGI application in front of them.

Source: contract section 8. `/api` is the REST side behind journal and faults, `/client` is where clients connect,
`/emulator` is the control API. Tests reach `journal`, `faults`, `quota` and `hubs` in process.
"""

from emulator.config import EmulatorConfig
from emulator.control.journal import Journal
from emulator.control.routes import Control
from emulator.cors import is_preflight, preflight_reply, sharing
from emulator.credentials import Credentials
from emulator.exchange import Call, Receive, Reply, Scope, Send, call_of, respond
from emulator.gate import Gate
from emulator.hubs import Hubs
from emulator.refusal import RefusedError, reply_of
from emulator.rest.access import Access
from emulator.rest.invoke import Invoker
from emulator.rest.operations import current, legacy
from emulator.rest.side import RestRoutes, RestSide
from emulator.transports.client_side import ClientSide
from emulator.transports.long_polling import LongPolling
from emulator.transports.sessions import Sessions
from emulator.transports.websocket import WebSocketDoor
from fanout.clock import Clock, SystemClock


class Emulator:
    """A running service without its socket; `app` is the ASGI application."""

    def __init__(self, config: EmulatorConfig, clock: Clock, hubs: Hubs, sessions: Sessions, gate: Gate) -> None:
        self.config = config
        self.clock = clock
        self.hubs = hubs
        self.sessions = sessions
        self.gate = gate
        self.journal = gate.journal
        self.faults = gate.faults
        self.quota = gate.quota
        self._websockets = WebSocketDoor(sessions, clock)
        self._clients = ClientSide(sessions, LongPolling(config, clock, sessions))
        self._control = Control(self.journal, self.faults, self.quota, hubs)

    def __repr__(self) -> str:
        return f"<Emulator {self.hubs!r} {self.journal!r}>"

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or WebSocket."""
        call = call_of(scope)
        if scope["type"] == "websocket":
            await self._websockets.handle(call, receive, send)
            return
        send = sharing(call, send)
        root = call.segments[0] if call.segments else ""  # `OPTIONS *` has no path
        if is_preflight(call):
            await respond(send, preflight_reply(call))
        elif root == "api":
            await self.gate.handle(call, scope, receive, send)
        elif root == "client":
            await self._clients.handle(call, receive, send)
        elif root == "emulator":
            await respond(send, await self._control.answer(call, receive))
        else:
            await respond(send, _nothing_here(call))


def create_emulator(config: EmulatorConfig | None = None, clock: Clock | None = None) -> Emulator:
    """Put an emulator together; without arguments it has the well-known key and the machine's clock."""
    config = config or EmulatorConfig()
    clock = clock or SystemClock()
    hubs = Hubs(clock)
    credentials = Credentials(config, clock)
    access = Access(config, credentials, clock)
    routes = RestRoutes(
        current(access, Invoker(clock, config.invoke_timeout), execute=config.execute), legacy(), access
    )
    journal = Journal(clock, most_entries=config.journal_entries, most_bytes=config.journal_bytes)
    gate = Gate(config, clock, journal, RestSide(config, credentials, hubs, routes))
    return Emulator(config, clock, hubs, Sessions(config, clock, hubs, credentials), gate)


def _nothing_here(call: Call) -> Reply:
    text = f"Nothing is served at {call.raw_path}: /api, /client and /emulator are."
    return reply_of(RefusedError(404, "NotFound", text), "")
