"""Whose token a negotiation asks for. Pure.

Source: contract 2.1 and 3.4. Rules guarded: only a caller that proved itself names users and claims; for everybody else
the settings list the places to look at, in order, and an identity header that stands twice is refused, because one of
the two did not come from the gateway.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, QueryParams

from fanout.binding.names import check_id
from fanout.errors import BadRequestError
from fanout.settings import Settings
from fanout.signalr.message import Scope
from service.http.json_object import object_of

_MEMBERS = ("userId", "claims")
_HEADER_OF = {"principal-id": "x-ms-client-principal-id", "principal-name": "x-ms-client-principal-name"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose token is wanted: `user_id` is None for a client without a user."""

    user_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


def wanted_by_stranger(settings: Settings, headers: Headers, query: QueryParams) -> Wanted | None:
    """Find the user of a caller that did not prove itself; None when it may not have a token."""
    for source in settings.negotiate_user:
        user_id = _user_of_query(query) if source == "query" else _user_of_header(headers, _HEADER_OF[source])
        if user_id:
            return Wanted(check_id(Scope.USER, user_id))
    return Wanted() if settings.negotiate_anonymous else None


def wanted_by_caller(body: bytes, query: QueryParams) -> Wanted:
    """Read what a proven caller asks for: `?userId=`, and an optional body `{"userId":..,"claims":{..}}`."""
    named = _user_of_query(query)
    document = _document(body)
    user_id, claims = document.get("userId"), document.get("claims")
    if user_id is not None and not isinstance(user_id, str):
        raise BadRequestError("userId must be a string.", pointer="/userId")
    if claims is not None and not isinstance(claims, dict):
        raise BadRequestError("claims must be an object.", pointer="/claims")
    if named and user_id and named != user_id:
        raise BadRequestError("The query and the body name different users.", pointer="/userId")
    chosen = user_id or named
    return Wanted(check_id(Scope.USER, chosen) if chosen else None, claims or {})


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
        raise BadRequestError(f"The header {name} stands more than once.")
    if not values:
        return ""
    try:
        return values[0].encode("latin-1").decode()  # ASGI reads header bytes as Latin-1, gateways write UTF-8
    except UnicodeDecodeError:
        return values[0]
