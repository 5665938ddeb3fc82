"""One element of a batch: message or action, its id, its endpoints.

Source: functions-binding-contract 1.6: a `target` that is not null makes a message, else an `action` makes an action.
Two readings differ from the binding on purpose: a `target` or `arguments` of the wrong type is refused even beside a
valid `action` (the binding would drop the message in silence), and a null or nested item is refused alone.
"""

import msgspec
from msgspec import Raw

from fanout.binding.action_item import read_action
from fanout.binding.endpoints import check_endpoints
from fanout.binding.limits import MAX_MESSAGE_ID, BatchLimits, ItemContent, ParsedItem
from fanout.binding.message_item import read_message
from fanout.binding.plain import fingerprint_of, read_plain
from fanout.binding.properties import Properties, properties_of
from fanout.binding.refusals import refuse
from fanout.errors import BadRequestError


def read_item(raw: Raw, index: int, limits: BatchLimits) -> ParsedItem:
    """Read one element; raises BadRequestError with a pointer relative to the element."""
    plain = read_plain(raw, index, limits)
    if plain is not None:
        return plain
    try:
        properties = properties_of(raw)
    except msgspec.ValidationError:
        raise _not_an_object(bytes(raw)[:1]) from None
    warnings = check_endpoints(properties, limits.endpoints) if "endpoints" in properties.values else ()
    message_id = _message_id_of(properties) if "messageId" in properties.values else None
    content = _read(properties, limits)
    fingerprint = b"" if message_id is None else fingerprint_of(content.calls)
    return ParsedItem(index, content.calls, message_id, fingerprint, warnings + content.warnings)


def _read(properties: Properties, limits: BatchLimits) -> ItemContent:
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
    detail = f"messageId must be 1 to {MAX_MESSAGE_ID} printable characters."
    raise refuse("invalidMessageId", detail, properties.pointer("messageId"))


def _not_an_object(first: bytes) -> BadRequestError:
    if first == b"[":
        return refuse("nestedArray", "An array inside the batch's array is not an item.")
    if first == b'"':
        return refuse("nestedString", "A string inside the batch's array is not an item.")
    return refuse("notAnObject", "An item must be a JSON object.")
