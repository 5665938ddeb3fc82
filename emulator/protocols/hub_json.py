"""The JSON hub protocol: text, every message ends with the byte 0x1E.

Source: contract 8.3. Rule guarded: arguments are spliced in as the text the caller sent, never decoded and written
again, so `1.10`, big integers, duplicate keys and escapes reach the client as they were.
"""

import msgspec

from emulator.protocols.hub import Frame, Incoming, ProtocolViolationError

END = "\x1e"
_END = END.encode()


class _Message(msgspec.Struct, rename={"kind": "type", "invocation_id": "invocationId"}):
    kind: int
    invocation_id: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: str | None = None


_decoder = msgspec.json.Decoder(_Message)


class JsonHubProtocol:
    """Writes and reads JSON messages."""

    name = "json"
    ping: Frame = '{"type":6}' + END

    def invocation(self, invocation_id: str, target: str, arguments: str) -> Frame:
        """Splice `target` and `arguments` (JSON text) into an invocation."""
        identity = f'"invocationId":{_quoted(invocation_id)},' if invocation_id else ""
        return f'{{"type":1,{identity}"target":{target},"arguments":{arguments}}}{END}'

    def stream_item(self, invocation_id: str, item: str) -> Frame:
        """Splice `item` (JSON text) into a stream item."""
        return f'{{"type":2,"invocationId":{_quoted(invocation_id)},"item":{item}}}{END}'

    def completion(self, invocation_id: str, error: str | None) -> Frame:
        """End a stream, with an error or without a result."""
        tail = "" if error is None else f',"error":{_quoted(error)}'
        return f'{{"type":3,"invocationId":{_quoted(invocation_id)}{tail}}}{END}'

    def close(self, error: str | None, *, allow_reconnect: bool) -> Frame:
        """Say good-bye; absent properties mean no error and no reconnect."""
        reason = "" if error is None else f',"error":{_quoted(error)}'
        again = ',"allowReconnect":true' if allow_reconnect else ""
        return f'{{"type":7{reason}{again}}}{END}'

    def read(self, data: bytes) -> tuple[list[Incoming], bytes]:
        """Cut `data` at every 0x1E."""
        *whole, rest = data.split(_END)
        return [_incoming(part) for part in whole], rest


def _incoming(part: bytes) -> Incoming:
    try:
        message = _decoder.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolationError(f"not a JSON hub message: {error}") from None
    result = bytes(message.result) or None
    return Incoming(message.kind, message.invocation_id or "", result, message.error)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
