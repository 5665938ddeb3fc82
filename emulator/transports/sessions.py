"""Who may open a connection: negotiate, the ids it gives out, and the conversations that are going on.

Source: contract 8.2. An id must be used within 5 seconds or is unknown (404); a second transport on the same id is a
conflict (409); more than one `hub` is a 400; past the connection quota the answer is 429 with the service's own words.
"""

import secrets

from emulator.client import Client
from emulator.config import EmulatorConfig
from emulator.credentials import Credentials, identity_of
from emulator.exchange import Call, Reply, json_reply
from emulator.hubs import Hubs
from emulator.refusal import RefusedError, invalid
from emulator.rest.names import effective_hub
from emulator.transports.session import Session
from fanout.clock import Clock

WEB_SOCKETS, LONG_POLLING = "webSockets", "longPolling"
_TRANSPORTS = [
    {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
    {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
    {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]},
]


class Sessions:
    """Negotiated ids (token to connection id and deadline) and open sessions by token."""

    def __init__(self, config: EmulatorConfig, clock: Clock, hubs: Hubs, credentials: Credentials) -> None:
        self._config = config
        self._clock = clock
        self._hubs = hubs
        self._credentials = credentials
        self._negotiated: dict[str, tuple[str, float]] = {}
        self._open: dict[str, Session] = {}

    def __repr__(self) -> str:
        return f"<Sessions {len(self._open)} open, {len(self._negotiated)} negotiated>"

    def negotiate(self, call: Call) -> Reply:
        """Give out an id; version 1 keeps the id for requests apart from the one others may know."""
        _hub_of(call)
        self._credentials.check_client(call, in_query=False)
        self._check_quota()
        self._forget_overdue()
        version = 1 if call.parameter("negotiateversion", "0") not in {"", "0"} else 0
        connection_id = secrets.token_urlsafe(16)
        token = secrets.token_urlsafe(16) if version else connection_id
        self._negotiated[token] = (connection_id, self._clock.monotonic() + self._config.negotiated_id_lifetime)
        answer: dict[str, object] = {"negotiateVersion": version, "connectionId": connection_id}
        if version:
            answer["connectionToken"] = token
        return json_reply({**answer, "availableTransports": _TRANSPORTS})

    def open(self, call: Call, transport: str, *, in_query: bool) -> Session:
        """Start a conversation over `transport`; only a WebSocket may come without a negotiated id."""
        hub = _hub_of(call)
        claims = self._credentials.check_client(call, in_query=in_query)
        self._check_quota()
        connection_id, token = self._claim(call.parameter("id"), transport)
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

    def find(self, call: Call) -> Session | None:
        """Give the open session a request belongs to; an expired token ends it with a 401."""
        _hub_of(call)
        token = call.parameter("id")
        if not token:
            raise invalid("The query parameter 'id' is required.", "id")
        session = self._open.get(token)
        try:
            self._credentials.check_client(call, in_query=False)
        except RefusedError:
            if session is not None:
                self.close(session)
            raise
        return session

    def all(self) -> list[Session]:
        """List the open sessions."""
        return list(self._open.values())

    def close(self, session: Session) -> None:
        """End a conversation for good."""
        self._open.pop(session.token, None)
        session.hub.disconnect(session.client)
        session.client.hang_up()

    def sweep(self) -> None:
        """Do to every conversation what the passing of time asks for."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        for session in list(self._open.values()):
            session.check(self._config, now, wall)
            if session.client.outbox.closed and not session.attached:
                self.close(session)

    def close_all(self) -> None:
        """End all conversations: the service goes away."""
        for session in list(self._open.values()):
            session.hub.disconnect(session.client)
            session.client.end(allow_reconnect=True)

    def _claim(self, token: str, transport: str) -> tuple[str, str]:
        if not token:
            if transport != WEB_SOCKETS:
                raise invalid("The query parameter 'id' is required.", "id")
            connection_id = secrets.token_urlsafe(16)
            return connection_id, connection_id
        if token in self._open:
            raise RefusedError(409, "Conflict", "This connection id is in use.")
        self._forget_overdue()
        negotiated = self._negotiated.pop(token, None)
        if negotiated is None:
            raise RefusedError(404, "NotFound", "No connection with this id: it must be used within 5 seconds.")
        return negotiated[0], token

    def _check_quota(self) -> None:
        if self._config.max_connections and len(self._open) >= self._config.max_connections:
            raise RefusedError(429, "TooManyConnections", "Connection count reaches limit.")

    def _forget_overdue(self) -> None:
        now = self._clock.monotonic()
        for token in [token for token, (_, deadline) in self._negotiated.items() if deadline <= now]:
            del self._negotiated[token]


def _hub_of(call: Call) -> str:
    hubs = call.parameters("hub")
    if len(hubs) != 1:
        raise invalid("Exactly one query parameter 'hub' is required.", "hub")
    return effective_hub(hubs[0], "")
