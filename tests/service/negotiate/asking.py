"""Negotiations without the route around them."""

from starlette.datastructures import Headers, QueryParams

from fanout.settings import Settings
from service.negotiate.id_token import claims_of
from service.negotiate.identity import ClientIdentity, asked_by_caller
from service.negotiate.sources import ClientRequest
from service.negotiate.sources import identity_from_settings as _identity_from_settings

GATEWAY = "10.1.2.3"


def identity_from_caller(body: bytes, query: QueryParams) -> ClientIdentity:
    """Whom a caller with the right to negotiate names."""
    asked = asked_by_caller(body, query)
    return asked.with_claims(claims_of(asked.id_token)) if asked.id_token else asked.identity


def identity_from_settings(
    settings: Settings, headers: Headers, query: QueryParams, peer: str = GATEWAY
) -> ClientIdentity | None:
    """Whom the settings find in a request from this address."""
    return _identity_from_settings(settings, ClientRequest(headers, query, peer))
