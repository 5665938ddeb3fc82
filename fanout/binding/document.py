"""Splits the text of a request into raw items, and refuses a text that is no batch before any item is read.

Source: docs/sources.md, binding-batch (one object, an array, or a JSON string that holds either). Rule guarded: memory
stays in proportion to the text: millions of tiny items are counted before they become objects.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fanout.binding.json_text import lone_surrogates, with_backslashes, with_replacements
from fanout.binding.refusals import refuse
from fanout.errors import BadRequestError

_WHITE_SPACE: Final = b" \t\r\n"
_MANY_ITEMS: Final = 200_000  # up to this number even a body of nothing but items costs only a few MB
_MAX_HALVES: Final = 10_000  # a body with more of them is no text
_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_array = msgspec.json.Decoder(list[Raw])
_value = msgspec.json.Decoder(Raw)
_string = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True)
class Document:
    """The items of a batch. `single` means that the document is one object, so that pointers have no index.

    `halved` are the places of items in which U+FFFD stands for half of a surrogate pair.
    """

    items: Sequence[Raw]
    single: bool
    halved: frozenset[int] = frozenset()

    def pointer_of(self, index: int) -> str:
        """Return the JSON pointer of an item."""
        return "" if self.single else f"/{index}"


def read_document(text: bytes, max_items: int) -> Document:
    """Split the text of a body into items.

    Raises BadRequestError for a body that is no batch at all, and RecursionError for one nested beyond the parser.
    """
    text = unquoted(text)
    try:
        return _split(text, max_items)
    except msgspec.DecodeError as error:
        places = _halves(text, error)
    whole = with_replacements(text, places)
    try:
        document = _split(whole, max_items)
    except msgspec.DecodeError as error:
        raise _broken(error, text) from None
    return Document(document.items, document.single, _holding(document.items, whole, places))


def unquoted(text: bytes) -> bytes:
    """Return the text of a batch: that of the JSON string in which it was sent, where it was."""
    if not _starts(text, b'"'):
        return text
    try:
        inner = _string.decode(text).encode()
    except msgspec.DecodeError as error:
        # A half in the string stands in a string of the batch. Written as an escape there, it is found with its item.
        text = with_backslashes(text, _halves(text, error))
        try:
            inner = _string.decode(text).encode()
        except msgspec.DecodeError as error:
            raise _broken(error, text) from None
    if _starts(inner, b'"'):
        raise refuse("nestedString", "The string holds another string instead of an object or an array.")
    return inner


def _halves(text: bytes, error: msgspec.DecodeError) -> list[int]:
    # The decoder refuses a text for half of a surrogate pair; whatever else is wrong with it stays wrong.
    places = lone_surrogates(text, _MAX_HALVES)
    if not places or len(places) == _MAX_HALVES:
        raise _broken(error, text) from None
    return places


def _holding(items: Sequence[Raw], text: bytes, places: Sequence[int]) -> frozenset[int]:
    holding: set[int] = set()
    end = 0
    for index, raw in enumerate(items):
        data = bytes(raw)
        start = text.find(data, end)  # between two items stands nothing that an item could begin with
        end = start + len(data)
        if bisect_left(places, start) < bisect_left(places, end):
            holding.add(index)
    return frozenset(holding)


def _starts(text: bytes, first: bytes) -> bool:
    return text.lstrip(_WHITE_SPACE)[:1] == first


def _split(text: bytes, max_items: int) -> Document:
    if _starts(text, b""):
        raise refuse("emptyBody", "The body is empty.")
    if not _starts(text, b"["):
        return _single(text)
    if (
        len(text) > _MANY_ITEMS
        and text.count(b",") > _MANY_ITEMS
        and _bounded(max_items).decode(text).past is not UNSET
    ):
        raise _too_many(f"more than {max_items}", max_items)
    items = _array.decode(text)
    if len(items) > max_items:
        raise _too_many(str(len(items)), max_items)
    return Document(items, single=False)


def _single(text: bytes) -> Document:
    item = _value.decode(text)
    if not _starts(text, b"{"):
        raise refuse("notABatch", "The body is neither an object nor an array.")
    return Document((item,), single=True)


@lru_cache(maxsize=4)
def _bounded(max_items: int) -> msgspec.json.Decoder[Any]:
    # Decodes the first items of an array and skips the rest without making objects. `past` is one item too many.
    fields: list[tuple[str, Any, Any]] = [(f"item{n}", Raw | UnsetType, UNSET) for n in range(max_items)]
    fields.append(("past", Raw | UnsetType, UNSET))
    return msgspec.json.Decoder(msgspec.defstruct("Bounded", fields, array_like=True))


def _too_many(count: str, limit: int) -> BadRequestError:
    return refuse("tooManyItems", f"The batch has {count} items. One request may carry {limit}.")


def _broken(error: msgspec.DecodeError, text: bytes) -> BadRequestError:
    found = _BYTE.search(str(error))
    if found is None:
        return refuse("invalidJson", "The JSON ends too early.")
    offset = int(found[1])
    line = text.count(b"\n", 0, offset) + 1
    column = offset - text.rfind(b"\n", 0, offset)
    problem = str(error)[: found.start()].removeprefix("JSON is malformed:").strip()
    return refuse("invalidJson", f"The JSON is malformed at line {line}, column {column} (byte {offset}): {problem}.")
