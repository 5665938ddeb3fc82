"""Reads the common shape of an item in one step: a message of plain properties, to one destination or to everybody.

Rule guarded: nothing is refused here, and no warning is made here. What differs from the common shape in any way
(another property, another type, two scopes, an unusual name) is left to `batch`, whose result counts. What both can
read, both read alike. This path costs a quarter of the other.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType, structs

from fanout.binding.json_text import tokens_of
from fanout.binding.names import is_plain_name
from fanout.binding.parsed import BatchLimits, ParsedItem
from fanout.signalr.message import Item, Message, Scope

MAX_MESSAGE_ID: Final = 128  # characters
_ARRAY: Final = ord("[")
_SHORTEST: Final = len('{"target":"","arguments":[]},')
_CACHED_TARGET: Final = 128  # characters
_BROADCAST, _USER, _GROUP, _CONNECTION = Scope.BROADCAST, Scope.USER, Scope.GROUP, Scope.CONNECTION
_UNUSUAL: Final = (msgspec.DecodeError, RecursionError)
_pack = msgspec.msgpack.Encoder().encode


class Plain(msgspec.Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    """An item as it is sent, with the properties that most senders use."""

    target: str
    arguments: Raw
    user_id: str | UnsetType | None = UNSET
    group_name: str | UnsetType | None = UNSET
    connection_id: str | UnsetType | None = UNSET
    message_id: str | None = None


_items: msgspec.json.Decoder[list[Plain]] = msgspec.json.Decoder(list[Plain])
_item: msgspec.json.Decoder[Plain] = msgspec.json.Decoder(Plain)


def read_plain_batch(text: bytes, limits: BatchLimits) -> list[ParsedItem] | None:
    """Read an array, or one object, whose items all have the common shape. Return None when one has not."""
    if len(text) > _SHORTEST * limits.max_items and text.count(b"{") > 2 * limits.max_items:
        return None  # too many items are counted before they become objects, so memory stays in proportion
    try:
        items = _items.decode(text) if text[0] == _ARRAY else [_item.decode(text)]
    except _UNUSUAL:
        return None
    if len(items) > min(limits.max_items, limits.max_targets):
        return None
    parsed: list[ParsedItem] = []
    for index, item in enumerate(items):
        plain = _parsed(item, index, limits.max_message)
        if plain is None:
            return None
        parsed.append(plain)
    return parsed


def read_plain(raw: Raw, index: int, limits: BatchLimits) -> ParsedItem | None:
    """Read one item of a mixed batch. Return None when it has not the common shape."""
    try:
        return _parsed(_item.decode(raw), index, limits.max_message)
    except _UNUSUAL:
        return None


def _parsed(item: Plain, index: int, limit: int) -> ParsedItem | None:
    head = _head(item.target) if len(item.target) <= _CACHED_TARGET else _made_head(item.target)
    body = b"".join((head, item.arguments, b"}"))
    name, scope = item.user_id, _USER
    if not name or item.connection_id or item.group_name:
        found = _destination(item)
        if found is None:
            return None
        scope, name = found
    if (name and not is_plain_name(name)) or body[len(head)] != _ARRAY or not item.target or len(body) > limit:
        return None
    calls = (Message(scope, name, body),)
    message_id = item.message_id
    if message_id is None:
        return ParsedItem(index, calls)
    if not 0 < len(message_id) <= MAX_MESSAGE_ID or not message_id.isprintable():
        return None
    return ParsedItem(index, calls, message_id, fingerprint_of(calls))


def _destination(item: Plain) -> tuple[Scope, str] | None:
    # None where several scopes are named, or only empty ones: that takes a warning.
    named = [
        (scope, name)
        for scope, name in ((_USER, item.user_id), (_GROUP, item.group_name), (_CONNECTION, item.connection_id))
        if name
    ]
    if not named and item.user_id is item.group_name is item.connection_id is UNSET:
        return _BROADCAST, ""
    return named[0] if len(named) == 1 else None


def fingerprint_of(calls: tuple[Item, ...]) -> bytes:
    """Return 16 bytes that tell two contents under one messageId apart; white space between tokens is no content."""
    if type(calls[0]) is Message:  # all calls of an item have the same body
        tokens = tokens_of(calls[0].body)
        if tokens is not calls[0].body:
            calls = tuple([structs.replace(call, body=tokens) for call in calls if type(call) is Message])
    return blake2b(_pack(calls), digest_size=16).digest()


def _made_head(target: str) -> bytes:
    return b'{"target":%b,"arguments":' % msgspec.json.encode(target)


_head = lru_cache(maxsize=512)(_made_head)
