"""Describes the compatible routes: what of the service's REST API is queued, and what is passed through.

Rule guarded: the paths and operations come from the table that the routes themselves read. The `/api/v1` forms are the
same without an api-version, and are named in the description only.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fanout.binding.refusals import ITEM_CODES
from service.compat.address import ROUTES, promised_status
from service.http.problems import PROBLEM_TYPES, title_of
from service.openapi.describe import HUB, path, query_parameter, refusal

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
# What `calls` and the checks of names find wrong with a call; each refusal begins with a sentence of its own.
_INVALID: Final = (
    "invalidRequest", "unknownHub", "invalidHub", "invalidApplication", "invalidUserId", "invalidGroupName",
    "invalidConnectionId", "emptyTarget", "argumentsNotAnArray", "tooDeep", "invalidTtl", "namesTooLong", "uriTooLong",
)  # fmt: skip
_SENTENCES: Final = {
    "invalidRequest": 'The body must be a JSON object with a string "target" and an array "arguments".',
    "unauthorized": "The call carries no token: send Authorization: Bearer, signed with the service's access key.",
    "wrongKey": "The token expired: the token must be signed with the service's access key, for the URL called.",
    "notFound": "The REST API of Azure SignalR Service has no such operation.",
}


def _sentence(code: str) -> str:
    return _SENTENCES.get(code) or (PROBLEM_TYPES[code].advice if code in PROBLEM_TYPES else ITEM_CODES[code])


def _in_text(*codes: str) -> dict[str, Any]:
    """Describe refusals that are one sentence, then the code: the vendor's SDK shows them as text of an exception."""
    shown = {code: f"{_sentence(code)}\nCode: {code}. Request: 9f2c4e1ab03d5577.\n" for code in codes}
    return {"text/plain": {"schema": {"type": "string"}, "examples": _examples(shown)}}


def _in_detail(*codes: str) -> dict[str, Any]:
    """Describe refusals in the shape of the service's own. The `/api/v1` form has them as text."""
    usual: dict[str, Any] = {"target": None, "details": [], "inner": None}
    shown = {code: {"code": code, "message": _sentence(code)} | usual for code in codes}
    schema = {"$ref": "#/components/schemas/ErrorDetail"}
    return {"application/json": {"schema": schema, "examples": _examples(shown)}} | _in_text(*codes)


def _examples(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {code: {"summary": title_of(code), "value": value} for code, value in shown.items()}


_TEXT: Final = {"type": "string"}
_ERROR_CODE: Final = {
    "x-ms-error-code": {"description": "What the vendor's SDK looks at.", "required": False, "schema": _TEXT}
}
_CHALLENGE: Final = {
    "WWW-Authenticate": {"description": "What is wrong with the token.", "required": False, "schema": _TEXT}
}


def _refusal(description: str, content: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "content": content, "headers": {**_ERROR_CODE, **(more or {})}}


_NO_TOKEN: Final = _refusal(
    "The token is missing or not accepted: one sentence, then its code.",
    _in_text("unauthorized", "wrongKey"),
    _CHALLENGE,
)
_UNAVAILABLE: Final = (
    "overloaded", "queueFull", "queueUnavailable", "queueSilent", "notConfigured", "serviceUnavailable",
)  # fmt: skip
# By name, because every operation has nearly all of them.
RESPONSES: Final[dict[str, Any]] = {
    "CompatibleInvalid": _refusal("The call is not valid: one sentence, then its code.", _in_text(*_INVALID)),
    "CompatibleNoToken": _NO_TOKEN,
    "CompatibleNotFound": _refusal(
        "There is no such operation, or what is asked for does not exist.", _in_detail("notFound")
    ),
    "CompatibleTooSlow": _refusal("The body did not come in time.", _in_detail("bodyTooSlow")),
    "CompatibleTooLarge": _refusal("The body is larger than the service takes.", _in_detail("bodyTooLarge")),
    "CompatibleOtherType": _refusal("The body is of a type that is not taken.", _in_detail("unsupportedMediaType")),
    "CompatibleUnexpected": refusal("An unexpected error.", "internal"),
    "CompatibleUnavailable": _refusal(
        "No room in time, the queue is away, or the service does not answer.", _in_detail(*_UNAVAILABLE)
    ),
    "CompatibleLoop": _refusal("A delivery of this service came back to it.", _in_detail("loop")),
}
_STATUSES: Final = ("400", "401", "404", "408", "413", "415", "500", "503", "508")
_REFUSALS: Final = {
    status: {"$ref": f"#/components/responses/{name}"} for status, name in zip(_STATUSES, RESPONSES, strict=True)
}
_OTHER: Final = {"description": "Any other answer of the service, as it came."}
_HEALTH: Final[dict[str, Any]] = {
    "summary": "Ask for the health of the service",
    "description": "Passed through to the SignalR service, without a token.",
    "tags": [TAG],
    "security": [{}],
    "responses": {
        "2XX": {"description": "What the service answered."},
        "default": _OTHER,
        **{status: _REFUSALS[status] for status in ("408", "413", "500", "503", "508")},
    },
}
_NOT_SERVED: Final[dict[str, tuple[str, str, str]]] = {  # operationId, summary and code by path
    "/server/": ("persistent-transport", "Not served: the persistent transport of the SDK", "persistentTransport"),
    "/api/v1/auth/accessKey": ("access-key", "Not served: keys for callers of Microsoft Entra ID", "entraCaller"),
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
    described["/api/health"] = {method: {"operationId": f"{method}-health"} | _HEALTH for method in ("get", "head")}
    for address, (name, summary, code) in _NOT_SERVED.items():
        described[address] = {
            "get": {
                "operationId": name,
                "summary": summary,
                "tags": [TAG],
                "security": [{}],
                "responses": {
                    "400": _refusal("It names the setting to change.", _in_text(code)),
                    "500": _REFUSALS["500"],
                    "508": _REFUSALS["508"],
                },
            }
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
        yield "default", _OTHER
