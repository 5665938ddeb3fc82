"""The emulator as one ASGI application.

`/api` is the REST API, `/client` is where clients connect, `/emulator` is the control API. Tests that run in the same
process use `journal`, `faults`, `quota` and `hubs` directly.
"""

from emulator.config import EmulatorConfig
from emulator.control.api import ControlApi
from emulator.control.middleware import ControlMiddleware
from emulator.cors import is_preflight, preflight_response, with_cors
from emulator.credentials import Credentials
from emulator.http import HttpError, Receive, Request, Response, Scope, Send, error_response, request_of, respond
from emulator.hubs import Hubs
from emulator.rest.api import RestApi
from emulator.transports.http import HttpTransports
from emulator.transports.sessions import Sessions
from emulator.transports.websocket import WebSocketTransport
from fanout.clock import Clock, SystemClock


class Emulator:
    """An emulator without its socket. `app` is the ASGI application."""

    def __init__(
        self, config: EmulatorConfig, clock: Clock, hubs: Hubs, sessions: Sessions, rest: ControlMiddleware
    ) -> None:
        self.config = config
        self.clock = clock
        self.hubs = hubs
        self.sessions = sessions
        self.journal = rest.journal
        self.faults = rest.faults
        self.quota = rest.quota
        self._rest = rest
        self._websockets = WebSocketTransport(sessions, clock)
        self._clients = HttpTransports(config, clock, sessions)
        self._control = ControlApi(config, self.journal, self.faults, self.quota, hubs)

    def __repr__(self) -> str:
        return f"<Emulator {self.hubs!r} {self.journal!r}>"

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or WebSocket."""
        request = request_of(scope, decode_slashes=self.config.decode_slashes)
        if scope["type"] == "websocket":
            await self._websockets.handle(request, receive, send)
            return
        root = request.segments[0] if request.segments else ""  # `OPTIONS *` has no path
        if root == "emulator":  # the only root that browsers of other origins have no business with
            await respond(send, await self._control.answer(request, scope, receive))
            return
        send = with_cors(request, send, credentials=root == "client")
        if is_preflight(request):
            await respond(send, preflight_response(request))
        elif root == "api":
            await self._rest.handle(request, scope, receive, send)
        elif root == "client":
            await self._clients.handle(request, receive, send)
        else:
            await respond(send, _unknown_path(request))


def create_emulator(config: EmulatorConfig | None = None, clock: Clock | None = None) -> Emulator:
    """Return a new emulator. The defaults are the well-known key and the machine's clock."""
    config = config or EmulatorConfig()
    clock = clock or SystemClock()
    hubs = Hubs(clock)
    credentials = Credentials(config, clock)
    rest = ControlMiddleware(config, clock, RestApi(config, clock, credentials, hubs))
    return Emulator(config, clock, hubs, Sessions(config, clock, hubs, credentials), rest)


def _unknown_path(request: Request) -> Response:
    text = f"There is nothing at {request.raw_path}. The emulator serves /api, /client and /emulator."
    return error_response(HttpError(404, "NotFound", text), "")
