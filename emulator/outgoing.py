"""What one REST call puts on the wires of clients, once per hub protocol that is needed.

Source: contract 2.4. A JSON body is converted for MessagePack clients; a body that was framed per protocol by the
caller is passed on as it is, and a client whose protocol is not in it gets nothing.
"""

from collections.abc import Mapping
from typing import Protocol

from emulator.protocols.hub import Frame, HubProtocol


class Outgoing(Protocol):
    """A message on its way to any number of clients."""

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Give the frame for clients of `protocol`; None when they get nothing."""


class Invocation:
    """A client method call given as JSON text; each protocol's frame is made when the first client needs it."""

    def __init__(self, target: str, arguments: str, invocation_id: str = "") -> None:
        self._target = target
        self._arguments = arguments
        self._invocation_id = invocation_id
        self._frames: dict[str, Frame] = {}

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Give the invocation in `protocol`."""
        made = self._frames.get(protocol.name)
        if made is None:
            made = protocol.invocation(self._invocation_id, self._target, self._arguments)
            self._frames[protocol.name] = made
        return made

    def expecting_result(self, invocation_id: str) -> "Invocation":
        """Give the same call with an id the client has to answer to."""
        return Invocation(self._target, self._arguments, invocation_id)


class Framed:
    """Frames the caller made, by protocol name."""

    def __init__(self, frames: Mapping[str, Frame]) -> None:
        self._frames = frames

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Give the caller's frame, if there is one for `protocol`."""
        return self._frames.get(protocol.name)


class StreamItem:
    """One item of a stream, as JSON text."""

    def __init__(self, stream_id: str, item: str) -> None:
        self._stream_id = stream_id
        self._item = item

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Give the item in `protocol`."""
        return protocol.stream_item(self._stream_id, self._item)


class StreamEnd:
    """The end of a stream, with an error or without."""

    def __init__(self, stream_id: str, error: str | None = None) -> None:
        self._stream_id = stream_id
        self._error = error

    def frame(self, protocol: HubProtocol) -> Frame | None:
        """Give the completion in `protocol`."""
        return protocol.completion(self._stream_id, self._error)
