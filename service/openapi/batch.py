"""The schemas of a batch and of the answer to it, and the description of the route that takes it.

Rule guarded: the parser in `fanout.binding.batch` decides what is valid. It reads bytes without models, so these
schemas are written by hand; the tests validate real answers of every status. They describe the camelCase spelling.
Source: docs/sources.md, binding-items.
"""

from typing import Any

from service.callers.caller import Right
from service.openapi.describe import HUB, REQUEST_ID, busy, callers, content, header, refusal

MESSAGES = "/v1/hubs/{hub}/messages"

_NAME = {"type": ["string", "null"], "maxLength": 1024}
_NAMES = {"type": ["array", "null"], "items": {"type": "string"}, "minItems": 1}

ITEM: dict[str, Any] = {
    "type": "object",
    "description": (
        "A message has `target`, a group action has `action`. Where several destinations are named the first of "
        "connection, user and group counts; a message that names none goes to everybody. Names may also be written in "
        "PascalCase; null and an empty string mean that a destination is absent."
    ),
    "properties": {
        "target": {"type": ["string", "null"], "description": "The client method to call."},
        "arguments": {"type": ["array", "null"], "items": {}, "description": "Reach the client byte for byte."},
        "action": {
            "type": ["string", "null"],
            "description": "add, remove, removeAll or closeConnection, in any case.",
        },
        "connectionId": _NAME,
        "userId": _NAME,
        "groupName": _NAME,
        "connectionIds": _NAMES | {"description": "Many connections; one entry each."},
        "userIds": _NAMES | {"description": "Many users; one entry each."},
        "groupNames": _NAMES | {"description": "Many groups; one entry each."},
        "excluded": {
            "type": ["array", "null"],
            "items": {"type": "string"},
            "description": "Connection ids left out of a broadcast or group message.",
        },
        "messageId": {
            "type": ["string", "null"],
            "maxLength": 128,
            "description": "The caller's id: a repeat within the dedup window is not queued again.",
        },
        "ttlSeconds": {
            "type": ["number", "null"],
            "description": "On a message: dropped when it waited longer. On adding a user: the membership's lifetime.",
        },
        "collapseKey": {
            "type": ["string", "null"],
            "maxLength": 128,
            "description": "On a message: of those waiting for one destination under one key only the newest is sent.",
        },
        "delivery": {
            "type": ["string", "null"],
            "description": "On a message: atLeastOnce or atMostOnce, in any case; what to do when an answer is lost.",
        },
        "priority": {
            "type": ["string", "null"],
            "description": "On a message: high, normal or low, in any case; what waits longer while not all can go. "
            "Order holds for each destination within a priority; messages to a group keep one order.",
        },
        "reason": {"type": ["string", "null"], "description": "Told to a client whose connection is closed."},
        "endpoints": {
            "type": ["array", "null"],
            "items": {"type": ["object", "string"]},
            "description": "The endpoints that it is for, each by name, or as the signalREndpoints binding gives it; "
            "null for all.",
        },
    },
}
BATCH: dict[str, Any] = {
    "description": "One item, an array of items, or a JSON string that holds either.",
    "oneOf": [
        {"$ref": "#/components/schemas/Item"},
        {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
        {"type": "string"},
    ],
}
RESULT: dict[str, Any] = {
    "type": "object",
    "required": ["index", "status"],
    "properties": {
        "index": {"type": "integer", "minimum": 0, "description": "The item's place in the batch."},
        "status": {
            "enum": ["accepted", "duplicate", "rejected", "failed"],
            "description": "failed: not known to be stored, or not confirmed by enough replicas; send it again (only "
            "in a 503).",
        },
        "messageId": {"type": "string", "description": "The caller's, or made here."},
        "code": {"type": "string", "description": "Why it was rejected or failed."},
        "detail": {"type": "string"},
        "pointer": {"type": "string", "description": "JSON pointer (RFC 6901) of the offending place in the body."},
        "targets": {"type": "integer", "minimum": 2, "description": "Destinations, when there are several."},
        "targetCounts": {
            "type": "object",
            "propertyNames": {"enum": ["accepted", "duplicate", "conflict", "full", "unknown"]},
            "additionalProperties": {"type": "integer", "minimum": 1},
            "description": "What became of them.",
        },
        "warnings": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What was done otherwise than asked.",
        },
    },
    "additionalProperties": False,
}
_COUNT = {"type": "integer", "minimum": 0}
_RESULTS = {"type": "array", "items": {"$ref": "#/components/schemas/Result"}}
RECEIPT: dict[str, Any] = {
    "type": "object",
    "required": ["accepted", "duplicates", "rejected", "results"],
    "properties": {"accepted": _COUNT, "duplicates": _COUNT, "rejected": _COUNT, "results": _RESULTS},
    "additionalProperties": False,
}
_ITEMS: list[Any] = [
    {"userId": "alice", "target": "newMessage", "arguments": [{"text": "hi"}]},
    {"userId": "alice", "groupName": "room-1", "action": "add"},
    {"groupName": "room-1", "target": "newMessage", "arguments": ["joined", "alice"], "messageId": "order-1"},
]
_ACCEPTED = {
    "accepted": 2,
    "duplicates": 1,
    "rejected": 0,
    "results": [
        {"index": 0, "status": "accepted", "messageId": "9f2c4e1ab03d5577.0"},
        {"index": 1, "status": "accepted", "messageId": "9f2c4e1ab03d5577.1"},
        {"index": 2, "status": "duplicate", "messageId": "order-1"},
    ],
}
_INVALID = {
    "type": "/problems/invalidItems",
    "title": "Some items are not valid",
    "status": 400,
    "detail": "1 of 2 items are not valid; nothing was queued.",
    "code": "invalidItems",
    "requestId": "9f2c4e1ab03d5577",
    "errors": [
        {"index": 1, "pointer": "/1/action", "code": "unknownAction", "detail": "The action is not one of the known."}
    ],
}
OPERATION: dict[str, Any] = {
    "operationId": "sendMessages",
    "summary": "Queue a batch of messages and group actions",
    "tags": ["messages"],
    "security": callers(Right.SEND),
    "parameters": [
        HUB,
        header(
            "Idempotency-Key",
            "Repeats of this request with this key store nothing twice; with another body they are refused. The key "
            "may stand in quotation marks, as the draft of this header has it.",
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        ),
        header(
            "Prefer",
            "handling=lenient queues the valid items of a batch that also has invalid ones. handling=strict refuses "
            "items that would otherwise be queued with a warning. surrogates=replace sends U+FFFD in the place of half "
            "of a surrogate pair in the arguments.",
            {"type": "string", "examples": ["handling=lenient", "handling=strict, surrogates=replace"]},
        ),
        header(
            "traceparent",
            "The trace of the caller (W3C Trace Context), which is continued where FANOUT_OTEL is set. A malformed one "
            "counts as none.",
            {"type": "string", "examples": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]},
        ),
        REQUEST_ID,
    ],
    "requestBody": {"required": True, "content": content("Batch", example=_ITEMS)},
    "responses": {
        "202": {"description": "Stored.", "content": content("Receipt", example=_ACCEPTED)},
        "400": refusal(
            "The hub, a header, the body or an item is not valid; nothing was queued.",
            "invalidRequest",
            "unknownHub",
            "invalidIdempotencyKey",
            invalidItems=_INVALID,
        ),
        "401": refusal("The caller is not known.", "unauthorized", "wrongKey", "invalidToken"),
        "403": refusal("The caller may not send.", "forbidden"),
        "408": refusal("The body did not come within FANOUT_BODY_TIMEOUT.", "bodyTooSlow"),
        "413": refusal("The body is larger than FANOUT_MAX_BODY.", "bodyTooLarge"),
        "415": refusal("The body is not JSON in UTF-8, or is compressed.", "unsupportedMediaType"),
        "422": refusal(
            "The Idempotency-Key was used with another body (nothing was queued), or a messageId with another "
            "content (`results` tells what became of each item).",
            "idempotencyConflict",
            "messageIdConflict",
        ),
        "429": busy("The caller has sent as much as it may.", "rateLimited"),
        "500": refusal("An unexpected error.", "internal"),
        "503": busy(
            "The queue is full or silent; with `results` when some items may be stored.",
            "queueFull",
            "queueUnavailable",
            "queueSilent",
            "notConfirmed",
            "overloaded",
        ),
    },
}
SCHEMAS: dict[str, Any] = {"Batch": BATCH, "Item": ITEM, "Receipt": RECEIPT, "Result": RESULT}
