"""What every hub protocol can say and read; the two protocols and the look-up by name.

Source: the SignalR hub protocol (contract 8.3 JSON, 8.4 MessagePack). A frame is `str` when it belongs into a text
frame of a WebSocket and `bytes` when into a binary one. Values that the server only passes on (arguments, stream items,
results) travel as JSON bytes, so a JSON client gets exactly the caller's bytes.
"""

from typing import Protocol

import msgspec

Frame = str | bytes

INVOCATION, STREAM_ITEM, COMPLETION, STREAM_INVOCATION, CANCEL, PING, CLOSE, ACK, SEQUENCE = range(1, 10)
NAMES = ("json", "messagepack")


class ProtocolViolationError(ValueError):
    """What the client sent is not of its hub protocol; the text is a short reason."""


class Incoming(msgspec.Struct, frozen=True):
    """A message of a client, as far as a server without hub methods cares.

    `result` is the JSON of a completion's value, None when it has none; `error` is a completion's or a close's error.
    """

    kind: int
    invocation_id: str = ""
    result: bytes | None = None
    error: str | None = None


class HubProtocol(Protocol):
    """How one protocol writes and reads messages."""

    name: str
    ping: Frame

    def invocation(self, invocation_id: str, target: str, arguments: str) -> Frame:
        """Call a client method; `target` and `arguments` are JSON text, `invocation_id` "" when no answer is due."""

    def stream_item(self, invocation_id: str, item: str) -> Frame:
        """Pass on one item (JSON text) of a stream."""

    def completion(self, invocation_id: str, error: str | None) -> Frame:
        """End a stream."""

    def close(self, error: str | None, *, allow_reconnect: bool) -> Frame:
        """Say good-bye."""

    def read(self, data: bytes) -> tuple[list[Incoming], bytes]:
        """Cut whole messages off `data`; give them and what is left. Raises ProtocolViolationError."""
