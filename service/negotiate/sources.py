"""Finds the client of a request that names nobody itself: where the settings say, in their order. Pure.

Source: docs/sources.md, client-tokens and principal-headers. Rules guarded: a header is believed from the gateways that
the settings name and from nobody else, because anybody can send one. An identity header that is present twice is
refused, because one of the two did not come from the gateway. Claims come from where the user came from, and only those
that the settings name.
"""

import base64
import binascii
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
from starlette.datastructures import Headers, QueryParams

from fanout.binding.names import check_id
from fanout.errors import BadRequestError
from fanout.settings import Settings
from fanout.signalr.message import Scope
from service.negotiate.identity import ClientIdentity, is_deep, user_of_query

PRINCIPAL: Final = "x-ms-client-principal"
_HEADER_OF: Final = {"principal-id": f"{PRINCIPAL}-id", "principal-name": f"{PRINCIPAL}-name"}
_URL_SAFE: Final = str.maketrans("-_", "+/")


class _Claim(msgspec.Struct):
    """A claim as App Service Authentication writes it."""

    typ: str
    val: str


class _Principal(msgspec.Struct):
    """The document in the header; what else it has is not read."""

    claims: list[_Claim] = []


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """What a request says of its client. `peer` is the address it came from, "" for none.

    `token` are the claims of a token that was verified, None without one.
    """

    headers: Headers
    query: QueryParams
    peer: str
    token: Mapping[str, Any] | None = None


def identity_from_settings(settings: Settings, request: ClientRequest) -> ClientIdentity | None:
    """Return the client that the settings find in a request; None when it may not have a token."""
    believed = is_believed(settings.negotiate_peers, request.peer)
    for source in settings.negotiate_user:
        kind, _, name = source.partition(":")
        claims: dict[str, Any] = {}
        if kind == "query":
            user_id = user_of_query(request.query, name or "userId")
        elif kind == "token":
            user_id, claims = _user_of_token(settings, request.token or {}, name)
        elif believed:
            user_id, claims = _user_of_gateway(request.headers, kind, name), _claims(settings, request.headers)
        else:
            continue
        if user_id:
            return ClientIdentity(check_id(Scope.USER, user_id), claims)
    return ClientIdentity() if settings.negotiate_anonymous else None


def is_believed(peers: tuple[str, ...], peer: str) -> bool:
    """Return whether identity headers are taken from this address."""
    if "*" in peers:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in _networks(peers))


@lru_cache(maxsize=16)
def _networks(peers: tuple[str, ...]) -> Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(each) for each in peers]


def _user_of_token(settings: Settings, token: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    found = token.get(name)
    return (found, named_claims(token, settings.negotiate_claims)) if isinstance(found, str) else ("", {})


def _user_of_gateway(headers: Headers, kind: str, name: str) -> str:
    if kind != "principal":
        return _header(headers, _HEADER_OF.get(kind, name))
    found = principal_claims(_header(headers, PRINCIPAL)).get(name, "")
    if isinstance(found, list):
        raise BadRequestError(f"The header {PRINCIPAL} has more than one claim {name}, and one user is needed.")
    return found


def _claims(settings: Settings, headers: Headers) -> dict[str, Any]:
    if not settings.negotiate_claims:
        return {}
    return named_claims(principal_claims(_header(headers, PRINCIPAL)), settings.negotiate_claims)


def named_claims(claims: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the claims with these exact names."""
    chosen = {name: claims[name] for name in names if claims.get(name) is not None}
    if is_deep(chosen):
        raise BadRequestError("The claims of the client are nested too deeply.")
    return chosen


def principal_claims(text: str) -> dict[str, str | list[str]]:
    """Return the claims in the value of the header, by type, a list where a type occurs again; {} for none."""
    if not text:
        return {}
    try:
        content = base64.b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4), validate=True)
        principal = msgspec.json.decode(content, type=_Principal)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
        raise BadRequestError(f"The header {PRINCIPAL} is not a principal: JSON with claims, in Base64.") from None
    found: dict[str, str | list[str]] = {}
    for claim in principal.claims:
        known = found.get(claim.typ)
        if known is None:
            found[claim.typ] = claim.val
        elif isinstance(known, list):
            known.append(claim.val)
        else:
            found[claim.typ] = [known, claim.val]
    return found


def bearer_of(headers: Headers) -> str:
    """Return the bearer token of a request, "" for none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _header(headers: Headers, name: str) -> str:
    values = headers.getlist(name)
    if len(values) > 1:
        raise BadRequestError(f"The header {name} is present more than once.")
    if not values:
        return ""
    try:
        return values[0].encode("latin-1").decode()  # ASGI reads header bytes as Latin-1, gateways write UTF-8
    except UnicodeDecodeError:
        return values[0]
