"""Makes the tokens of clients: signed with the access key, or, where the service is called by identity, as it allows.

Source: docs/sources.md, client-tokens. Rules guarded: with an identity tokens are signed with a temporary key of the
service, whose id they carry. It is got once for all clients and replaced so early that a token of an hour never
outlives it. Where the service gives no such key it is asked for each token, which cannot carry claims.
"""

from typing import Final, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from fanout.clock import Clock
from fanout.errors import NotConfiguredError, TokenUnavailableError
from fanout.renewal import Renewed, Term
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import SigningKey, client_token
from service.compat.questions import Answer, Question, Service, ServiceUnavailableError
from service.identities import Identities
from service.negotiate.identity import ClientIdentity

T = TypeVar("T")

_KEY_PATH: Final = "/api/v1/auth/accessKey"  # as the vendor's SDK asks for it
_API_VERSION: Final = "2022-11-01"  # the first that has :generateToken
# A key is good for 90 minutes. After 25 it is renewed, and after 60 it signs nothing more.
_RENEWED_AFTER, _USED_FOR = 25 * 60.0, 60 * 60.0
_WITHOUT_KEY: Final = 10 * 60.0  # seconds after which a service that gave no key is asked for one again
_NO_KEY: Final = frozenset({403, 404, 405, 501})
_OK: Final = 200
_FORBIDDEN: Final = 403
_ROLE: Final = "The identity needs the role SignalR Service Owner for it."


class ClientTokens(Protocol):
    """Makes tokens for the clients of one service."""

    async def issue(self, hub: str, identity: ClientIdentity, now: float, lifetime: float) -> str:
        """Return a token for `hub` (lower case, application prefix included)."""


class SignedTokens:
    """Signs tokens with the access key."""

    def __init__(self, service: ConnectionString) -> None:
        self._service = service

    async def issue(self, hub: str, identity: ClientIdentity, now: float, lifetime: float) -> str:
        return client_token(
            self._service, hub, user_id=identity.user_id, claims=identity.claims, now=now, lifetime=lifetime
        )


class IdentityClientTokens:
    """Signs tokens with a temporary key of the service, or has the service make them."""

    def __init__(self, service: ConnectionString, asked: Service, clock: Clock, identities: Identities) -> None:
        self._service = service
        self._asked = asked
        self._clock = clock
        self._keys: Renewed[SigningKey | None] = identities.renewed("key for client tokens", self._fetch_key)

    async def issue(self, hub: str, identity: ClientIdentity, now: float, lifetime: float) -> str:
        try:
            key = (await self._keys.get()).value
        except TokenUnavailableError:  # the reason is in the log: it is not for callers
            raise ServiceUnavailableError("There is no key to sign client tokens with now.") from None
        if key is None:
            return await self._made_by_service(hub, identity, lifetime)
        return client_token(
            self._service, hub, user_id=identity.user_id, claims=identity.claims, now=now, lifetime=lifetime, key=key
        )

    async def _fetch_key(self) -> Term[SigningKey | None]:
        answer = await self._asked.ask(Question("GET", _KEY_PATH, "", {}))
        now = self._clock.wall()
        if answer.status in _NO_KEY:
            return Term.of(None, now=now, ends_at=now + _WITHOUT_KEY)
        found = _decoded(answer, _TemporaryKey)
        if not found.value or not found.key_id:
            raise TokenUnavailableError("the service gave an empty one")
        key = SigningKey(found.value, found.key_id)
        return Term.of(key, now=now, ends_at=now + _USED_FOR, renew_at=now + _RENEWED_AFTER)

    async def _made_by_service(self, hub: str, identity: ClientIdentity, lifetime: float) -> str:
        if identity.claims:
            raise NotConfiguredError(
                "The service gives no key to sign client tokens with, and those that it makes itself carry no claims "
                f"and no options of the client. {_ROLE}"
            )
        minutes = max(1, int(lifetime // 60))
        query = {"api-version": _API_VERSION, "minutesToExpire": str(minutes)}
        if identity.user_id is not None:
            query["userId"] = identity.user_id
        path = f"/api/hubs/{quote(hub, safe='')}/:generateToken"
        answer = await self._asked.ask(Question("POST", path, urlencode(query, quote_via=quote), {}))
        try:
            return _decoded(answer, _GeneratedToken).token
        except TokenUnavailableError as error:
            raise ServiceUnavailableError(f"The SignalR service makes no client token: {error}.") from None


class _TemporaryKey(msgspec.Struct):
    value: str = msgspec.field(name="AccessKey")
    key_id: str = msgspec.field(name="KeyId")


class _GeneratedToken(msgspec.Struct):
    token: str


def client_tokens_of(service: ConnectionString, asked: Service, clock: Clock, identities: Identities) -> ClientTokens:
    """Return what makes the tokens for clients of a service."""
    if service.entra is None:
        return SignedTokens(service)
    return IdentityClientTokens(service, asked, clock, identities)


def _decoded(answer: Answer, kind: type[T]) -> T:
    if answer.status != _OK:
        role = f" {_ROLE}" if answer.status == _FORBIDDEN else ""
        raise TokenUnavailableError(f"the service answered {answer.status}.{role}")
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError:
        raise TokenUnavailableError("the service answered with something else") from None
