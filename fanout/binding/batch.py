"""Parses the body of a request into a batch: every item is read or refused on its own.

Source: docs/sources.md, binding-batch and binding-kinds. Rules guarded: the whole batch is judged before anything of it
is queued, a refused item is named by a JSON pointer into the sender's document, and `arguments` stay byte for byte what
they were. Only a body that is no batch at all, or one over a limit of the whole batch, is refused as one.
"""

from typing import Final

import msgspec
from msgspec import Raw

from fanout.binding.action_item import read_action
from fanout.binding.destinations import too_many
from fanout.binding.document import Document, read_document, read_text
from fanout.binding.endpoints import check_endpoints
from fanout.binding.message_item import read_message
from fanout.binding.parsed import Batch, BatchLimits, ItemContent, ParsedItem, RejectedItem
from fanout.binding.plain import MAX_MESSAGE_ID, fingerprint_of, read_plain, read_plain_batch
from fanout.binding.properties import Properties, properties_of
from fanout.binding.refusals import ERROR_CODES, refuse
from fanout.errors import BadRequestError

__all__ = ["ERROR_CODES", "Batch", "BatchLimits", "ParsedItem", "RejectedItem", "parse_batch"]

_PLAIN_STARTS: Final = frozenset({b"[", b"{"})
_LISTS: Final = 4 * 1024 * 1024  # bytes the destination lists of an item may take beside the largest message


def parse_batch(body: bytes, limits: BatchLimits) -> Batch:
    """Parse the body of a request: one object, an array of objects, or a JSON string that holds either.

    Raises BadRequestError (`label` is a key of ERROR_CODES) for a body that is no batch: not JSON, not UTF-8, empty, a
    scalar, nested too deeply, or with more than `max_items` items or `max_targets` destinations in all.
    """
    text = read_text(body)
    if text[:1] in _PLAIN_STARTS and len(text) <= _max_item(limits):
        plain = read_plain_batch(text, limits)
        if plain is not None:
            return Batch(tuple(plain), is_plain=True)
    try:
        return _read_items(read_document(text, limits.max_items), limits)
    except RecursionError:
        raise refuse("tooDeep", "The JSON is nested too deeply.") from None


def _read_items(document: Document, limits: BatchLimits) -> Batch:
    results: list[ParsedItem | RejectedItem] = []
    targets = 0
    for index, raw in enumerate(document.items):
        try:
            result: ParsedItem | RejectedItem = _read_item(raw, index, limits)
        except BadRequestError as error:
            result = RejectedItem(index, error.label, document.pointer_of(index) + error.pointer, str(error))
        results.append(result)
        if isinstance(result, ParsedItem):
            targets += len(result.calls)
            if targets > limits.max_targets:
                raise too_many(targets, limits.max_targets, document.pointer_of(index))
    return Batch(tuple(results))


def _read_item(raw: Raw, index: int, limits: BatchLimits) -> ParsedItem:
    size = memoryview(raw).nbytes
    if size > _max_item(limits):
        detail = f"The item has {size} bytes. Its message may have {limits.max_message}, its lists {_LISTS} more."
        raise refuse("itemTooLarge", detail)
    plain = read_plain(raw, index, limits)
    if plain is not None:
        return plain
    try:
        properties = properties_of(raw)
    except msgspec.ValidationError:
        raise _not_an_object(bytes(raw)[:1]) from None
    warnings = check_endpoints(properties, limits.endpoints) if "endpoints" in properties.values else ()
    message_id = _message_id_of(properties) if "messageId" in properties.values else None
    content = _read_content(properties, limits)
    fingerprint = b"" if message_id is None else fingerprint_of(content.calls)
    return ParsedItem(index, content.calls, message_id, fingerprint, warnings + content.warnings)


def _read_content(properties: Properties, limits: BatchLimits) -> ItemContent:
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


def _max_item(limits: BatchLimits) -> int:
    return limits.max_message + _LISTS
