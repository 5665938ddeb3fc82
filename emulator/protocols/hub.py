"""The messages between server and client, and what each hub protocol must be able to write and read.

A frame is `str` where it belongs into a text frame of a WebSocket and `bytes` where it belongs into a binary one.
Values that the server only passes on (arguments, stream items, results) stay JSON text, so that a client of the JSON
protocol gets the caller's bytes unchanged. Source: docs/sources.md, emulator and bodies.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

Frame = str | bytes

INVOCATION, STREAM_ITEM, COMPLETION, STREAM_INVOCATION, CANCEL, PING, CLOSE, ACK, SEQUENCE = range(1, 10)
NAMES = ("json", "messagepack")


class ProtocolViolationError(ValueError):
    """The client sent something that is not of its hub protocol. The text is a short reason."""


class UnencodableError(ValueError):
    """A value cannot be written in the hub protocol of a client that should receive it."""


class ClientMessage(msgspec.Struct, frozen=True):
    """A message from a client, reduced to what a server without hub methods needs.

    `result` is the JSON of a completion's value, None when it has none. `error` belongs to a completion or a close.
    """

    kind: int
    invocation_id: str = ""
    result: bytes | None = None
    error: str | None = None


class HubProtocol(Protocol):
    """One hub protocol: how messages are written and read."""

    name: str
    ping: Frame

    def invocation(self, invocation_id: str, target: str, arguments: str) -> Frame:
        """Return a call of a client method.

        `target` and `arguments` are JSON text. `invocation_id` is "" when no result is expected.
        """

    def stream_item(self, invocation_id: str, item: str) -> Frame:
        """Return one item (JSON text) of a stream."""

    def completion(self, invocation_id: str, error: str | None) -> Frame:
        """Return the end of a stream."""

    def close(self, error: str | None, *, allow_reconnect: bool) -> Frame:
        """Return the message that announces the end of the connection."""

    def read(self, data: bytes) -> tuple[list[ClientMessage], bytes]:
        """Return the complete messages in `data` and the bytes that are left, or raise ProtocolViolationError."""


class HubMessage(Protocol):
    """A message to any number of clients."""

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Return the frame for clients of `protocol`, None when they get nothing, or raise UnencodableError."""


class Invocation:
    """A call of a client method, given as JSON text. Each protocol's frame is made once, when it is first needed."""

    def __init__(self, target: str, arguments: str, invocation_id: str = "") -> None:
        self._target = target
        self._arguments = arguments
        self._invocation_id = invocation_id
        self._frames: dict[str, Frame] = {}

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Return the invocation in `protocol`."""
        frame = self._frames.get(protocol.name)
        if frame is None:
            frame = protocol.invocation(self._invocation_id, self._target, self._arguments)
            self._frames[protocol.name] = frame
        return frame

    def expecting_result(self, invocation_id: str) -> "Invocation":
        """Return the same call with an id, so that the client must answer it."""
        return Invocation(self._target, self._arguments, invocation_id)


class EncodedMessage:
    """Frames that the caller made, by protocol name. A client whose protocol is missing gets nothing."""

    def __init__(self, frames: Mapping[str, Frame]) -> None:
        self._frames = frames

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Return the caller's frame for `protocol`."""
        return self._frames.get(protocol.name)


class StreamItem:
    """One item of a stream, as JSON text."""

    def __init__(self, stream_id: str, item: str) -> None:
        self._stream_id = stream_id
        self._item = item

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Return the item in `protocol`."""
        return protocol.stream_item(self._stream_id, self._item)


class StreamCompletion:
    """The end of a stream, with or without an error."""

    def __init__(self, stream_id: str, error: str | None = None) -> None:
        self._stream_id = stream_id
        self._error = error

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Return the completion in `protocol`."""
        return protocol.completion(self._stream_id, self._error)
