"""Describes the compatible routes: what of the service's REST API is queued, and what is passed through.

Rule guarded: the paths and operations come from the table that the routes themselves read. The `/api/v1` forms are the
same without an api-version, and are named in the description only.
"""

from collections.abc import Iterator
from typing import Any, Final

from service.compat.address import ROUTES, promised_status
from service.openapi.describe import HUB, path, query_parameter

TAG: Final = "compatible"
SECURITY_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Signed with the access key of the SignalR service, for the URL called.",
}
ERROR_DETAIL: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "target": {"type": ["string", "null"]},
        "details": {"type": "array", "items": {}},
        "inner": {},
    },
}
PAYLOAD: Final[dict[str, Any]] = {
    "type": "object",
    "description": "The names count in any case; a body is delivered as it came.",
    "properties": {
        "target": {"type": "string", "minLength": 1},
        "arguments": {"type": ["array", "null"], "items": {}},
    },
}
SCHEMAS: Final[dict[str, Any]] = {"ErrorDetail": ERROR_DETAIL, "PayloadMessage": PAYLOAD}
_LETTERS: Final = {"U": "user", "G": "group", "C": "connection", "S": "stream"}
_VERSIONS: Final = ("1.0", "2020-10-01", "2024-12-01")
_QUEUED: Final = "Queued, and answered with the status that the api-version promises. The `/api/v1` form is the same."
_ASKED: Final = (
    "Passed through to the SignalR service, after what was queued before for the same member and group is settled. An "
    "answer that did not wait for all of it has `X-Fanout-Behind: 1`."
)
_SUMMARIES: Final = {
    "send": "Send a message", "stream_item": "Send an item of a stream", "stream_complete": "Complete a stream",
    "close_all": "Close connections", "close": "Close a connection", "add_user": "Add a user to a group",
    "remove_user": "Remove a user from a group", "remove_user_from_all": "Remove a user from all groups",
    "add_connection": "Add a connection to a group", "remove_connection": "Remove a connection from a group",
    "remove_connection_from_all": "Remove a connection from all groups", "user_exists": "Ask for a user",
    "group_exists": "Ask for a group", "connection_exists": "Ask for a connection", "user_in_group": "Ask for a member",
    "list_connections": "List the connections of a group", "invoke": "Invoke a client method and wait for its result",
    "generate_token": "Generate a client token", "execute": "Execute commands",
}  # fmt: skip
_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}
_DETAIL: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorDetail"}}} | _TEXT
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_REFUSALS: Final[dict[str, Any]] = {
    "400": {"description": "The call is not valid: one sentence, then its code.", "content": _TEXT},
    "401": {"description": "The token is missing or not accepted: one sentence, then its code.", "content": _TEXT},
    "404": {"description": "There is no such operation, or what is asked for does not exist.", "content": _DETAIL},
    "408": {"description": "The body did not come in time.", "content": _DETAIL},
    "413": {"description": "The body is larger than the service takes.", "content": _DETAIL},
    "415": {"description": "The body is of a type that is not taken.", "content": _DETAIL},
    "500": {"description": "An unexpected error.", "content": _PROBLEM},
    "503": {"description": "No room in time, the queue is away, or the service does not answer.", "content": _DETAIL},
    "508": {"description": "A delivery of this service came back to it.", "content": _DETAIL},
}


def paths() -> dict[str, Any]:
    """Return the descriptions by path and method."""
    described: dict[str, Any] = {}
    for shape, methods in ROUTES.items():
        names = [_LETTERS[word] for word in shape if word in _LETTERS]
        words = [f"{{{_LETTERS[word]}}}" if word in _LETTERS else word for word in shape]
        described["/".join(["/api/hubs/{hub}", *words])] = {
            method.lower(): _operation(method, shape, operation, names) for method, operation in methods.items()
        }
    return described


def _operation(method: str, shape: tuple[str, ...], operation: str, names: list[str]) -> dict[str, Any]:
    queued = promised_status(operation, _VERSIONS[-1]) is not None
    described: dict[str, Any] = {
        "operationId": "-".join([method.lower(), *(_LETTERS.get(word, word.strip(":")) for word in shape)]),
        "summary": _SUMMARIES[operation],
        "description": _QUEUED if queued else _ASKED,
        "tags": [TAG],
        "security": [{"accessKey": []}],
        "parameters": [HUB, *(path(name, {"type": "string", "minLength": 1}) for name in names), *_query(operation)],
        "responses": dict(_successes(operation)) | _REFUSALS,
    }
    if operation in ("send", "invoke"):
        content: dict[str, Any] = {
            "application/json": {"schema": {"$ref": "#/components/schemas/PayloadMessage"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        }
        described["requestBody"] = {"required": True, "content": content}
    elif operation == "stream_item":
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return described


def _query(operation: str) -> Iterator[dict[str, Any]]:
    text: dict[str, Any] = {"type": "string"}
    yield query_parameter("api-version", text)
    yield query_parameter("application", text)
    if operation in ("send", "close_all"):
        yield query_parameter("excluded", {"type": "array", "items": text})
    if operation in ("close", "close_all", "stream_complete"):
        yield query_parameter("reason", text)
    if operation == "add_user":
        yield query_parameter("ttl", {"type": "integer", "minimum": 0})


def _successes(operation: str) -> Iterator[tuple[str, dict[str, Any]]]:
    statuses = {promised_status(operation, version) for version in _VERSIONS} - {None}
    for status in sorted(str(status) for status in statuses):
        yield status, {"description": "Queued."}
    if not statuses:
        yield "2XX", {"description": "What the service answered."}
