"""The OpenAPI description of the dead-letter routes.

Rule guarded: the description is true; the tests validate real answers of every status against these schemas.
"""

from collections.abc import Mapping
from typing import Any

from service.admin.dead_letters.command import (
    LIST_LIMIT,
    MAX_IDS,
    MAX_LETTERS,
    MAX_LIST,
    MAX_MESSAGE_ID,
    REASONS,
)
from service.openapi.parts import ADMIN, REQUEST_ID, busy, content, refusal

DEAD_LETTERS = "/v1/admin/dead-letters"
DEAD_LETTER = f"{DEAD_LETTERS}/{{letter_id}}"
REPLAY = f"{DEAD_LETTERS}/replay"
PURGE = f"{DEAD_LETTERS}/purge"

_COUNT = {"type": "integer", "minimum": 0}
_ID = {
    "type": "string",
    "pattern": "^[0-9]{1,4}:[0-9]{1,19}-[0-9]{1,19}$",
    "description": "The partition, and the id in its stream of dead letters.",
}
_HUB = {
    "type": "string",
    "pattern": r"^[A-Za-z][A-Za-z0-9_`,.\[\]]{0,127}$",
    "description": "Only letters of this hub; case does not matter.",
}
_REASON = {"enum": [*REASONS], "description": "Only letters with this reason."}
_MESSAGE_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_MESSAGE_ID,
    "description": "Only letters of this message. A message with many targets has many entries.",
}
_CURSOR = {
    "type": "string",
    "pattern": r"^[0-9]{1,19}-[0-9]{1,19}\.[0-9]{1,4}\.[0-9]{1,15}$",
    "description": "The `next` of the previous answer, to continue after it.",
}
_BEFORE = "Only letters parked before this time: unix seconds, or ISO 8601 (UTC unless it has an offset)."
_NULLABLE = {"type": ["string", "null"]}
_SUMMARY: dict[str, Any] = {
    "id": _ID,
    "parkedAt": _NULLABLE | {"format": "date-time", "description": "When it was parked, by the clock of Redis."},
    "reason": {"type": "string", "description": f"One of {', '.join(REASONS)}, or one of a newer version."},
    "status": _COUNT | {"description": "The last HTTP status; 0 when there was no answer."},
    "attempts": _COUNT | {"description": "Calls made."},
    "detail": {"type": "string", "description": "What the service answered."},
    "hub": _NULLABLE | {"description": "null, as the next three, when the entry cannot be read."},
    "messageId": _NULLABLE,
    "operation": _NULLABLE | {"description": "sendToUser, broadcast, addUser and so on, as in the metrics."},
    "to": _NULLABLE
    | {"description": 'The user, group or connection; the member of a group action; "" for a broadcast.'},
    "bytes": _COUNT | {"description": "The size of the entry in the queue."},
}


def _object(properties: Mapping[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    described = {"type": "object", "properties": {**properties}, "additionalProperties": False}
    return described | ({"required": required} if required else {})


def _report(action: str, description: str) -> dict[str, Any]:
    return _object(
        {
            "matched": _COUNT | {"description": "Dead letters that matched and existed."},
            action: _COUNT | {"description": description},
            "more": {
                "type": "boolean",
                "description": "Not all were processed: repeat with `next` as `cursor`.",
            },
            "next": _NULLABLE | {"description": "Where to continue; null at the end, and when ids were given."},
            "before": _NULLABLE
            | {
                "format": "date-time",
                "description": "All scanned letters were parked before this; null with ids.",
            },
        }
    )


_COMMAND = _object(
    {
        "ids": {"type": "array", "items": _ID, "minItems": 1, "maxItems": MAX_IDS},
        "hub": _HUB,
        "reason": _REASON,
        "messageId": _MESSAGE_ID,
        "before": {"type": ["number", "string"], "description": _BEFORE},
        "all": {"type": "boolean", "description": "Select every dead letter. Not together with ids or filters."},
        "dryRun": {"type": "boolean", "description": "Only count the letters that match."},
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LETTERS, "default": MAX_LETTERS},
        "cursor": _CURSOR,
    },
    *("ids", "hub", "reason", "messageId", "before", "all", "dryRun", "limit", "cursor"),
) | {"minProperties": 1, "description": "Name `ids`, or filters (all of them must match), or `all`."}
SCHEMAS: Mapping[str, Any] = {
    "DeadLetter": _object(_SUMMARY),
    "DeadLetterList": _object(
        {
            "items": {"type": "array", "maxItems": MAX_LIST, "items": {"$ref": "#/components/schemas/DeadLetter"}},
            "next": _NULLABLE | {"description": "The `cursor` of the next page; null when there is none."},
        }
    ),
    "DeadLetterWithMessage": _object(
        _SUMMARY
        | {
            "message": {
                "type": ["object", "null"],
                "description": "The item as it may be POSTed again; null when it cannot be read.",
            },
            "entry": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "An entry that cannot be read.",
            },
        },
        "entry",
    ),
    "DeadLetterCommand": _COMMAND,
    "Replayed": _report("replayed", "How many of them are in the queue again."),
    "Purged": _report("purged", "How many of them were deleted."),
}


def _query(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": {**schema}}


_SHOWN = {
    "id": "3:1795388238626-0",
    "parkedAt": "2026-11-22T22:57:18.626Z",
    "reason": "refused",
    "status": 400,
    "attempts": 1,
    "detail": "HTTP 400",
    "hub": "chat",
    "messageId": "order-1",
    "operation": "sendToUser",
    "to": "alice",
    "bytes": 91,
}
_CURSOR_SHOWN = "1795388238626-0.3.1795388238627"  # the generated document drops null from examples
_MESSAGE = {"userId": "alice", "target": "newMessage", "arguments": ["hi"], "messageId": "order-1"}
_REFUSALS = {
    401: refusal("The caller did not authenticate."),
    403: refusal("The caller lacks the admin right."),
    500: refusal("An unexpected error."),
    503: busy("The queue is unavailable or full; nothing of this request is known to have been done."),
}
_LIST = {
    "operation_id": "listDeadLetters",
    "summary": "List dead letters, oldest first",
    "tags": ["admin"],
    "openapi_extra": {
        "security": ADMIN,
        "parameters": [
            _query("hub", _HUB),
            _query("reason", _REASON),
            _query("messageId", _MESSAGE_ID),
            _query("before", {"type": "string", "minLength": 1, "description": _BEFORE}),
            _query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIST, "default": LIST_LIMIT}),
            _query("cursor", _CURSOR),
            REQUEST_ID,
        ],
    },
    "responses": {
        200: {
            "description": "A page of dead letters. It may be short or empty although `next` is given.",
            "content": content("DeadLetterList", example={"items": [_SHOWN], "next": _CURSOR_SHOWN}),
        },
        400: refusal("A parameter is not valid, unknown or repeated."),
        **_REFUSALS,
    },
}
_SHOW = {
    "operation_id": "showDeadLetter",
    "summary": "Show one dead letter with its message",
    "tags": ["admin"],
    "openapi_extra": {
        "security": ADMIN,
        "parameters": [{"name": "letter_id", "in": "path", "required": True, "schema": _ID}, REQUEST_ID],
    },
    "responses": {
        200: {
            "description": "The dead letter.",
            "content": content("DeadLetterWithMessage", example={**_SHOWN, "message": _MESSAGE}),
        },
        400: refusal("The id is not valid."),
        404: refusal("There is no such dead letter (deadLetterUnknown)."),
        405: refusal("`replay` and `purge` are not ids; they take POST."),
        **_REFUSALS,
    },
}


def _acting(operation_id: str, summary: str, schema: str, example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "summary": summary,
        "tags": ["admin"],
        "openapi_extra": {
            "security": ADMIN,
            "parameters": [REQUEST_ID],
            "requestBody": {"required": True, "content": content("DeadLetterCommand", example={"reason": "tooOld"})},
        },
        "responses": {
            200: {"description": "What was done.", "content": content(schema, example=example)},
            400: refusal("The body is not valid, or selects nothing; nothing was done."),
            408: refusal("The body did not arrive within FANOUT_BODY_TIMEOUT."),
            413: refusal("The body is too large."),
            415: refusal("The body is not JSON in UTF-8, or is compressed."),
            **_REFUSALS,
        },
    }


_REST = {"more": True, "next": _CURSOR_SHOWN, "before": "2026-11-22T22:57:18.627Z"}
OPERATIONS: Mapping[tuple[str, str], dict[str, Any]] = {
    ("GET", DEAD_LETTERS): _LIST,
    ("GET", DEAD_LETTER): _SHOW,
    ("POST", REPLAY): _acting(
        "replayDeadLetters",
        "Put dead letters back into the queue, at the end of their lanes",
        "Replayed",
        {"matched": 37, "replayed": 37, **_REST},
    ),
    ("POST", PURGE): _acting(
        "purgeDeadLetters", "Delete dead letters permanently", "Purged", {"matched": 37, "purged": 37, **_REST}
    ),
}
