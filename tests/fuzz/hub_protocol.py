"""The emulator's hub protocols under any bytes of a client, and any JSON that is sent to one.

Rule guarded: what a client sends is read, or ends its connection with a reason; the same however the bytes were cut.
What is written for a client reads back as what was given.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from emulator.client import Client, Identity
from emulator.hubs import Hub
from emulator.protocols.hub import ClientMessage, HubProtocol, ProtocolViolationError
from emulator.protocols.hub_json import END, JsonHubProtocol
from emulator.protocols.hub_messagepack import MessagePackHubProtocol, length_prefix
from emulator.transports.session import Session
from tests.fakes import FakeClock
from tests.fuzz.http1 import cut

_PROTOCOLS: Sequence[HubProtocol] = (JsonHubProtocol(), MessagePackHubProtocol())
_raw = msgspec.json.Decoder(msgspec.Raw)


def incoming(data: bytes) -> None:
    """The first byte chooses the protocol, the second one where to cut; the rest is what the client sends."""
    if len(data) < 3:
        return
    protocol, text = _PROTOCOLS[data[0] & 1], data[2:]
    assert _read(protocol, [text]) == _read(protocol, list(cut(text, data[1])))


def session(data: bytes) -> None:
    """A whole conversation from its handshake on; the first byte says where to cut."""
    if len(data) < 2:
        return
    whole = _conversation([data[1:]])
    pieces = _conversation(list(cut(data[1:], data[0])))
    assert whole == pieces, (whole, pieces)


def outgoing(data: bytes) -> None:
    """The arguments of an invocation, as the REST side hands them on: JSON text that was checked and not decoded."""
    try:
        text = bytes(_raw.decode(data)).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    frame = _PROTOCOLS[0].invocation("1", '"t"', text)
    assert isinstance(frame, str)
    assert (frame.count(END), frame.endswith(f',"target":"t","arguments":{text}}}{END}')) == (1, True)
    try:
        binary = _PROTOCOLS[1].invocation("", '"t"', text)
    except (RecursionError, UnicodeEncodeError):  # deeper than Python goes, half a surrogate pair: no MessagePack form
        return
    assert isinstance(binary, bytes)
    prefix = length_prefix(binary)
    assert prefix is not None
    assert sum(prefix) == len(binary)
    read = msgspec.msgpack.decode(binary[prefix[0] :])
    assert read[:4] == [1, {}, None, "t"]
    assert _plain(read[4]) == _plain(json.loads(text, parse_int=_number)), text


def _read(protocol: HubProtocol, pieces: Sequence[bytes]) -> tuple[list[ClientMessage], bytes] | None:
    """Return the messages and what is left, None for a violation."""
    messages: list[ClientMessage] = []
    rest = b""
    try:
        for piece in pieces:
            more, rest = protocol.read(rest + piece)
            messages += more
    except ProtocolViolationError:
        return None
    return messages, rest


def _conversation(pieces: Sequence[bytes]) -> tuple[str, bool]:
    """Return the protocol agreed on, and whether the connection was ended.

    Which violation is named, and whether one behind a good-bye is, depends on what had arrived by then.
    """
    client = Client("c", Identity("h"), "webSockets", now=0.0, unread=100)
    talk = Session("token", client, Hub("h", FakeClock()))
    for piece in pieces:
        if not client.outbox.closed:
            talk.feed(piece, 0.0)
    name = "" if client.protocol is None else client.protocol.name
    return name, client.outbox.closed


def _number(digits: str) -> float:
    return float(digits) + 0.0  # an integer knows no minus zero


def _plain(value: Any) -> str:
    """Write a value so that two are equal exactly when they say the same, all numbers taken as float64."""
    if isinstance(value, dict):
        return repr([(name, _plain(each)) for name, each in value.items()])
    if isinstance(value, list):
        return repr([_plain(each) for each in value])
    return repr(float(value) if type(value) is int else value)
