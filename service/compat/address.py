"""Reads the address of a call to the service's REST API: which operation, on which hub, and the status it promises.

Source: docs/sources.md, operations and success-codes. Every form of the published versions is known: `/api/hubs` and
`/api/v1/hubs`, with `/:send` or without, and the membership of a user with the group first (1.0) or the user first.
A name is one segment, decoded after the split, so that `a%2Fb` is one name.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

_V1: Final = "1.0"
_V2020: Final = "2020-10-01"
ROUTES: Final[dict[tuple[str, ...], dict[str, str]]] = {
    (): {"POST": "send"},
    (":send",): {"POST": "send"},
    (":closeConnections",): {"POST": "close_all"},
    (":generateToken",): {"POST": "generate_token"},
    (":execute",): {"POST": "execute"},
    ("users", "U"): {"POST": "send", "GET": "user_exists", "HEAD": "user_exists"},
    ("users", "U", ":send"): {"POST": "send"},
    ("users", "U", ":closeConnections"): {"POST": "close_all"},
    ("users", "U", "groups"): {"DELETE": "remove_user_from_all"},
    ("users", "U", "groups", "G"): {
        "PUT": "add_user", "DELETE": "remove_user", "GET": "user_in_group", "HEAD": "user_in_group",
    },
    ("groups", "G"): {"POST": "send", "GET": "group_exists", "HEAD": "group_exists"},
    ("groups", "G", ":send"): {"POST": "send"},
    ("groups", "G", ":closeConnections"): {"POST": "close_all"},
    ("groups", "G", "connections"): {"GET": "list_connections"},
    ("groups", "G", "connections", "C"): {"PUT": "add_connection", "DELETE": "remove_connection"},
    ("groups", "G", "users", "U"): {
        "PUT": "add_user", "DELETE": "remove_user", "GET": "user_in_group", "HEAD": "user_in_group",
    },
    ("connections", "C"): {
        "POST": "send", "DELETE": "close", "GET": "connection_exists", "HEAD": "connection_exists",
    },
    ("connections", "C", ":send"): {"POST": "send"},
    ("connections", "C", ":invoke"): {"POST": "invoke"},
    ("connections", "C", "groups"): {"DELETE": "remove_connection_from_all"},
    ("connections", "C", "streams", "S", ":send"): {"POST": "stream_item"},
    ("connections", "C", "streams", "S", ":complete"): {"POST": "stream_complete"},
}  # fmt: skip
_NAMES: Final = {"users": "U", "groups": "G", "connections": "C", "streams": "S"}
_STATUS: Final = {
    "send": 202, "stream_item": 202, "stream_complete": 202, "close_all": 204, "add_user": 200, "remove_user": 204,
    "remove_user_from_all": 204, "add_connection": 200, "remove_connection": 200, "remove_connection_from_all": 200,
    "close": 200,
}  # fmt: skip
_STATUS_V1: Final = {"add_user": 202, "remove_user": 202, "remove_user_from_all": 202, "close": 202}
_STATUS_2020: Final = {"add_user": 202, "remove_user": 200, "remove_user_from_all": 200}


@dataclass(frozen=True, slots=True)
class Address:
    """An operation and its names; "" for a name that the operation has not. `v1` is the form without api-version."""

    operation: str
    hub: str
    user: str = ""
    group: str = ""
    connection: str = ""
    stream: str = ""
    v1: bool = False


def address_of(method: str, raw_path: str) -> Address | None:
    """Return what `method` on the escaped `raw_path` asks for, or None when the service has no such operation."""
    try:
        prefix, segments = _split(raw_path)
    except UnicodeDecodeError:
        return None
    if prefix is None or not segments or not segments[0]:
        return None
    hub, rest = segments[0], segments[1:]
    operation = ROUTES.get(_shape(rest), {}).get(method)
    if operation is None or "" in rest:
        return None
    names = dict(zip(rest[::2], rest[1::2], strict=False))  # a last word has no name
    return Address(
        operation,
        hub,
        names.get("users", ""),
        names.get("groups", ""),
        names.get("connections", ""),
        names.get("streams", ""),
        v1=prefix == _V1,
    )


def promised_status(operation: str, api_version: str) -> int | None:
    """Return the status of a queued operation in an api-version ("1.0" to "2024-12-01"), None for what is asked."""
    older = _STATUS_V1 if api_version == _V1 else _STATUS_2020 if api_version == _V2020 else {}
    return older.get(operation, _STATUS.get(operation))


def _split(raw_path: str) -> tuple[str | None, list[str]]:
    for prefix, version in (("/api/v1/hubs/", _V1), ("/api/hubs/", "")):
        if raw_path.startswith(prefix):
            return version, [unquote(part, errors="strict") for part in raw_path[len(prefix) :].split("/")]
    return None, []


def _shape(rest: list[str]) -> tuple[str, ...]:
    """Return the segments with each name replaced by the letter of its kind: names stand at the odd places."""
    return tuple(_NAMES.get(rest[at - 1], "") if at % 2 else word for at, word in enumerate(rest))
