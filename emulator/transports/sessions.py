"""Negotiation, the connection ids it assigns, and the sessions that are open.

An id must be used within 5 seconds, or it is unknown (404). A second transport with the same id is a conflict (409),
more than one `hub` a 400, and a connection over the quota a 429 with the text of the service.
Source: docs/sources.md, emulator.
"""

import secrets

from emulator.client import Client
from emulator.config import EmulatorConfig
from emulator.credentials import Credentials, identity_of
from emulator.http import HttpError, Request, Response, bad_request, json_response
from emulator.hubs import Hubs
from emulator.rest.request import full_hub_name
from emulator.transports.session import Session
from fanout.clock import Clock

WEB_SOCKETS, LONG_POLLING = "webSockets", "longPolling"
_TRANSPORTS = [
    {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
    {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
    {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]},
]


class Sessions:
    """Negotiated ids (by token: connection id and deadline) and open sessions by token."""

    def __init__(self, config: EmulatorConfig, clock: Clock, hubs: Hubs, credentials: Credentials) -> None:
        self._config = config
        self._clock = clock
        self._hubs = hubs
        self._credentials = credentials
        self._negotiated: dict[str, tuple[str, float]] = {}
        self._open: dict[str, Session] = {}

    def __repr__(self) -> str:
        return f"<Sessions {len(self._open)} open, {len(self._negotiated)} negotiated>"

    def negotiate(self, request: Request) -> Response:
        """Assign a connection id. Version 1 adds a token for the requests, so that the id need not be secret."""
        _hub_of(request)
        self._credentials.check_client(request, in_query=False)
        self._check_quota()
        self._remove_expired()
        version = 1 if request.parameter("negotiateversion", "0") not in {"", "0"} else 0
        connection_id = secrets.token_urlsafe(16)
        token = secrets.token_urlsafe(16) if version else connection_id
        self._negotiated[token] = (connection_id, self._clock.monotonic() + self._config.negotiated_id_lifetime)
        answer: dict[str, object] = {"negotiateVersion": version, "connectionId": connection_id}
        if version:
            answer["connectionToken"] = token
        return json_response({**answer, "availableTransports": _TRANSPORTS})

    def open(self, request: Request, transport: str, *, in_query: bool) -> Session:
        """Open a session over `transport`. Only a WebSocket may come without a negotiated id."""
        hub = _hub_of(request)
        claims = self._credentials.check_client(request, in_query=in_query)
        self._check_quota()
        connection_id, token = self._claim(request.parameter("id"), transport)
        identity = identity_of(claims, hub)
        client = Client(
            connection_id,
            identity,
            transport,
            now=self._clock.monotonic(),
            unread=self._config.max_unread_frames,
        )
        session = self._open[token] = Session(token, client, self._hubs[hub])
        return session

    def find(self, request: Request) -> Session | None:
        """Return the open session of a request. An expired token ends the session and raises a 401."""
        _hub_of(request)
        token = request.parameter("id")
        if not token:
            raise bad_request("The query parameter 'id' is required.", "id")
        session = self._open.get(token)
        try:
            self._credentials.check_client(request, in_query=False)
        except HttpError:
            if session is not None:
                self.close(session)
            raise
        return session

    def all(self) -> list[Session]:
        """Return the open sessions."""
        return list(self._open.values())

    def close(self, session: Session) -> None:
        """End a session."""
        self._open.pop(session.token, None)
        session.hub.disconnect(session.client)
        session.client.drop()

    def sweep(self) -> None:
        """Apply the time limits to every session."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        for session in list(self._open.values()):
            session.check(self._config, now, wall)
            if session.client.outbox.closed and not session.attached:
                self.close(session)

    def close_all(self) -> None:
        """Close all connections with a message, because the emulator stops."""
        for session in list(self._open.values()):
            session.hub.disconnect(session.client)
            session.client.close(allow_reconnect=True)

    def _claim(self, token: str, transport: str) -> tuple[str, str]:
        if not token:
            if transport != WEB_SOCKETS:
                raise bad_request("The query parameter 'id' is required.", "id")
            connection_id = secrets.token_urlsafe(16)
            return connection_id, connection_id
        if token in self._open:
            raise HttpError(409, "Conflict", "This connection id is in use.")
        self._remove_expired()
        negotiated = self._negotiated.pop(token, None)
        if negotiated is None:
            raise HttpError(404, "NotFound", "There is no connection with this id. It must be used within 5 seconds.")
        return negotiated[0], token

    def _check_quota(self) -> None:
        if self._config.max_connections and len(self._open) >= self._config.max_connections:
            raise HttpError(429, "TooManyConnections", "Connection count reaches limit.")

    def _remove_expired(self) -> None:
        now = self._clock.monotonic()
        for token in [token for token, (_, deadline) in self._negotiated.items() if deadline <= now]:
            del self._negotiated[token]


def _hub_of(request: Request) -> str:
    hubs = request.parameters("hub")
    if len(hubs) != 1:
        raise bad_request("Exactly one query parameter 'hub' is required.", "hub")
    return full_hub_name(hubs[0], "")
