"""What the data-plane REST API takes, as far as this product calls it: facts of the published OpenAPI files, by hand.

Source: the data-plane OpenAPI files, api-version 2022-06-01. Kept here in a form of our own so that the tests need no
file from elsewhere; where those files are at hand, a test compares the two.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

import orjson

API_VERSION = "2022-06-01"
_HUB = re.compile(r"[A-Za-z][A-Za-z0-9_`,.\[\]]{0,127}")
_BLANK_OR_LONG = re.compile(r"(?s)\s+|.{1025,}")
_ROOT = "/api/hubs/{hub}"
_COMMON = frozenset({"api-version", "application"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `query` are the parameters it may have; a `body` is a JSON message; `success` are its statuses."""

    method: str
    path: str
    query: frozenset[str]
    body: bool
    success: frozenset[int]


def _operation(method: str, path: str, success: int, *query: str, body: bool = False) -> Operation:
    return Operation(method, _ROOT + path, _COMMON | {*query}, body, frozenset({success}))


OPERATIONS = (
    _operation("POST", "/:send", 202, "excluded", body=True),
    _operation("POST", "/users/{user}/:send", 202, body=True),
    _operation("POST", "/groups/{group}/:send", 202, "excluded", body=True),
    _operation("POST", "/connections/{connectionId}/:send", 202, body=True),
    _operation("PUT", "/users/{user}/groups/{group}", 200, "ttl"),
    _operation("DELETE", "/users/{user}/groups/{group}", 204),
    _operation("DELETE", "/users/{user}/groups", 204),
    _operation("PUT", "/groups/{group}/connections/{connectionId}", 200),
    _operation("DELETE", "/groups/{group}/connections/{connectionId}", 200),
    _operation("DELETE", "/connections/{connectionId}/groups", 200),
    _operation("DELETE", "/connections/{connectionId}", 200, "reason"),
    _operation("POST", "/users/{user}/:closeConnections", 204, "excluded", "reason"),
    _operation("POST", "/groups/{group}/:closeConnections", 204, "excluded", "reason"),
)


def operation_of(method: str, path: str) -> Operation | None:
    """Find the operation of a call; None when there is none."""
    return next((op for op in OPERATIONS if op.method == method and names_in(op.path, path) is not None), None)


def names_in(template: str, path: str) -> dict[str, str] | None:
    """Read the path's parameters, unescaped; None when the path is of another template."""
    wanted, given = template.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    names = {}
    for want, have in zip(wanted, given, strict=True):
        if want.startswith("{"):
            names[want.strip("{}")] = unquote(have, errors="strict")
        elif want != have:
            return None
    return names


def problems_of(method: str, target: str, body: bytes) -> list[str]:
    """Return everything about a call that the API's description does not allow."""
    path, _, query = target.partition("?")
    operation = operation_of(method, path)
    if operation is None:
        return [f"there is no {method} {path}"]
    names = names_in(operation.path, path) or {}
    return [*_name_problems(names), *_query_problems(operation, query), *_body_problems(operation, body)]


def _name_problems(names: dict[str, str]) -> list[str]:
    problems = [f"{name} is empty" for name, value in names.items() if not value]
    if not _HUB.fullmatch(names["hub"]):
        problems.append("the hub's name does not match its pattern")
    if _BLANK_OR_LONG.fullmatch(names.get("group", "g")):
        problems.append("the group's name does not match its pattern")
    return problems


def _query_problems(operation: Operation, query: str) -> list[str]:
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    given = [name for name, _ in pairs]
    problems = [f"unknown parameter {name}" for name in given if name not in operation.query]
    problems += [f"{name} stands there twice" for name in {*given} - {"excluded"} if given.count(name) > 1]
    if dict(pairs).get("api-version") != API_VERSION:
        problems.append("api-version is missing or another one")
    ttl = dict(pairs).get("ttl", "0")
    if not (ttl.isdigit() and int(ttl) < 2**31):
        problems.append("ttl is no int32")
    return problems


def _body_problems(operation: Operation, body: bytes) -> list[str]:
    if not operation.body:
        return ["a body where there is none"] if body else []
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ["the body is no JSON"]
    if not isinstance(document, dict) or not {*document} <= {"target", "arguments"}:
        return ["the body is no message"]
    problems = [] if isinstance(document.get("target"), str) and document["target"] else ["target is missing"]
    return problems if isinstance(document.get("arguments", []), list) else [*problems, "arguments are no array"]
