"""The bodies of sends, read into messages that can be written to clients.

JSON bodies have `target` and `arguments`, named in any case; arguments that are null or missing count as none, and
their bytes are kept. An application/octet-stream body is a MessagePack map from protocol name to a complete message.
Other types are answered 415: the layout of application/x-msgpack is not published. Source: docs/sources.md, bodies.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from emulator.http import HttpError, bad_request
from emulator.protocols.hub import NAMES, EncodedMessage, Frame, HubMessage, Invocation, ProtocolViolationError
from emulator.protocols.hub_json import END
from emulator.protocols.hub_messagepack import length_prefix
from emulator.rest.request import RestRequest

_JSON = "application/json"
_ENCODED = "application/octet-stream"
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_anything = msgspec.json.Decoder(msgspec.Raw)
_frames = msgspec.msgpack.Decoder(dict[str, bytes])


def parse_message(request: RestRequest) -> HubMessage:
    """Return the message in the body of a `:send`."""
    media_type = _media_type(request.content_type)
    if media_type == _JSON:
        return parse_invocation(request.body, keep_arguments=request.config.keep_arguments)
    if media_type == _ENCODED and request.config.encoded_bodies:
        return _parse_encoded(request.body)
    raise _unsupported(request.content_type)


def require_json(content_type: str) -> None:
    """Raise a 415 for a body that is not JSON."""
    if _media_type(content_type) != _JSON:
        raise _unsupported(content_type)


def parse_invocation(body: bytes | memoryview, *, keep_arguments: bool = True) -> Invocation:
    """Return the invocation in `{"target":...,"arguments":[...]}`.

    Without `keep_arguments` they are decoded and encoded again, which changes how numbers and texts are written.
    """
    fields = parse_object(body)
    target = text_field(fields, "target")
    if not target:
        raise bad_request("'target' is required and must not be empty.", "target")
    arguments = _decoded(fields.get("arguments", b"null"))
    if arguments == "null":
        arguments = "[]"
    elif not arguments.startswith("["):
        raise bad_request("'arguments' must be an array.", "arguments")
    if not keep_arguments:
        arguments = msgspec.json.encode(msgspec.json.decode(arguments)).decode()
    return Invocation(_decoded(fields["target"]), arguments)


def parse_object(body: bytes | memoryview) -> dict[str, msgspec.Raw]:
    """Return the raw values of a JSON object by lower-case name. Of duplicate names the last one counts."""
    try:
        return {name.lower(): value for name, value in _object.decode(body).items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"The body is not a JSON object: {error}") from None


def parse_array(body: bytes) -> list[msgspec.Raw]:
    """Return the raw items of a JSON array."""
    try:
        return _array.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"The body is not a JSON array: {error}") from None


def text_field(fields: Mapping[str, msgspec.Raw], name: str) -> str:
    """Return a string property, "" when it is absent or null."""
    raw = fields.get(name, b"null")
    if bytes(raw) == b"null":
        return ""
    try:
        return _text.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise bad_request(f"'{name}' must be a string.", name) from None


def json_text(body: bytes) -> str:
    """Return the text of a body that is one JSON value."""
    try:
        return _decoded(_anything.decode(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_request(f"The body is not JSON: {error}") from None


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _unsupported(content_type: str) -> HttpError:
    return HttpError(415, "UnsupportedMediaType", f"The content type '{content_type}' is not supported.")


def _decoded(raw: Any) -> str:
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise bad_request("The body is not UTF-8.") from None


def _parse_encoded(body: bytes) -> EncodedMessage:
    try:
        given = _frames.decode(body)
        frames: dict[str, Frame] = {name: _checked_frame(name, data) for name, data in given.items()}
    except (msgspec.DecodeError, ProtocolViolationError, UnicodeDecodeError) as error:
        raise bad_request(f"The body is not a MessagePack map of encoded hub messages: {error}") from None
    if not frames:
        raise bad_request("The body contains no message.")
    return EncodedMessage(frames)


def _checked_frame(name: str, data: bytes) -> Frame:
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
