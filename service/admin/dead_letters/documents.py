"""What /openapi.json says of the dead letters: the four routes and what they read and write.

Rule guarded: the document tells the truth; the tests hold real answers of every status against these schemas.
"""

from collections.abc import Mapping
from typing import Any

from service.admin.dead_letters.command import LIST_LIMIT, MAX_IDS, MAX_LETTERS, MAX_LIST
from service.admin.dead_letters.selection import MAX_MESSAGE_ID, REASONS
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
    "description": "Those of this hub; upper case becomes lower case.",
}
_REASON = {"enum": [*REASONS], "description": "Those that died of this."}
_MESSAGE_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_MESSAGE_ID,
    "description": "Those of this message; with many targets it has many entries.",
}
_CURSOR = {
    "type": "string",
    "pattern": r"^[0-9]{1,19}-[0-9]{1,19}\.[0-9]{1,4}\.[0-9]{1,15}$",
    "description": "`next` of the answer before, to go on behind it.",
}
_BEFORE = "Those parked before this: unix seconds, or ISO 8601 (UTC unless it has an offset)."
_NULLABLE = {"type": ["string", "null"]}
_LINE: dict[str, Any] = {
    "id": _ID,
    "parkedAt": _NULLABLE | {"format": "date-time", "description": "When it was given up, by the store's clock."},
    "reason": {"type": "string", "description": f"One of {', '.join(REASONS)}, or a newer version's."},
    "status": _COUNT | {"description": "The last HTTP status; 0 without an answer."},
    "attempts": _COUNT | {"description": "Calls made."},
    "detail": {"type": "string", "description": "What came back, in words."},
    "hub": _NULLABLE | {"description": "null, like the next three, when the entry cannot be read here."},
    "messageId": _NULLABLE,
    "operation": _NULLABLE | {"description": "sendToUser, broadcast, addUser, ...: as in the metrics."},
    "to": _NULLABLE
    | {"description": 'The user, group or connection; of a change of membership the member; "" for a broadcast.'},
    "bytes": _COUNT | {"description": "What the entry takes in the queue."},
}


def _object(properties: Mapping[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    described = {"type": "object", "properties": {**properties}, "additionalProperties": False}
    return described | ({"required": required} if required else {})


def _report(action: str, description: str) -> dict[str, Any]:
    return _object(
        {
            "matched": _COUNT | {"description": "Dead letters that were meant and were there."},
            action: _COUNT | {"description": description},
            "more": {"type": "boolean", "description": "Not all were looked at: repeat, with `next` as `cursor`."},
            "next": _NULLABLE | {"description": "Where to go on; null when there is no more, and for ids."},
            "before": _NULLABLE
            | {"format": "date-time", "description": "All that were looked at were parked before this; null for ids."},
        }
    )


_ORDER = _object(
    {
        "ids": {"type": "array", "items": _ID, "minItems": 1, "maxItems": MAX_IDS},
        "hub": _HUB,
        "reason": _REASON,
        "messageId": _MESSAGE_ID,
        "before": {"type": ["number", "string"], "description": _BEFORE},
        "all": {"type": "boolean", "description": "Every dead letter there is. Only without ids and filters."},
        "dryRun": {"type": "boolean", "description": "Count what is meant and do nothing."},
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LETTERS, "default": MAX_LETTERS},
        "cursor": _CURSOR,
    },
    *("ids", "hub", "reason", "messageId", "before", "all", "dryRun", "limit", "cursor"),
) | {"minProperties": 1, "description": "`ids`, or filters that all have to fit, or `all`: something has to be named."}
SCHEMAS: Mapping[str, Any] = {
    "DeadLetter": _object(_LINE),
    "DeadLetterList": _object(
        {
            "items": {"type": "array", "maxItems": MAX_LIST, "items": {"$ref": "#/components/schemas/DeadLetter"}},
            "next": _NULLABLE | {"description": "The `cursor` of the next page; null when there is none."},
        }
    ),
    "WholeDeadLetter": _object(
        _LINE
        | {
            "message": {
                "type": ["object", "null"],
                "description": "The item as it may be POSTed again; null when it cannot be read here.",
            },
            "entry": {"type": "string", "contentEncoding": "base64", "description": "What cannot be read."},
        },
        "entry",
    ),
    "DeadLetterOrder": _ORDER,
    "Replayed": _report("replayed", "How many of them wait again."),
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
_CURSOR_SHOWN = "1795388238626-0.3.1795388238627"  # the document leaves null out of examples, so there is one
_MESSAGE = {"userId": "alice", "target": "newMessage", "arguments": ["hi"], "messageId": "order-1"}
_REFUSALS = {
    401: refusal("The caller is not known."),
    403: refusal("The caller may not administer."),
    500: refusal("An unexpected error."),
    503: busy("The queue does not answer, or is full; nothing of this request is known to be done."),
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
            "description": "A page of them. It may be short, even empty, while `next` says that there is more.",
            "content": content("DeadLetterList", example={"items": [_SHOWN], "next": _CURSOR_SHOWN}),
        },
        400: refusal("A parameter is not valid, not known, or stands twice."),
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
            "content": content("WholeDeadLetter", example={**_SHOWN, "message": _MESSAGE}),
        },
        400: refusal("The id is none."),
        404: refusal("There is no such dead letter (deadLetterUnknown)."),
        405: refusal("`replay` and `purge` are no ids; they take POST."),
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
            "requestBody": {"required": True, "content": content("DeadLetterOrder", example={"reason": "tooOld"})},
        },
        "responses": {
            200: {"description": "What was done, as far as it went.", "content": content(schema, example=example)},
            400: refusal("The body is not valid, or names nothing; nothing was done."),
            408: refusal("The body did not come within FANOUT_BODY_TIMEOUT."),
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
        "purgeDeadLetters", "Delete dead letters for good", "Purged", {"matched": 37, "purged": 37, **_REST}
    ),
}
