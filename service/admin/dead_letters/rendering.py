"""How a dead letter looks to an operator. Pure.

Rules guarded: a message is shown as it could be POSTed again, the caller's arguments byte for byte; what this version
cannot read is shown as the bytes it is, with the reason of its death all the same.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from fanout.queue.dead_letters import DeadLetter
from fanout.queue.entry import Entry
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, operation_of
from service.admin.dead_letters.reference import Place
from service.admin.dead_letters.selection import entry_of

_NAMED = {Scope.USER: "userId", Scope.GROUP: "groupName", Scope.CONNECTION: "connectionId"}
_DELIVERY = {True: "atMostOnce", False: "atLeastOnce"}


class _Body(msgspec.Struct):
    target: str
    arguments: msgspec.Raw = msgspec.Raw(b"[]")


def line_of(place: Place, letter: DeadLetter) -> dict[str, Any]:
    """Give what a list tells of a letter; what stands in its entry is null when that cannot be read."""
    return _line(place, letter, entry_of(letter))


def whole_of(place: Place, letter: DeadLetter) -> dict[str, Any]:
    """Give all there is: the line, and the message; or, when it cannot be read, the entry in base64."""
    entry = entry_of(letter)
    message = None if entry is None else message_of(entry)
    told = _line(place, letter, entry) | {"message": message}
    return told if message else told | {"entry": base64.b64encode(letter.entry.data).decode()}


def message_of(entry: Entry) -> Mapping[str, Any] | None:
    """Give an item as a batch may hold it; None when its body is not one this service writes."""
    match entry.item:
        case Message() as message:
            try:
                item = _sent(message)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
        case GroupAction() as change:
            item = _changed(change)
        case CloseConnections() as close:
            item = {"action": "closeConnection", _NAMED[close.scope]: close.to}
            item |= _given(reason=close.reason, excluded=close.excluded)
    return item | {"messageId": entry.message_id}


def _line(place: Place, letter: DeadLetter, entry: Entry | None) -> dict[str, Any]:
    cause = letter.cause
    return {
        "id": str(place),
        "parkedAt": time_of(place.millisecond),
        "reason": cause.reason,
        "status": cause.status,
        "attempts": cause.attempts,
        "detail": cause.detail,
        "hub": entry.hub if entry else None,
        "messageId": entry.message_id if entry else None,
        "operation": operation_of(entry.item) if entry else None,
        "to": _whom(entry.item) if entry else None,
        "bytes": len(letter.entry.data),
    }


def time_of(millisecond: int) -> str | None:
    """Write a unix millisecond as RFC 3339 has it, in UTC; None for one no calendar has."""
    try:
        at = datetime.fromtimestamp(millisecond // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{at:%Y-%m-%dT%H:%M:%S}.{millisecond % 1000:03}Z"


def _whom(item: Item) -> str:
    return item.member if isinstance(item, GroupAction) else item.to


def _sent(message: Message) -> dict[str, Any]:
    body = msgspec.json.decode(message.body, type=_Body)
    item: dict[str, Any] = {} if message.scope is Scope.BROADCAST else {_NAMED[message.scope]: message.to}
    item |= {"target": body.target, "arguments": orjson.Fragment(bytes(body.arguments))}
    delivery = "" if message.at_most_once is None else _DELIVERY[message.at_most_once]
    return item | _given(
        excluded=message.excluded, ttlSeconds=message.ttl, collapseKey=message.collapse, delivery=delivery
    )


def _changed(change: GroupAction) -> dict[str, Any]:
    item: dict[str, Any] = {"action": change.verb.value, _NAMED[change.member_scope]: change.member}
    return item | _given(groupName=change.group) | ({} if change.ttl is None else {"ttlSeconds": change.ttl})


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
