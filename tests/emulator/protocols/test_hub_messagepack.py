"""MessagePack messages: the published example, and the conversion of JSON values."""

from typing import Any

import msgspec
import pytest

from emulator.protocols.hub import COMPLETION, ClientMessage, ProtocolViolationError, UnencodableError
from emulator.protocols.hub_messagepack import MessagePackHubProtocol, framed, length_prefix, value_of
from tests.emulator.running import Service

HELLO = bytes.fromhex("17960180c0aa6e65774d65737361676591a568656c6c6f90")
EXAMPLE = (
    bytes.fromhex("82a46a736f6ec437")
    + b'{"type":1,"target":"newMessage","arguments":["hello"]}\x1e'
    + bytes.fromhex("ab6d6573736167657061636bc418")
    + HELLO
)
protocol = MessagePackHubProtocol()


async def test_the_worked_example_reaches_both_kinds_of_client(service: Service) -> None:
    assert len(EXAMPLE) == 101
    async with service.client() as text, service.client(protocol="messagepack") as binary:
        headers = {"content-type": "application/octet-stream"}
        assert (await service.call("POST", ":send", content=EXAMPLE, headers=headers)).status_code == 202
        assert await text.receive() == '{"type":1,"target":"newMessage","arguments":["hello"]}'
        assert await binary.receive_bytes() == HELLO


async def test_a_json_body_is_converted_to_the_same_bytes(service: Service) -> None:
    async with service.client(protocol="messagepack") as client:
        await service.send(body='{"target":"newMessage","arguments":["hello"]}')
        assert await client.receive_bytes() == HELLO


async def test_closing_and_leaving_speak_messagepack_too(service: Service) -> None:
    async with service.client(protocol="messagepack") as client:
        await client.socket.send(b"\x02\x91\x06" + framed([1, {}, None, "serverMethod", [], []]))
        close = await client.receive_bytes()
        assert msgspec.msgpack.decode(close[1:])[0] == 7
        await client.closed()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"b":1,"a":[null,true]}', {"b": 1, "a": [None, True]}),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", float(2**64)),
        ("1" * 5000, float("inf")),
        ("1.0", 1.0),
        ("1e400", float("inf")),
        ('"2024-01-01T00:00:00Z"', "2024-01-01T00:00:00Z"),
    ],
)
def test_json_values_are_converted_without_interpretation(text: str, value: Any) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value_of(text))) == value


@pytest.mark.parametrize("size", [1, 126, 127, 128, 16_383, 16_384, 300_000])
def test_lengths_take_seven_bits_per_byte(size: int) -> None:
    message = framed(["x" * size])
    prefix = length_prefix(message)
    assert prefix is not None
    assert sum(prefix) == len(message)
    assert length_prefix(message[: prefix[0] - 1]) is None


def test_messages_are_read_as_they_become_complete() -> None:
    stream = (
        framed([3, {}, "1", 3, {"a": 1}]) + framed([3, {}, "2", 1, "no"]) + framed([3, {}, "3", 2]) + b"\x02\x91\x06"
    )
    got = []
    rest = b""
    for index in range(len(stream)):
        messages, rest = protocol.read(rest + stream[index : index + 1])
        got += messages
    assert rest == b""
    assert got[:3] == [
        ClientMessage(COMPLETION, "1", b'{"a":1}'),
        ClientMessage(COMPLETION, "2", error="no"),
        ClientMessage(COMPLETION, "3"),
    ]
    assert got[3].kind == 6


@pytest.mark.parametrize(
    "data",
    [
        *(b"\x01\xc1", b"\x01\x90", b"\x02\x91\x63", b"\x02\x91\xc0", b"\xff" * 5, b"\x01\x01"),
        b"\x09\x95\x03\x80\xa1a\x03\xa2\xff\xff",  # a text that is not UTF-8
        b"\x8fN" + b"\x91" * 9999,  # nested too deeply
    ],
)
def test_an_invalid_message_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        protocol.read(data)


def test_stream_and_close_messages() -> None:
    def of(frame: Any) -> Any:
        return msgspec.msgpack.decode(frame[1:])

    assert of(protocol.stream_item("s", '{"a":1}')) == [2, {}, "s", {"a": 1}]
    assert of(protocol.completion("s", None)) == [3, {}, "s", 2]
    assert of(protocol.completion("s", "no")) == [3, {}, "s", 1, "no"]
    assert of(protocol.close("bye", allow_reconnect=True)) == [7, "bye", True]
    assert of(protocol.invocation("7", '"t"', "[1]")) == [1, {}, "7", "t", [1], []]


@pytest.mark.parametrize("arguments", [r'["\ud83d"]', r'[{"\udc00": 1}]', "[" * 2000 + "]" * 2000])
def test_a_value_without_a_messagepack_form_is_an_error_of_its_own(arguments: str) -> None:
    with pytest.raises(UnencodableError):
        MessagePackHubProtocol().invocation("", '"m"', arguments)


@pytest.mark.parametrize("half", [r"\ud83d", r"\ud83d and more", r"\udc00", r"\ud83d\ud83d"])
async def test_half_a_surrogate_pair_is_400_and_reaches_neither_kind_of_client(service: Service, half: str) -> None:
    async with service.client("u") as text, service.client("u", protocol="messagepack") as binary:
        answer = await service.send("users/u/:send", f'{{"target":"bad","arguments":["{half}"]}}')
        assert answer.status_code == 400
        await service.send("users/u/:send", '{"target":"good"}')
        assert '"good"' in await text.receive()
        assert b"good" in await binary.receive_bytes()


async def test_no_depth_of_nesting_is_a_500_and_what_is_refused_reaches_nobody(service: Service) -> None:
    async with service.client("u") as text, service.client("u", protocol="messagepack") as binary:
        for depth in range(880, 1000):  # the limits of the two parsers are a few levels apart
            body = f'{{"target":"m{depth}","arguments":{"[" * depth}{"]" * depth}}}'
            answer = await service.send("users/u/:send", body)
            assert answer.status_code in {202, 400}
            if answer.status_code == 202:
                assert f'"m{depth}"' in await text.receive()
                assert f"m{depth}".encode() in await binary.receive_bytes()
        await service.send("users/u/:send", '{"target":"last"}')
        assert '"last"' in await text.receive()
