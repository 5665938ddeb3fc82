"""One client's session over any transport: the handshake, then the messages that the client sends.

Pings and completions are accepted. In Serverless mode without an upstream, an invocation ends the connection. A client
enters its hub when the handshake response has been queued, so nothing is written before that response.
Source: docs/sources.md, emulator.
"""

import msgspec

from emulator.client import Client
from emulator.config import EmulatorConfig
from emulator.hubs import Hub
from emulator.protocols.hub import (
    CLOSE,
    COMPLETION,
    INVOCATION,
    STREAM_INVOCATION,
    ClientMessage,
    HubProtocol,
    ProtocolViolationError,
)
from emulator.protocols.hub_json import END, JsonHubProtocol
from emulator.protocols.hub_messagepack import MessagePackHubProtocol

_PROTOCOLS: dict[str, HubProtocol] = {"json": JsonHubProtocol(), "messagepack": MessagePackHubProtocol()}
_VERSIONS = (1, 2)
_MAX_HANDSHAKE = 4096
_MAX_MESSAGE = 16 * 1024 * 1024
SERVER_SENT_EVENTS = "serverSentEvents"


class _Handshake(msgspec.Struct):
    protocol: str
    version: int


_decoder = msgspec.json.Decoder(_Handshake)


class Session:
    """A client, its hub, and the bytes received that are not a complete message yet.

    `token` identifies its requests. `attached` is false while no request of a long-polling client waits.
    """

    def __init__(self, token: str, client: Client, hub: Hub) -> None:
        self.token = token
        self.client = client
        self.hub = hub
        self.attached = True
        self.poll = 0
        self._buffer = b""

    def __repr__(self) -> str:
        return f"<Session of {self.client!r}>"

    def feed(self, data: bytes, now: float) -> None:
        """Process bytes from the client. A protocol violation ends the connection with an error message."""
        self.client.last_received = now
        self._buffer += data
        try:
            if self.client.protocol is None:
                self._handshake(now)
            protocol = self.client.protocol
            if protocol is not None and not self.client.outbox.closed:
                self._read(protocol)
        except ProtocolViolationError as error:
            self.refuse(str(error))

    def refuse(self, reason: str) -> None:
        """End the connection and send the reason, because the client violated the protocol."""
        protocol = self.client.protocol
        self.hub.disconnect(self.client)
        if protocol is None:
            self.client.outbox.put(msgspec.json.encode({"error": reason}).decode() + END)
        else:
            self.client.outbox.put(protocol.close(reason, allow_reconnect=False))
        self.client.drop()

    def check(self, config: EmulatorConfig, now: float, wall: float) -> None:
        """Apply the time limits: end the connection when one has passed, send a ping when it is idle."""
        client = self.client
        if client.outbox.closed:
            return
        handshake = client.identity.handshake_timeout or config.handshake_timeout
        closes_at = client.identity.closes_at
        if client.protocol is None:
            if now - client.opened_at >= handshake:
                self.refuse("Handshake was canceled.")
        elif closes_at is not None and wall >= closes_at:
            self.hub.disconnect(client)
            client.close("The authentication expired.", allow_reconnect=True)
        elif config.silence_limit and now - client.last_received >= config.silence_limit:
            self.hub.disconnect(client)
            client.drop()
        elif now - client.last_sent >= config.ping_after:
            client.write(client.protocol.ping, now)

    def _handshake(self, now: float) -> None:
        request, end, rest = self._buffer.partition(END.encode())
        if not end:
            if len(self._buffer) > _MAX_HANDSHAKE:
                raise ProtocolViolationError("The handshake request does not end.")
            return
        self._buffer = rest
        protocol = self._protocol(request)
        answer = "{}" + END
        self.client.protocol = protocol
        self.client.write(answer if protocol.name == "json" else answer.encode(), now)
        self.hub.connect(self.client)

    def _protocol(self, request: bytes) -> HubProtocol:
        try:
            handshake = _decoder.decode(request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProtocolViolationError("The handshake request is not JSON with protocol and version.") from None
        protocol = _PROTOCOLS.get(handshake.protocol)
        if protocol is None:
            raise ProtocolViolationError(f"The protocol '{handshake.protocol}' is not supported.")
        if handshake.version not in _VERSIONS:
            raise ProtocolViolationError(f"Version {handshake.version} of the protocol is not supported.")
        if protocol.name != "json" and self.client.transport == SERVER_SENT_EVENTS:
            raise ProtocolViolationError(f"The protocol '{protocol.name}' needs a transport for binary data.")
        return protocol

    def _read(self, protocol: HubProtocol) -> None:
        messages, self._buffer = protocol.read(self._buffer)
        for message in messages:
            self._take(message)
        if len(self._buffer) > _MAX_MESSAGE:
            raise ProtocolViolationError("The message does not end.")

    def _take(self, message: ClientMessage) -> None:
        if message.kind in {INVOCATION, STREAM_INVOCATION}:
            raise ProtocolViolationError("No upstream is configured: clients cannot invoke hub methods.")
        if message.kind == CLOSE:
            self.hub.disconnect(self.client)
            self.client.drop()
        elif message.kind == COMPLETION:
            future = self.client.pending_results.pop(message.invocation_id, None)
            if future is not None and not future.done():
                future.set_result(message)
