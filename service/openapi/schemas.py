"""JSON schemas of what the routes read and write, for the OpenAPI document.

Source: the Functions binding's contract, section 1 (names in any of two spellings, "" and null as absent), our own
optional fields, and RFC 9457. The parser in `fanout.binding.batch` decides; these schemas describe it for people and
for generators of clients, in the camelCase spelling.
"""

from typing import Any

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
        "arguments": {"type": ["array", "null"], "description": "Reach the client byte for byte."},
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
        "reason": {"type": ["string", "null"], "description": "Told to a client whose connection is closed."},
        "endpoints": {
            "type": ["array", "null"],
            "items": {"type": "object"},
            "description": "As the signalREndpoints binding gives them.",
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
PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "requestId"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Where `code` is explained."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "For programs: one word for each kind of refusal."},
        "requestId": {"type": "string", "description": "Also in X-Request-Id."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "index": {"type": "integer", "minimum": 0},
                    "pointer": {"type": "string", "description": "JSON pointer (RFC 6901) into the body."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
        "accepted": _COUNT,
        "duplicates": _COUNT,
        "rejected": _COUNT,
        "failed": _COUNT,
        "results": _RESULTS,
    },
    "additionalProperties": False,
}
CONNECTION: dict[str, Any] = {
    "type": "object",
    "required": ["url", "accessToken"],
    "properties": {
        # No "format": "uri": hub names may have brackets, which the service wants in its query as they are.
        "url": {"type": "string", "description": "Where the client connects, the hub in its query."},
        "accessToken": {"type": "string"},
    },
    "additionalProperties": False,
}
WANTED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "userId": {"type": ["string", "null"], "maxLength": 1024},
        "claims": {"type": ["object", "null"]},
    },
    "additionalProperties": False,
}
READINESS: dict[str, Any] = {
    "type": "object",
    "required": ["status", "reasons"],
    "properties": {
        "status": {"enum": ["ready", "notReady"]},
        "reasons": {"type": "array", "items": {"type": "string"}},
    },
}
LIVENESS: dict[str, Any] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "alive"}},
}
TRACE: dict[str, Any] = {
    "type": "object",
    "required": ["messageId", "events"],
    "properties": {
        "messageId": {"type": "string"},
        "events": {
            "type": "array",
            "minItems": 1,
            "maxItems": 64,
            "description": "Oldest first, by the clocks of the machines; of more than 64 the newest.",
            "items": {
                "type": "object",
                "required": ["at", "what", "detail"],
                "properties": {
                    "at": {"type": "number", "description": "Unix time in seconds."},
                    "what": {"enum": ["accepted", "read", "attempt", "settled"]},
                    "detail": {
                        "type": "object",
                        "additionalProperties": {"type": ["string", "number", "boolean"]},
                        "description": "As the step has them: hub, operation, admission, partition, entry, worker, "
                        "number, status, failure, verdict, delay, end, attempts.",
                    },
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
