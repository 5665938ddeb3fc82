"""Reads an item with a `target`: one Message for each destination, all with the same REST body.

Source: docs/sources.md, binding-items and bodies. Rule guarded: the body of the REST call is built here, once, around
the bytes of `arguments` as they were sent. They are never decoded. Only where their escapes make a body too long for
the service, the characters are written instead.
"""

from typing import Final

import msgspec

from fanout.binding.destinations import DESTINATION_FIELDS, Destinations, destinations_of, empty_address, excluded_of
from fanout.binding.json_text import written_out
from fanout.binding.names import check_uri
from fanout.binding.parsed import BatchLimits, ItemContent, ItemWarning
from fanout.binding.properties import Properties
from fanout.binding.refusals import refuse
from fanout.signalr.message import Message, Priority, Scope

MAX_TTL: Final = 31 * 86_400  # seconds
MAX_COLLAPSE_KEY: Final = 128
_BODY: Final = b'{"target":%b,"arguments":%b}'
_BROADCAST: Final = ((Scope.BROADCAST, ""),)
_CAN_EXCLUDE: Final = frozenset({Scope.BROADCAST, Scope.GROUP})
_IGNORED: Final = frozenset({"action", "reason"})
_AT_MOST_ONCE: Final = {"atleastonce": False, "atmostonce": True}
_encode = msgspec.json.Encoder().encode
_number = msgspec.json.Decoder(int | float)


def read_message(properties: Properties, target: str, limits: BatchLimits) -> ItemContent:
    """Build the messages of an item. Raises BadRequestError with a pointer relative to the item."""
    values = properties.values
    body = _body_of(properties, target, limits.max_message)
    destinations = destinations_of(properties, DESTINATION_FIELDS, limits.max_targets)
    named = destinations.named or _BROADCAST
    scopes = [scope for scope, _ in named] if "excluded" in values else ()
    excluded = excluded_of(properties, scopes, _CAN_EXCLUDE) if scopes else ()
    ttl = _ttl_of(properties) if "ttlSeconds" in values else None
    key = _collapse_of(properties) if "collapseKey" in values else ""
    at_most_once = _at_most_once_of(properties) if "delivery" in values else None
    priority = _priority_of(properties) if "priority" in values else Priority.NORMAL
    items = tuple([Message(scope, name, body, excluded, ttl, key, at_most_once, priority) for scope, name in named])
    for item in items:
        check_uri(item)
    return ItemContent(items, _warnings_of(properties, destinations))


def _body_of(properties: Properties, target: str, limit: int) -> bytes:
    if not target:
        raise refuse("emptyTarget", "target, the client method's name, is empty.", properties.pointer("target"))
    raw = properties.values.get("arguments")
    arguments = b"[]" if raw is None else bytes(raw)
    if arguments == b"null":
        arguments = b"[]"
    if not arguments.startswith(b"["):
        raise refuse("argumentsNotAnArray", "arguments must be an array.", properties.pointer("arguments"))
    body = _BODY % (_encode(target), arguments)
    if len(body) > limit:  # escapes may make it too long
        body = _BODY % (_encode(target), written_out(arguments, limit))
    if len(body) > limit:
        detail = f"The REST body of the message would have {len(body)} bytes. The service takes {limit}."
        raise refuse("messageTooLarge", detail, properties.pointer("arguments" if raw is not None else "target"))
    return body


def _ttl_of(properties: Properties) -> float | None:
    if not properties.given("ttlSeconds"):
        return None
    try:
        ttl = float(_number.decode(properties.values["ttlSeconds"]))
    except (msgspec.ValidationError, OverflowError):
        ttl = 0.0
    if not 0 < ttl <= MAX_TTL:
        detail = f"ttlSeconds of a message is a number above 0 and up to {MAX_TTL} (31 days)."
        raise refuse("invalidTtl", detail, properties.pointer("ttlSeconds"))
    return ttl


def _collapse_of(properties: Properties) -> str:
    key = properties.name("collapseKey") or ""
    if len(key) > MAX_COLLAPSE_KEY:
        detail = f"collapseKey has {len(key)} characters; it may have {MAX_COLLAPSE_KEY}."
        raise refuse("invalidCollapseKey", detail, properties.pointer("collapseKey"))
    return key


def _at_most_once_of(properties: Properties) -> bool | None:
    word = properties.text("delivery")
    if word is None:
        return None
    at_most_once = _AT_MOST_ONCE.get(word.lower())
    if at_most_once is None:
        raise refuse("invalidDelivery", "delivery must be atLeastOnce or atMostOnce.", properties.pointer("delivery"))
    return at_most_once


def _priority_of(properties: Properties) -> Priority:
    word = properties.text("priority")
    try:
        return Priority.NORMAL if word is None else Priority(word.lower())
    except ValueError:
        detail = "priority must be high, normal or low."
        raise refuse("invalidPriority", detail, properties.pointer("priority")) from None


def _warnings_of(properties: Properties, destinations: Destinations) -> tuple[ItemWarning, ...]:
    if destinations.named and not destinations.ignored and _IGNORED.isdisjoint(properties.values):
        return ()
    return (
        *(_both(properties) if properties.given("action") else ()),
        *(destinations.warnings(properties) if destinations.named else empty_address(properties)),
        *properties.ignored("reason"),
    )


def _both(properties: Properties) -> tuple[ItemWarning, ...]:
    detail = "Both target and action are set: the message is sent, the action is not done."
    return (ItemWarning("targetAndAction", detail, properties.pointer("action")),)
