"""The JSON hub protocol: text in which every message ends with the byte 0x1E.

Rule guarded: arguments are inserted as the text that the caller sent. They are never decoded and encoded again, so
`1.10`, big integers, duplicate keys and escapes reach the client unchanged. Source: docs/sources.md, emulator.
"""

import msgspec

from emulator.protocols.hub import ClientMessage, Frame, ProtocolViolationError

END = "\x1e"
_END = END.encode()


class _Message(msgspec.Struct, rename={"kind": "type", "invocation_id": "invocationId"}):
    kind: int
    invocation_id: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: str | None = None


_decoder = msgspec.json.Decoder(_Message)


class JsonHubProtocol:
    """Write and read JSON messages."""

    name = "json"
    ping: Frame = '{"type":6}' + END

    def invocation(self, invocation_id: str, target: str, arguments: str) -> Frame:
        """Return an invocation with `target` and `arguments` (JSON text) inserted as they are."""
        identity = f'"invocationId":{_quoted(invocation_id)},' if invocation_id else ""
        return f'{{"type":1,{identity}"target":{target},"arguments":{arguments}}}{END}'

    def stream_item(self, invocation_id: str, item: str) -> Frame:
        """Return a stream item with `item` (JSON text) inserted as it is."""
        return f'{{"type":2,"invocationId":{_quoted(invocation_id)},"item":{item}}}{END}'

    def completion(self, invocation_id: str, error: str | None) -> Frame:
        """Return the end of a stream, with an error or without a result."""
        tail = "" if error is None else f',"error":{_quoted(error)}'
        return f'{{"type":3,"invocationId":{_quoted(invocation_id)}{tail}}}{END}'

    def close(self, error: str | None, *, allow_reconnect: bool) -> Frame:
        """Return a close message. Absent properties mean no error and no reconnect."""
        reason = "" if error is None else f',"error":{_quoted(error)}'
        again = ',"allowReconnect":true' if allow_reconnect else ""
        return f'{{"type":7{reason}{again}}}{END}'

    def read(self, data: bytes) -> tuple[list[ClientMessage], bytes]:
        """Split `data` at every 0x1E."""
        *whole, rest = data.split(_END)
        return [_incoming(part) for part in whole], rest


def _incoming(part: bytes) -> ClientMessage:
    try:
        message = _decoder.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolationError(f"not a JSON hub message: {error}") from None
    result = bytes(message.result) or None
    return ClientMessage(message.kind, message.invocation_id or "", result, message.error)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
