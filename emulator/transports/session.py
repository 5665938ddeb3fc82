"""One client's conversation: the handshake, then what it sends, whatever carries it.

Source: contract 8.3-8.6. Pings and completions are welcome; an invocation in Serverless mode without an upstream ends
the connection. A client is in its hub from the moment the handshake answer is queued, so nothing can reach it before
that answer.
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
    HubProtocol,
    Incoming,
    ProtocolViolationError,
)
from emulator.protocols.hub_json import END, JsonHubProtocol
from emulator.protocols.hub_msgpack import MessagePackHubProtocol

_PROTOCOLS: dict[str, HubProtocol] = {"json": JsonHubProtocol(), "messagepack": MessagePackHubProtocol()}
_VERSIONS = (1, 2)
_LONGEST_HANDSHAKE = 4096
_LONGEST_MESSAGE = 16 * 1024 * 1024
TEXT_ONLY = "serverSentEvents"


class _Handshake(msgspec.Struct):
    protocol: str
    version: int


_decoder = msgspec.json.Decoder(_Handshake)


class Session:
    """A client, its hub, and the bytes of it that are not a whole message yet. `token` is the id of its requests."""

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
        """Take in bytes of the client; a violation ends the connection and is told to the client."""
        self.client.last_received = now
        self._buffer += data
        try:
            if self.client.protocol is None:
                self._shake_hands(now)
            protocol = self.client.protocol
            if protocol is not None and not self.client.outbox.closed:
                self._read(protocol)
        except ProtocolViolationError as error:
            self.refuse(str(error))

    def refuse(self, reason: str) -> None:
        """End the connection and say why; the client did something it may not do."""
        protocol = self.client.protocol
        self.hub.disconnect(self.client)
        if protocol is None:
            self.client.outbox.put(msgspec.json.encode({"error": reason}).decode() + END)
        else:
            self.client.outbox.put(protocol.close(reason, allow_reconnect=False))
        self.client.hang_up()

    def check(self, config: EmulatorConfig, now: float, wall: float) -> None:
        """Do what time asks for: end what is overdue, ping what is idle."""
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
            client.end("The authentication expired.", allow_reconnect=True)
        elif config.silence_limit and now - client.last_received >= config.silence_limit:
            self.hub.disconnect(client)
            client.hang_up()
        elif now - client.last_sent >= config.ping_after:
            client.write(client.protocol.ping, now)

    def _shake_hands(self, now: float) -> None:
        request, end, rest = self._buffer.partition(END.encode())
        if not end:
            if len(self._buffer) > _LONGEST_HANDSHAKE:
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
        if protocol.name != "json" and self.client.transport == TEXT_ONLY:
            raise ProtocolViolationError(f"The protocol '{protocol.name}' needs a transport for binary data.")
        return protocol

    def _read(self, protocol: HubProtocol) -> None:
        messages, self._buffer = protocol.read(self._buffer)
        for message in messages:
            self._take(message)
        if len(self._buffer) > _LONGEST_MESSAGE:
            raise ProtocolViolationError("The message does not end.")

    def _take(self, message: Incoming) -> None:
        if message.kind in {INVOCATION, STREAM_INVOCATION}:
            raise ProtocolViolationError("No upstream is configured: clients cannot invoke hub methods.")
        if message.kind == CLOSE:
            self.hub.disconnect(self.client)
            self.client.hang_up()
        elif message.kind == COMPLETION:
            future = self.client.awaited.pop(message.invocation_id, None)
            if future is not None and not future.done():
                future.set_result(message)
