"""JSON hub messages are written by inserting text and read by splitting at 0x1E."""

import pytest

from emulator.protocols.hub import CLOSE, COMPLETION, PING, ClientMessage, ProtocolViolationError
from emulator.protocols.hub_json import JsonHubProtocol

protocol = JsonHubProtocol()


def test_messages_of_the_server() -> None:
    assert protocol.invocation("", '"t"', "[ 1 ]") == '{"type":1,"target":"t","arguments":[ 1 ]}\x1e'
    assert protocol.invocation("7", '"t"', "[]") == '{"type":1,"invocationId":"7","target":"t","arguments":[]}\x1e'
    assert protocol.completion("s", None) == '{"type":3,"invocationId":"s"}\x1e'
    assert protocol.close(None, allow_reconnect=False) == '{"type":7}\x1e'
    assert protocol.close('a"b', allow_reconnect=True) == '{"type":7,"error":"a\\"b","allowReconnect":true}\x1e'


def test_several_messages_in_one_frame_and_a_rest() -> None:
    data = b'{"type":6}\x1e{"result":{"a": 1.0},"type":3,"invocationId":"1","x":2}\x1e{"type":7,"error":"e"}\x1e{"ty'
    messages, rest = protocol.read(data)
    assert messages == [
        ClientMessage(PING),
        ClientMessage(COMPLETION, "1", b'{"a": 1.0}'),
        ClientMessage(CLOSE, error="e"),
    ]
    assert rest == b'{"ty'


@pytest.mark.parametrize(
    "data", [b"\x1e", b"{}\x1e", b'{"type":"6"}\x1e', b"\xff\x1e", b"[6]\x1e", b'{"x":' + b"[" * 9999 + b"\x1e"]
)
def test_an_invalid_message_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        protocol.read(data)
