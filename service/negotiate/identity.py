"""For whom a caller with the right to negotiate asks a token, and what it asks besides. Pure.

Rules guarded: what cannot be meant is refused with a pointer to it. A connection that does not exist yet cannot be
added to a group, so groups are those of a user, and each membership has a lifetime. Source: docs/sources.md,
client-tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.datastructures import QueryParams

from fanout.binding.action_item import MAX_MEMBERSHIP_TTL
from fanout.binding.names import check_id
from fanout.errors import BadRequestError
from fanout.settings import Settings
from fanout.signalr.credentials import CLOSES, CLOSES_AT, DETAILED_ERRORS
from fanout.signalr.message import Scope
from service.http.json_object import enumerated, object_of
from service.negotiate.id_token import claim_names, token_of

_OPTIONS = ("enableDetailedErrors", "closeOnAuthenticationExpiration")
_GROUPS = ("groups", "groupTtlSeconds")
_MEMBERS = ("userId", "claims", "idToken", "claimTypeList", "lifetimeSeconds", *_OPTIONS, *_GROUPS)
_OF_CLIENTS = ("idToken", "claimTypeList")  # what a client may say of itself, where its token is verified
_SHORTEST, _LONGEST = 60, 86_400  # seconds, as FANOUT_NEGOTIATE_LIFETIME
_MAX_DEPTH = 16  # levels of nested claims
MAX_GROUPS: Final = 100  # of one user that the service keeps


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """For whom a token is asked; `user_id` is None for a client without a user.

    `lifetime` of the token is in seconds. `detailed_errors`: the client sees the reason of a close. `closes`: its
    connection is closed when the token expires. None is for what the settings say. The user is added to `groups` for
    `group_ttl` seconds, None for as long as the token is valid. `until` is the unix time after which the token must not
    be valid, None for no such time.
    """

    user_id: str | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    lifetime: float | None = None
    detailed_errors: bool | None = None
    closes: bool | None = None
    groups: tuple[str, ...] = ()
    group_ttl: int | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks for. The claims of its idToken with these names are added to those of `identity`."""

    identity: ClientIdentity
    id_token: str = ""
    names: Sequence[str] = ()

    def with_claims(self, claims: Mapping[str, Any]) -> ClientIdentity:
        """Return the client, with what it takes from the claims of the idToken. Its own claims count before them."""
        chosen = {name: claims[name] for name in self.names if claims.get(name) is not None}
        if is_deep(chosen):
            raise BadRequestError(f"Its claims are nested more than {_MAX_DEPTH} levels deep.", pointer="/idToken")
        return replace(self.identity, claims=chosen | self.identity.claims)


def steering_claims(identity: ClientIdentity, settings: Settings, expires: float) -> dict[str, str]:
    """Return the claims that tell the service how to treat the client. `expires` is in unix seconds."""
    detailed = settings.negotiate_detailed_errors if identity.detailed_errors is None else identity.detailed_errors
    closes = settings.negotiate_close_on_expiration if identity.closes is None else identity.closes
    claims = {DETAILED_ERRORS: "True"} if detailed else {}
    return claims | ({CLOSES: "true", CLOSES_AT: str(int(expires))} if closes else {})


def asked_by_caller(body: bytes, query: QueryParams) -> Asked:
    """Return what a caller asks for in `?userId=` and in an optional body.

    `{"userId":..,"claims":{..},"idToken":..,"claimTypeList":[..],"lifetimeSeconds":..,"enableDetailedErrors":..,
    "closeOnAuthenticationExpiration":..,"groups":[..],"groupTtlSeconds":..}`, each of them optional.
    """
    document = _document(body)
    chosen = _user(document, query)
    claims = document.get("claims")
    if claims is not None and not isinstance(claims, dict):
        raise BadRequestError("claims must be an object.", pointer="/claims")
    if claims is not None and is_deep(claims):
        raise BadRequestError(f"claims are nested more than {_MAX_DEPTH} levels deep.", pointer="/claims")
    detailed, closes = (_switch(document, name) for name in _OPTIONS)
    groups = _groups(document, chosen)
    identity = ClientIdentity(
        check_id(Scope.USER, chosen) if chosen else None,
        dict(claims or {}),
        _lifetime(document.get("lifetimeSeconds")),
        detailed,
        closes,
        groups,
        _group_ttl(document.get("groupTtlSeconds"), groups),
    )
    return _token_asked_for(document, identity)


def _token_asked_for(document: Mapping[str, Any], identity: ClientIdentity) -> Asked:
    token, names = token_of(document.get("idToken")), claim_names(document.get("claimTypeList"))
    if names and not token:
        raise BadRequestError("claimTypeList names claims of an idToken, and there is none.", pointer="/claimTypeList")
    return Asked(identity, token, names)


def _user(document: Mapping[str, Any], query: QueryParams) -> str:
    named, user_id = user_of_query(query), document.get("userId")
    if user_id is not None and not isinstance(user_id, str):
        raise BadRequestError("userId must be a string.", pointer="/userId")
    if named and user_id and named != user_id:
        raise BadRequestError("The query and the body name different users.", pointer="/userId")
    return user_id or named


def _groups(document: Mapping[str, Any], user_id: str) -> tuple[str, ...]:
    groups = document.get("groups")
    if groups is None or groups == []:
        return ()
    if not isinstance(groups, list) or not all(isinstance(name, str) for name in groups) or len(groups) > MAX_GROUPS:
        raise BadRequestError(f"groups must be an array of at most {MAX_GROUPS} strings.", pointer="/groups")
    if not user_id:
        detail = "groups need a userId: a connection that does not exist yet cannot be added to a group, a user can."
        raise BadRequestError(detail, pointer="/groups")
    return tuple(dict.fromkeys(check_id(Scope.GROUP, name, f"/groups/{at}") for at, name in enumerate(groups)))


def _group_ttl(value: object, groups: Sequence[str]) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MEMBERSHIP_TTL:
        detail = f"groupTtlSeconds must be a whole number from 0 to {MAX_MEMBERSHIP_TTL}."
        raise BadRequestError(detail, pointer="/groupTtlSeconds")
    if not groups:
        raise BadRequestError("groupTtlSeconds is the lifetime of groups, and there are none.", pointer="/groups")
    return value


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


def asked_by_client(body: bytes, *, with_token: bool) -> Asked | None:
    """Return what a client asks for itself; None when it asks for what only a caller with the right to it may.

    A body that is no such document asks for nothing. `with_token`: the idToken of a client is verified, so it counts.
    """
    try:
        document = _document(body)
    except BadRequestError:
        return Asked(ClientIdentity())
    own = _OF_CLIENTS if with_token else ()
    if any(document.get(name) is not None for name in _MEMBERS if name not in own):
        return None
    return _token_asked_for(document, ClientIdentity())


def is_deep(value: object) -> bool:
    """Return whether a value is nested deeper than claims may be."""
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


def user_of_query(query: QueryParams, name: str = "userId") -> str:
    """Return a parameter that names the user, "" for none."""
    values = query.getlist(name)
    if len(values) > 1:
        raise BadRequestError(f"Name one {name} in the query.")
    return values[0] if values else ""
