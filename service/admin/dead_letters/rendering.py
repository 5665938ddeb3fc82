"""Dead letters as JSON documents. Pure.

Rules guarded: a message is shown in the form in which it could be POSTed again, its arguments byte for byte. An entry
that this version cannot read is shown as its bytes, still with the reason why it is dead.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from fanout.queue.dead_letters import DeadLetter
from fanout.queue.entry import Entry
from fanout.signalr.message import (
    CloseConnections,
    GroupAction,
    Message,
    Priority,
    Scope,
    label_of,
    operation_of,
    recipient_of,
)
from service.admin.dead_letters.command import entry_of
from service.admin.dead_letters.reference import LetterRef

_TARGET_NAMES = {Scope.USER: "userId", Scope.GROUP: "groupName", Scope.CONNECTION: "connectionId"}
_DELIVERY = {True: "atMostOnce", False: "atLeastOnce"}


def summary_of(ref: LetterRef, letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as an item of a list; what its entry contains is null when the entry cannot be read."""
    return _summary(ref, letter, entry_of(letter))


def details_of(ref: LetterRef, letter: DeadLetter) -> dict[str, Any]:
    """Return the summary with the message, or with the entry in base64 when it cannot be read."""
    entry = entry_of(letter)
    message = None if entry is None else message_of(entry)
    document = _summary(ref, letter, entry) | {"message": message}
    return document if message else document | {"entry": base64.b64encode(letter.entry.data).decode()}


def message_of(entry: Entry) -> Mapping[str, Any] | None:
    """Return an item in the form a batch may contain; None when its body is not one that this service writes."""
    match entry.item:
        case CloseConnections(scope=Scope.BROADCAST):
            return None  # a batch cannot say it
        case Message(stream=stream) if stream:
            return None
        case Message() as message:
            try:
                item = _message(message)
            except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
                return None
        case GroupAction() as action:
            item = _group_action(action)
        case CloseConnections() as close:
            item = {"action": "closeConnection", _TARGET_NAMES[close.scope]: close.to}
            item |= _present(reason=close.reason, excluded=close.excluded)
    return item | {"messageId": entry.message_id}


def _summary(ref: LetterRef, letter: DeadLetter, entry: Entry | None) -> dict[str, Any]:
    cause = letter.cause
    return {
        "id": str(ref),
        "parkedAt": time_of(ref.millisecond),
        "reason": cause.reason,
        "status": cause.status,
        "attempts": cause.attempts,
        "detail": cause.detail,
        "hub": entry.hub if entry else None,
        "endpoint": label_of(entry.endpoint) if entry else None,
        "messageId": entry.message_id if entry else None,
        "operation": operation_of(entry.item) if entry else None,
        "to": recipient_of(entry.item) if entry else None,
        "bytes": len(letter.entry.data),
    }


def time_of(millisecond: int) -> str | None:
    """Return a unix millisecond in the format of RFC 3339, in UTC; None when it is out of range."""
    try:
        at = datetime.fromtimestamp(millisecond // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{at:%Y-%m-%dT%H:%M:%S}.{millisecond % 1000:03}Z"


def _message(message: Message) -> dict[str, Any]:
    sent = msgspec.json.decode(message.body, type=dict[str, msgspec.Raw])
    body = {name.lower(): value for name, value in sent.items()}  # callers of the service write `Target` too
    arguments = bytes(body.get("arguments", b"[]"))
    item: dict[str, Any] = {} if message.scope is Scope.BROADCAST else {_TARGET_NAMES[message.scope]: message.to}
    item |= {"target": msgspec.json.decode(body["target"], type=str), "arguments": orjson.Fragment(arguments)}
    delivery = "" if message.at_most_once is None else _DELIVERY[message.at_most_once]
    return item | _present(
        excluded=message.excluded,
        ttlSeconds=message.ttl,
        collapseKey=message.collapse,
        delivery=delivery,
        priority="" if message.priority is Priority.NORMAL else message.priority.value,
    )


def _group_action(action: GroupAction) -> dict[str, Any]:
    item: dict[str, Any] = {"action": action.verb.value, _TARGET_NAMES[action.member_scope]: action.member}
    return item | _present(groupName=action.group) | ({} if action.ttl is None else {"ttlSeconds": action.ttl})


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
