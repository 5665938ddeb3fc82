"""Parses the body of a request into a batch: every item is read or refused on its own.

Source: docs/sources.md, binding-batch and binding-kinds. Rules guarded: the whole batch is judged before anything of it
is queued, a refused item is named by a JSON pointer into the sender's document, and `arguments` stay byte for byte what
they were. Only a body that is no batch at all, or one over a limit of the whole batch, is refused as one. UTF-8 is
checked first, because raw values are not decoded later.

Items are read in one of two ways. The common shape (a message of plain properties, to one destination or to everybody)
is read in one step, at a quarter of the cost. That step refuses nothing and warns of nothing: what differs from the
common shape in any way (another property, another type, two scopes, an unusual name) is read property by property, and
that result counts. What both can read, both read alike.
"""

from collections.abc import Container, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType, structs

from fanout.binding.action_item import read_action
from fanout.binding.destinations import too_many
from fanout.binding.document import Document, read_document, unquoted
from fanout.binding.endpoints import select_endpoints
from fanout.binding.json_text import has_replacement, tokens_of
from fanout.binding.message_item import read_message
from fanout.binding.names import SURELY_FITS
from fanout.binding.parsed import Batch, BatchLimits, ItemContent, ItemWarning, ParsedItem, RejectedItem
from fanout.binding.properties import Properties, properties_of
from fanout.binding.refusals import ERROR_CODES, refuse
from fanout.errors import BadRequestError
from fanout.signalr.message import Item, Message, Scope

__all__ = ["ERROR_CODES", "Batch", "BatchLimits", "ParsedItem", "RejectedItem", "batch_fingerprint", "parse_batch"]
MAX_MESSAGE_ID: Final = 128  # characters
_LISTS: Final = 4 * 1024 * 1024  # bytes the destination lists of an item may take beside the largest message
_LONGEST_ESCAPE: Final = 6  # bytes of an escape whose character has one, as \u0041
_MAX_LOOKED_AT: Final = 20_000  # unknown properties of a batch; more are no misspelling
_BOM: Final = b"\xef\xbb\xbf"
_PLAIN_STARTS: Final = frozenset({b"[", b"{"})
_ARRAY: Final = ord("[")
_SHORTEST: Final = len('{"target":"","arguments":[]},')
_CACHED_TARGET: Final = 128  # characters
_BROADCAST, _USER, _GROUP, _CONNECTION = Scope.BROADCAST, Scope.USER, Scope.GROUP, Scope.CONNECTION
_UNUSUAL: Final = (msgspec.DecodeError, RecursionError)
_pack = msgspec.msgpack.Encoder().encode


def parse_batch(
    body: bytes, limits: BatchLimits, *, refused: Container[str] = (), replace_surrogates: bool = False
) -> Batch:
    """Parse the body of a request: one object, an array of objects, or a JSON string that holds either.

    An item with a warning whose code is in `refused` is rejected, and so is one with half of a surrogate pair. With
    `replace_surrogates` U+FFFD takes the place of the half where it stands in `arguments`.

    Raises BadRequestError (`label` is a key of ERROR_CODES) for a body that is no batch: not JSON, not UTF-8, empty, a
    scalar, nested too deeply, or with more than `max_items` items or `max_targets` destinations in all.
    """
    text = read_text(body)
    if text[:1] in _PLAIN_STARTS and len(text) <= limits.max_message + _LISTS:
        plain = read_plain_batch(text, limits)
        if plain is not None:
            return Batch(tuple(plain), is_plain=True, is_common=_have_no_ids(plain))
    try:
        return _Reader(limits, refused, replace_surrogates=replace_surrogates).read(
            read_document(text, limits.max_items)
        )
    except RecursionError:
        raise refuse("tooDeep", "The JSON is nested too deeply.") from None


def read_text(body: bytes) -> bytes:
    """Return a body without its byte order mark. Raises BadRequestError when it is not UTF-8."""
    text = body.removeprefix(_BOM)
    if not text.isascii():
        try:
            str(text, "utf-8")
        except UnicodeDecodeError as error:
            raise refuse("invalidUtf8", f"The body is not UTF-8: byte {error.start}.") from None
    return text


def batch_fingerprint(body: bytes) -> bytes:
    """Return 16 bytes that two bodies share when they have the same tokens, whatever white space stands between them.

    Raises BadRequestError like `parse_batch`.
    """
    return blake2b(tokens_of(unquoted(read_text(body))), digest_size=16).digest()


# Property by property ------------------------------------------------------------------------------------------------


class _Reader:
    """Reads the items of one batch."""

    def __init__(self, limits: BatchLimits, refused: Container[str], *, replace_surrogates: bool) -> None:
        self._limits = limits
        self._refused = refused
        self._replace_surrogates = replace_surrogates
        self._looked_at = 0  # unknown properties, of all items

    def read(self, document: Document) -> Batch:
        """Return one result for each item. Raises BadRequestError when all together have too many destinations."""
        results: list[ParsedItem | RejectedItem] = []
        targets, limit = 0, self._limits.max_targets
        for index, raw in enumerate(document.items):
            try:
                result: ParsedItem | RejectedItem = self._accept(
                    self._halved(raw, index) if index in document.halved else self._item(raw, index)
                )
            except BadRequestError as error:
                result = RejectedItem(index, error.label, document.pointer_of(index) + error.pointer, str(error))
            results.append(result)
            if isinstance(result, ParsedItem):
                targets += len(result.calls)
                if targets > limit:
                    raise too_many(targets, limit, document.pointer_of(index))
        return Batch(tuple(results))

    def _accept(self, item: ParsedItem) -> ParsedItem:
        for warning in item.warnings:
            if warning.code in self._refused:
                raise refuse(warning.code, warning.detail, warning.pointer)
        return item

    def _item(self, raw: Raw, index: int) -> ParsedItem:
        size, limit = memoryview(raw).nbytes, _LONGEST_ESCAPE * self._limits.max_message + _LISTS
        if size > limit:
            raise refuse("itemTooLarge", f"The item has {size} bytes, more than the {limit} that any message needs.")
        plain = read_plain(raw, index, self._limits)
        return self._parsed(_properties_of(raw), index) if plain is None else plain

    def _halved(self, raw: Raw, index: int) -> ParsedItem:
        properties = _properties_of(raw)
        found = [name for name, value in properties.values.items() if has_replacement(bytes(value))]
        if not self._replace_surrogates or set(found) - {"arguments"}:
            name = next((name for name in found if name != "arguments"), "arguments" if found else "")
            detail = f"{name or 'The item'} holds half of a surrogate pair, which is no character. Send both halves."
            raise refuse("loneSurrogate", detail, properties.pointer(name) if name else "")
        item = self._item(raw, index)
        detail = "U+FFFD was sent in the place of half of a surrogate pair."
        return structs.replace(item, warnings=(*item.warnings, ItemWarning("replacedSurrogate", detail)))

    def _parsed(self, properties: Properties, index: int) -> ParsedItem:
        values, warnings = properties.values, self._unknown(properties) if properties.unknown else ()
        endpoints = None
        if "endpoints" in values:
            selected = select_endpoints(properties, self._limits.endpoints, self._limits.endpoint_names)
            endpoints, warnings = selected.names, warnings + selected.warnings
        message_id = _message_id_of(properties) if "messageId" in values else None
        content = _content_of(properties, self._limits)
        fingerprint = b"" if message_id is None else fingerprint_of(content.calls)
        return ParsedItem(index, content.calls, message_id, fingerprint, warnings + content.warnings, endpoints)

    def _unknown(self, properties: Properties) -> tuple[ItemWarning, ...]:
        self._looked_at += len(properties.unknown)
        if self._looked_at <= _MAX_LOOKED_AT:
            properties.check_addresses()
        return (properties.unknown_warning(),)


def _properties_of(raw: Raw) -> Properties:
    try:
        return properties_of(raw)
    except msgspec.ValidationError:
        raise _not_an_object(bytes(raw)[:1]) from None


def _content_of(properties: Properties, limits: BatchLimits) -> ItemContent:
    # As in the binding, `target` comes first. Unlike there, a `target` of the wrong type is refused beside an `action`.
    target = properties.text("target")
    if target is not None:
        return read_message(properties, target, limits)
    if properties.given("action"):
        return read_action(properties, limits)
    raise refuse("noTargetOrAction", "The item has neither a target nor an action.")


def _message_id_of(properties: Properties) -> str | None:
    message_id = properties.text("messageId")
    if message_id is None or (0 < len(message_id) <= MAX_MESSAGE_ID and message_id.isprintable()):
        return message_id
    detail = f"messageId must have 1 to {MAX_MESSAGE_ID} printable characters."
    raise refuse("invalidMessageId", detail, properties.pointer("messageId"))


def _not_an_object(first: bytes) -> BadRequestError:
    if first == b"[":
        return refuse("nestedArray", "An array inside the array of the batch is not an item.")
    if first == b'"':
        return refuse("nestedString", "A string inside the array of the batch is not an item.")
    return refuse("notAnObject", "An item must be a JSON object.")


# In one step ---------------------------------------------------------------------------------------------------------


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
        plain = _plain_item(item, index, limits.max_message)
        if plain is None:
            return None
        parsed.append(plain)
    return parsed


def read_plain(raw: Raw, index: int, limits: BatchLimits) -> ParsedItem | None:
    """Read one item of a mixed batch. Return None when it has not the common shape."""
    try:
        return _plain_item(_item.decode(raw), index, limits.max_message)
    except _UNUSUAL:
        return None


def _plain_item(item: Plain, index: int, limit: int) -> ParsedItem | None:
    head = _head(item.target) if len(item.target) <= _CACHED_TARGET else _made_head(item.target)
    body = b"".join((head, item.arguments, b"}"))
    name, scope = item.user_id, _USER
    if not name or item.connection_id or item.group_name:
        found = _destination(item)
        if found is None:
            return None
        scope, name = found
    if name and (len(name) > SURELY_FITS or not name.isprintable() or not name.strip(" .")):
        return None  # it may be no name, or not one that fits
    if body[len(head)] != _ARRAY or not item.target or len(body) > limit:
        return None
    calls = (Message(scope, name, body),)
    message_id = item.message_id
    if message_id is None:
        return ParsedItem(index, calls)
    if not 0 < len(message_id) <= MAX_MESSAGE_ID or not message_id.isprintable():
        return None
    return ParsedItem(index, calls, message_id, fingerprint_of(calls))


def _have_no_ids(items: Sequence[ParsedItem]) -> bool:
    return bool(items) and [item.message_id for item in items].count(None) == len(items)


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
