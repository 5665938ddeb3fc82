"""The MessagePack hub protocol: binary messages, each with its length in front (7 bits per byte, low bits first).

JSON values are converted without interpretation: objects become maps with string keys, integers integers, all other
numbers float64, strings str. Nothing becomes bin or timestamp. An integer wider than 64 bits becomes float64, because
MessagePack has no such integer. Source: docs/sources.md, emulator and bodies.
"""

import json
from typing import Any

import msgspec

from emulator.protocols.hub import (
    CANCEL,
    CLOSE,
    COMPLETION,
    INVOCATION,
    PING,
    SEQUENCE,
    STREAM_ITEM,
    ClientMessage,
    Frame,
    ProtocolViolationError,
    UnencodableError,
)

_MAX_LENGTH_BYTES = 5
_SEVEN_BITS = 0x7F  # of a length in each byte
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_ERROR, _VALUE = 1, 3
_ID_AT, _KIND_AT, _VALUE_AT = 2, 3, 4
_TOO_DEEP = "The value is nested too deeply for MessagePack."
_encode = msgspec.msgpack.Encoder().encode


class MessagePackHubProtocol:
    """Write and read MessagePack messages."""

    name = "messagepack"
    ping: Frame = b"\x02\x91\x06"

    def invocation(self, invocation_id: str, target: str, arguments: str) -> Frame:
        """Return an invocation: an array of six elements with `target` and `arguments` (JSON text) converted."""
        return framed([INVOCATION, {}, invocation_id or None, value_of(target), value_of(arguments), []])

    def stream_item(self, invocation_id: str, item: str) -> Frame:
        """Return a stream item with `item` (JSON text) converted."""
        return framed([STREAM_ITEM, {}, invocation_id, value_of(item)])

    def completion(self, invocation_id: str, error: str | None) -> Frame:
        """Return the end of a stream. Result kind 1 is an error, 2 is no result."""
        return framed([COMPLETION, {}, invocation_id, *([2] if error is None else [_ERROR, error])])

    def close(self, error: str | None, *, allow_reconnect: bool) -> Frame:
        """Return a close message."""
        return framed([CLOSE, error, allow_reconnect])

    def read(self, data: bytes) -> tuple[list[ClientMessage], bytes]:
        """Return every message that is complete, and the rest."""
        messages: list[ClientMessage] = []
        while True:
            length = length_prefix(data)
            if length is None or len(data) < sum(length):
                return messages, data
            start, size = length
            messages.append(_incoming(data[start : start + size]))
            data = data[start + size :]


def framed(message: list[Any]) -> bytes:
    """Return a message encoded, with its length in front, or raise UnencodableError."""
    try:
        payload = _encode(message)
    except UnicodeEncodeError:
        raise UnencodableError("MessagePack has no form for half of a surrogate pair.") from None
    except RecursionError:
        raise UnencodableError(_TOO_DEEP) from None
    size = len(payload)
    prefix = bytearray()
    while size > _SEVEN_BITS:
        prefix.append(size & _SEVEN_BITS | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + payload


def length_prefix(data: bytes) -> tuple[int, int] | None:
    """Return how many bytes a length prefix takes and the length it states; None while it is incomplete."""
    size = 0
    for index in range(min(len(data), _MAX_LENGTH_BYTES)):
        size |= (data[index] & 0x7F) << (7 * index)
        if not data[index] & 0x80:
            return index + 1, size
    if len(data) >= _MAX_LENGTH_BYTES:
        raise ProtocolViolationError("a length prefix has at most 5 bytes")
    return None


def value_of(text: str) -> Any:
    """Return the value of JSON text, with numbers that MessagePack can represent, or raise UnencodableError."""
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise UnencodableError(_TOO_DEEP) from None


def _integer(digits: str) -> int | float:
    try:
        number = int(digits)
    except ValueError:  # more digits than the interpreter converts
        return float(digits)
    return number if _SMALLEST <= number <= _LARGEST else float(digits)


def _incoming(payload: bytes) -> ClientMessage:
    try:
        message = msgspec.msgpack.decode(payload)
        kind = message[0]
        if not isinstance(kind, int) or not INVOCATION <= kind <= SEQUENCE:
            raise ProtocolViolationError("unknown message type")
        if kind == COMPLETION:
            return _completion(message)
        if kind == CLOSE:
            return ClientMessage(CLOSE, error=message[1] if len(message) > 1 else None)
        has_id = kind not in {PING, CLOSE} and kind <= CANCEL
        return ClientMessage(kind, str(message[_ID_AT] or "") if has_id else "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError, TypeError, KeyError) as error:
        raise ProtocolViolationError(f"not a MessagePack hub message: {error}") from None


def _completion(message: list[Any]) -> ClientMessage:
    kind = message[_KIND_AT]
    if kind == _ERROR:
        return ClientMessage(COMPLETION, str(message[_ID_AT]), error=str(message[_VALUE_AT]))
    result = msgspec.json.encode(message[_VALUE_AT]) if kind == _VALUE else None
    return ClientMessage(COMPLETION, str(message[_ID_AT]), result)
