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
from fanout.signalr.credentials import CLOSES, CLOSES_AT, DETAILED_ERRORS
from fanout.signalr.message import Scope
from service.http.json_object import enumerated, object_of
from service.negotiate.id_token import claims_of

_OPTIONS = ("enableDetailedErrors", "closeOnAuthenticationExpiration")
_MEMBERS = ("userId", "claims", "idToken", "claimTypeList", "lifetimeSeconds", *_OPTIONS)
_SHORTEST, _LONGEST = 60, 86_400  # seconds, as FANOUT_NEGOTIATE_LIFETIME
_MAX_DEPTH = 16  # levels of nested claims
_HEADER_OF = {"principal-id": "x-ms-client-principal-id", "principal-name": "x-ms-client-principal-name"}


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """For whom a token is asked; `user_id` is None for a client without a user.

    `lifetime` of the token is in seconds. `detailed_errors`: the client sees the reason of a close. `closes`: its
    connection is closed when the token expires. None is for what the settings say.
    """

    user_id: str | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    lifetime: float | None = None
    detailed_errors: bool | None = None
    closes: bool | None = None


def identity_from_settings(settings: Settings, headers: Headers, query: QueryParams) -> ClientIdentity | None:
    """Return the client that the settings find in a request; None when it may not have a token."""
    for source in settings.negotiate_user:
        user_id = _user_of_query(query) if source == "query" else _user_of_header(headers, _HEADER_OF[source])
        if user_id:
            return ClientIdentity(check_id(Scope.USER, user_id))
    return ClientIdentity() if settings.negotiate_anonymous else None


def steering_claims(identity: ClientIdentity, settings: Settings, expires: float) -> dict[str, str]:
    """Return the claims that tell the service how to treat the client. `expires` is in unix seconds."""
    detailed = settings.negotiate_detailed_errors if identity.detailed_errors is None else identity.detailed_errors
    closes = settings.negotiate_close_on_expiration if identity.closes is None else identity.closes
    claims = {DETAILED_ERRORS: "True"} if detailed else {}
    return claims | ({CLOSES: "true", CLOSES_AT: str(int(expires))} if closes else {})


def identity_from_caller(body: bytes, query: QueryParams) -> ClientIdentity:
    """Return the client that a caller names: in `?userId=`, and in an optional body.

    `{"userId":..,"claims":{..},"idToken":..,"claimTypeList":[..],"lifetimeSeconds":..,"enableDetailedErrors":..,
    "closeOnAuthenticationExpiration":..}`, each of them optional. `claims` count before those of the idToken.
    """
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
    named_claims = claims_of(document.get("idToken"), document.get("claimTypeList"))
    if _is_deep(named_claims):
        raise BadRequestError(f"Its claims are nested more than {_MAX_DEPTH} levels deep.", pointer="/idToken")
    chosen = user_id or named
    detailed, closes = (_switch(document, name) for name in _OPTIONS)
    return ClientIdentity(
        check_id(Scope.USER, chosen) if chosen else None,
        {**named_claims, **(claims or {})},
        _lifetime(document.get("lifetimeSeconds")),
        detailed,
        closes,
    )


def _switch(document: Mapping[str, Any], name: str) -> bool | None:
    value = document.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise BadRequestError(f"{name} must be true or false.", pointer=f"/{name}")


def _lifetime(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _SHORTEST <= value <= _LONGEST:
        detail = f"lifetimeSeconds must be a number from {_SHORTEST} to {_LONGEST:,}."
        raise BadRequestError(detail, pointer="/lifetimeSeconds")
    return float(value)


def names_somebody(body: bytes) -> bool:
    """Return whether a body asks for a user, claims or options; what is not such a document asks for nothing."""
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
    return (
        object_of(body, _MEMBERS, f"an object with {enumerated(_MEMBERS)}, each of them optional, or empty")
        if body.strip()
        else {}
    )


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
