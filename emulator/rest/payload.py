"""Reads the bodies of sends into something that can be framed for clients.

Source: contract 2.4. JSON: `target` and `arguments` in any case, arguments null or missing count as none, their bytes
are kept. application/octet-stream: a MessagePack map from protocol name to a whole framed message. Other types 415:
the layout of application/x-msgpack is published nowhere.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from emulator.outgoing import Framed, Invocation, Outgoing
from emulator.protocols.hub import NAMES, Frame, ProtocolViolationError
from emulator.protocols.hub_json import END
from emulator.protocols.hub_msgpack import length_prefix
from emulator.refusal import RefusedError, invalid

JSON = "application/json"
_FRAMED = "application/octet-stream"
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_anything = msgspec.json.Decoder(msgspec.Raw)
_frames = msgspec.msgpack.Decoder(dict[str, bytes])


def message_of(content_type: str, body: bytes) -> Outgoing:
    """Read the body of a `:send`."""
    media = media_type(content_type)
    if media == JSON:
        return invocation_of(body)
    if media == _FRAMED:
        return _framed(body)
    raise unsupported(content_type)


def media_type(content_type: str) -> str:
    """Give a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def unsupported(content_type: str) -> RefusedError:
    """Make a 415."""
    return RefusedError(415, "UnsupportedMediaType", f"The content type '{content_type}' is not read here.")


def invocation_of(body: bytes | memoryview) -> Invocation:
    """Read one `{"target":...,"arguments":[...]}`."""
    fields = fields_of(body)
    target = text_field(fields, "target")
    if not target:
        raise invalid("'target' is required and must not be empty.", "target")
    arguments = text_of(fields.get("arguments", b"null"))
    if arguments == "null":
        arguments = "[]"
    elif not arguments.startswith("["):
        raise invalid("'arguments' must be an array.", "arguments")
    return Invocation(text_of(fields["target"]), arguments)


def fields_of(body: bytes | memoryview) -> dict[str, msgspec.Raw]:
    """Read a JSON object into the raw bytes of its properties, their names in lower case; the last of equals stands."""
    try:
        return {name.lower(): value for name, value in _fields.decode(body).items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"The body is not a JSON object: {error}") from None


def items_of(body: bytes) -> list[msgspec.Raw]:
    """Read a JSON array into the raw bytes of its items."""
    try:
        return _list.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"The body is not a JSON array: {error}") from None


def text_field(fields: Mapping[str, msgspec.Raw], name: str) -> str:
    """Give a string property, "" when it is absent or null."""
    raw = fields.get(name, b"null")
    if bytes(raw) == b"null":
        return ""
    try:
        return _text.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise invalid(f"'{name}' must be a string.", name) from None


def value_text(body: bytes) -> str:
    """Check that `body` is one JSON value and give its text."""
    try:
        return text_of(_anything.decode(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(f"The body is not JSON: {error}") from None


def text_of(raw: Any) -> str:
    """Give raw JSON as text; refuses bytes that are not UTF-8."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise invalid("The body is not UTF-8.") from None


def _framed(body: bytes) -> Framed:
    try:
        given = _frames.decode(body)
        frames: dict[str, Frame] = {name: _frame(name, data) for name, data in given.items()}
    except (msgspec.DecodeError, ProtocolViolationError, UnicodeDecodeError) as error:
        raise invalid(f"The body is not a MessagePack map of framed hub messages: {error}") from None
    if not frames:
        raise invalid("The body holds no message.")
    return Framed(frames)


def _frame(name: str, data: bytes) -> Frame:
    if name not in NAMES:
        return data
    if name == "json":
        text = data.decode()
        if not text.endswith(END):
            raise ProtocolViolationError("the json message does not end with 0x1E")
        return text
    prefix = length_prefix(data)
    if prefix is None or sum(prefix) != len(data):
        raise ProtocolViolationError("the length prefix of the messagepack message is wrong")
    return data
