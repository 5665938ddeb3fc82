"""What /openapi.json says beyond what the routes say themselves: bodies, statuses, examples.

Rule guarded: the document tells the truth. The routes read and write bytes, so nothing here is derived from code; the
tests hold real answers of every status against these schemas instead.
"""

from collections.abc import Mapping
from typing import Any

from service.admin.dead_letters.documents import OPERATIONS as _DEAD_LETTER_OPERATIONS
from service.admin.dead_letters.documents import SCHEMAS as _DEAD_LETTER_SCHEMAS
from service.openapi.parts import ADMIN, REQUEST_ID, busy, content, header, refusal, text
from service.openapi.schemas import (
    BATCH,
    CONNECTION,
    ITEM,
    LIVENESS,
    PROBLEM,
    READINESS,
    RECEIPT,
    RESULT,
    TRACE,
    WANTED,
)

MESSAGES = "/v1/hubs/{hub}/messages"
MESSAGE_TRACE = "/v1/admin/messages/{message_id}/trace"
DESCRIPTION = (
    "Takes batches of SignalR messages and group actions, stores them in order, and delivers them to Azure SignalR "
    "Service. A 202 means stored. Every refusal is a problem document (RFC 9457) whose `type` explains itself."
)
SCHEMAS: Mapping[str, Any] = {
    "Batch": BATCH,
    "Item": ITEM,
    "Receipt": RECEIPT,
    "Result": RESULT,
    "Problem": PROBLEM,
    "ClientConnection": CONNECTION,
    "Wanted": WANTED,
    "Readiness": READINESS,
    "Liveness": LIVENESS,
    "Trace": TRACE,
    **_DEAD_LETTER_SCHEMAS,
}
SECURITY: Mapping[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
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
_HUB = {
    "name": "hub",
    "in": "path",
    "required": True,
    "description": "The hub; upper case becomes lower case.",
    "schema": {"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9_`,.\[\]]{0,127}$"},
}
_SEND_EXTRA = {
    "security": [{"bearer": []}, {"apiKey": []}, {}],
    "parameters": [
        _HUB,
        header(
            "Idempotency-Key",
            "Repeats of this request with this key store nothing twice; with another body they are refused.",
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        ),
        header(
            "Prefer",
            "handling=lenient queues the valid items of a batch that also has invalid ones.",
            {"type": "string", "examples": ["handling=lenient"]},
        ),
        REQUEST_ID,
    ],
    "requestBody": {"required": True, "content": content("Batch", example=_ITEMS)},
}
_SEND = {
    "operation_id": "sendMessages",
    "summary": "Queue a batch of messages and group actions",
    "tags": ["messages"],
    "openapi_extra": _SEND_EXTRA,
    "responses": {
        202: {"description": "Stored.", "content": content("Receipt", example=_ACCEPTED)},
        400: refusal("The hub, a header, the body or an item is not valid; nothing was queued.", _INVALID),
        401: refusal("The caller is not known."),
        403: refusal("The caller may not send."),
        408: refusal("The body did not come within FANOUT_BODY_TIMEOUT."),
        413: refusal("The body is larger than FANOUT_MAX_BODY."),
        415: refusal("The body is not JSON in UTF-8, or is compressed."),
        422: refusal(
            "The Idempotency-Key was used with another body (nothing was queued), or a messageId with another "
            "content (`results` tells what became of each item)."
        ),
        500: refusal("An unexpected error."),
        503: busy("The queue is full or silent; with `results` when some items may be stored."),
    },
}
_NEGOTIATE = {
    "operation_id": "negotiate",
    "summary": "Give a client the address of the service and a token for it",
    "tags": ["clients"],
    "openapi_extra": {
        "security": [{}, {"bearer": []}, {"apiKey": []}],
        "parameters": [
            _HUB,
            {
                "name": "userId",
                "in": "query",
                "required": False,
                "description": "Whose token: for callers with an API key, and others where FANOUT_NEGOTIATE_USER "
                "lists `query`.",
                "schema": {"type": "string", "maxLength": 1024},
            },
            REQUEST_ID,
        ],
        "requestBody": {
            "required": False,
            "description": "Read from callers with an API key only.",
            "content": content("Wanted", example={"userId": "alice", "claims": {"role": "admin"}}),
        },
    },
    "responses": {
        200: {"description": "Where to connect, and with what.", "content": content("ClientConnection")},
        400: refusal("The hub, the query or the body is not valid."),
        401: refusal("No user was found and clients without one are not served."),
        408: refusal("The body did not come within FANOUT_BODY_TIMEOUT."),
        413: refusal("The body is too large, or the token would be longer than the 4,096 characters of the service."),
        415: refusal("The body is not JSON in UTF-8, or is compressed."),
        500: refusal("No service is configured, or an unexpected error."),
    },
}
_TRACED = {
    "messageId": "order-1",
    "events": [
        {"at": 1800000000.25, "what": "accepted", "detail": {"hub": "chat", "admission": "accepted", "partition": 3}},
        {"at": 1800000000.26, "what": "attempt", "detail": {"number": 1, "status": 202, "verdict": "delivered"}},
        {"at": 1800000000.27, "what": "settled", "detail": {"end": "delivered", "attempts": 1}},
    ],
}
_TRACE_ONE = {
    "operation_id": "traceMessage",
    "summary": "Tell the life of one message, as long as it is kept",
    "tags": ["admin"],
    "openapi_extra": {
        "security": ADMIN,
        "parameters": [
            {"name": "message_id", "in": "path", "required": True, "schema": {"type": "string"}},
            REQUEST_ID,
        ],
    },
    "responses": {
        200: {"description": "What is kept of it.", "content": content("Trace", example=_TRACED)},
        401: refusal("The caller is not known."),
        403: refusal("The caller may not administer."),
        404: refusal("Traces are not kept (traceOff), or none of this id is (traceUnknown)."),
        500: refusal("An unexpected error."),
        503: busy("The queue does not answer."),
    },
}
OPERATIONS: Mapping[tuple[str, str], dict[str, Any]] = {
    ("POST", MESSAGES): _SEND,
    ("POST", "/{hub}/negotiate"): _NEGOTIATE,
    ("GET", MESSAGE_TRACE): _TRACE_ONE,
    **_DEAD_LETTER_OPERATIONS,
    ("GET", "/livez"): {
        "operation_id": "livez",
        "summary": "Tell that the process is alive; never looks at the queue",
        "tags": ["operation"],
        "responses": {200: {"description": "Alive.", "content": content("Liveness")}},
    },
    ("GET", "/readyz"): {
        "operation_id": "readyz",
        "summary": "Tell whether there should be traffic",
        "tags": ["operation"],
        "responses": {
            200: {"description": "Ready.", "content": content("Readiness")},
            503: {"description": "Not ready; the reasons are listed.", "content": content("Readiness")},
        },
    },
    ("GET", "/metrics"): {
        "operation_id": "metrics",
        "summary": "Give the metrics in the Prometheus text format",
        "tags": ["operation"],
        "responses": {200: text("The metrics.")},
    },
    ("GET", "/problems/{code}"): {
        "operation_id": "explainProblem",
        "summary": "Explain the code of a problem",
        "tags": ["operation"],
        "openapi_extra": {
            "parameters": [
                {
                    "name": "code",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string"},
                    "example": "invalidItems",
                }
            ]
        },
        "responses": {200: text("What it means and what to do."), 404: refusal("There is no such code.")},
    },
}


def operation_object(described: Mapping[str, Any]) -> dict[str, Any]:
    """Give the OpenAPI operation of a route that FastAPI does not describe, from the same arguments it would take."""
    return {
        "operationId": described["operation_id"],
        "summary": described["summary"],
        "tags": described["tags"],
        "responses": {str(status): response for status, response in described["responses"].items()},
        **described["openapi_extra"],
    }
