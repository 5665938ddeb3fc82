"""For whom a negotiation asks a token. Pure.

Rules guarded: only a caller with the right to negotiate names users and claims. For others the settings list where the
user id comes from, in order. An identity header that is present twice is refused, because one of the two did not come
from the gateway. Source: docs/sources.md, client-tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, QueryParams

from fanout.binding.names import check_id
from fanout.errors import BadRequestError
from fanout.settings import Settings
from fanout.signalr.message import Scope
from service.http.json_object import object_of

_MEMBERS = ("userId", "claims")
_MAX_DEPTH = 16  # levels of nested claims
_HEADER_OF = {"principal-id": "x-ms-client-principal-id", "principal-name": "x-ms-client-principal-name"}


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """For whom a token is asked; `user_id` is None for a client without a user."""

    user_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


def identity_from_settings(settings: Settings, headers: Headers, query: QueryParams) -> ClientIdentity | None:
    """Return the client that the settings find in a request; None when it may not have a token."""
    for source in settings.negotiate_user:
        user_id = _user_of_query(query) if source == "query" else _user_of_header(headers, _HEADER_OF[source])
        if user_id:
            return ClientIdentity(check_id(Scope.USER, user_id))
    return ClientIdentity() if settings.negotiate_anonymous else None


def identity_from_caller(body: bytes, query: QueryParams) -> ClientIdentity:
    """Return the client that a caller names: in `?userId=`, and in an optional body `{"userId":..,"claims":{..}}`."""
    named = _user_of_query(query)
    document = _document(body)
    user_id, claims = document.get("userId"), document.get("claims")
    if user_id is not None and not isinstance(user_id, str):
        raise BadRequestError("userId must be a string.", pointer="/userId")
    if claims is not None and not isinstance(claims, dict):
        raise BadRequestError("claims must be an object.", pointer="/claims")
    if claims is not None and _is_deep(claims):
        raise BadRequestError(f"claims are nested more than {_MAX_DEPTH} levels deep.", pointer="/claims")
    if named and user_id and named != user_id:
        raise BadRequestError("The query and the body name different users.", pointer="/userId")
    chosen = user_id or named
    return ClientIdentity(check_id(Scope.USER, chosen) if chosen else None, claims or {})


def names_somebody(body: bytes) -> bool:
    """Return whether a body asks for a user or for claims; what is not such a document asks for nothing."""
    try:
        document = _document(body)
    except BadRequestError:
        return False
    return any(document.get(name) is not None for name in _MEMBERS)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return False
    return True


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _document(body: bytes) -> dict[str, Any]:
    return object_of(body, _MEMBERS, "an object with userId and claims, or empty") if body.strip() else {}


def _user_of_query(query: QueryParams) -> str:
    values = query.getlist("userId")
    if len(values) > 1:
        raise BadRequestError("Name one userId in the query.")
    return values[0] if values else ""


def _user_of_header(headers: Headers, name: str) -> str:
    values = headers.getlist(name)
    if len(values) > 1:
        raise BadRequestError(f"The header {name} is present more than once.")
    if not values:
        return ""
    try:
        return values[0].encode("latin-1").decode()  # ASGI reads header bytes as Latin-1, gateways write UTF-8
    except UnicodeDecodeError:
        return values[0]
