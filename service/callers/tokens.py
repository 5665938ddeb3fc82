"""Callers who present a token (JWT) of an issuer that the settings name: Microsoft Entra ID, or any other.

Rules guarded: issuer, audience, expiry and algorithm are those of the settings, and the signature is one of the issuer.
A token that was verified is remembered until it expires, or until the issuer's keys change, so that a message does not
wait for the arithmetic of RSA; what is remembered is bounded. A token of another issuer may be the application's own,
which a gateway in front has judged: it makes nobody known, and negotiate goes on as without it.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from fanout.clock import Clock
from fanout.environment import variable_of
from fanout.errors import CallersUnavailableError, ConfigurationError
from fanout.log import Logger
from fanout.settings import Settings
from fanout.settings_rules import MAX_CALLER
from fanout.signalr.credentials import InvalidTokenError
from service.callers.caller import Caller
from service.callers.issuer import Fetch, Issuer, fetch_with, url_findings
from service.callers.jwks import CAN_VERIFY, INVALID_TOKEN, MAX_TOKEN, ReadToken, check_claims, read, verify
from service.callers.roles import caller_with, parse_roles, roles_in

_MAX_REMEMBERED: Final = 1024
_MAX_HEADERS: Final = 64
_STRANGE: Final = Caller(
    "wrong-token",
    refusal="The token is not of an issuer that this service knows.",
    code=INVALID_TOKEN,
    is_client=True,
)


class TokenCallers:
    """Recognises the callers of some issuers; `issuers` are by name."""

    def __init__(self, settings: Settings, issuers: Sequence[Issuer], clock: Clock) -> None:
        self._settings = settings
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._prefixes = {
            issuer.name: "jwt:" if number == 1 else f"jwt{number}:" for number, issuer in enumerate(issuers, 1)
        }
        self._meanings = parse_roles(settings.jwt_roles)
        self._clock = clock
        self._generation = 0
        self._remembered: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._headers: set[str] = set()  # first parts of tokens whose key is known

    def __repr__(self) -> str:
        return f"<TokenCallers of {', '.join(self._issuers)}>"

    def find(self, token: str) -> Caller | None:
        """Return who holds a token, also when it is not accepted: then the caller has a refusal. None for no JWT.

        Raise CallersUnavailableError where the issuer cannot be asked for the key of the token.
        """
        self._forget_old_keys()
        digest, now = hashlib.sha256(token.encode("latin-1", "replace")).digest(), self._clock.wall()
        known = self._remembered.get(digest)
        if known is not None and now < known[1]:
            return known[0]
        told = read(token) if len(token) <= MAX_TOKEN else None
        if told is None:
            return None
        if told.issuer not in self._issuers:
            return _STRANGE
        try:
            caller, until = self._verified(token, told, now)
        except InvalidTokenError as error:
            return replace(_STRANGE, refusal=f"{error}.")
        self._remember(digest, caller, until)
        return caller

    async def look_for_key(self, token: str) -> None:
        """Ask the issuer for the key of a token, where it is not known and was not asked for a moment ago."""
        header = token.partition(".")[0]
        if header in self._headers:
            return
        told = read(token) if len(token) <= MAX_TOKEN else None
        issuer = None if told is None else self._issuers.get(told.issuer)
        if told is None or issuer is None:
            return
        await issuer.look_for(told.kid)
        if issuer.key(told.kid) is not None and len(self._headers) < _MAX_HEADERS:
            self._headers.add(header)

    def warning(self) -> str:
        """Return what is wrong with the fetching of keys, "" for nothing."""
        return " ".join(issuer.warning for issuer in self._issuers.values() if issuer.warning)

    def age(self) -> float | None:
        """Return how many seconds ago the keys were fetched that were fetched first; None while some never were."""
        ages = [issuer.age() for issuer in self._issuers.values()]
        return max((age for age in ages if age is not None), default=None) if None not in ages else None

    async def run(self) -> None:
        """Fetch the keys of all issuers again and again."""
        async with asyncio.TaskGroup() as group:
            for issuer in self._issuers.values():
                group.create_task(issuer.run())

    def _verified(self, token: str, told: ReadToken, now: float) -> tuple[Caller, float]:
        settings, issuer = self._settings, self._issuers[told.issuer]
        if told.algorithm not in settings.jwt_algorithms:
            raise InvalidTokenError("The token is signed with an algorithm that is not accepted")
        key = issuer.key(told.kid)
        if key is None and issuer.may_have_others():
            raise CallersUnavailableError("The keys of the token's issuer cannot be fetched at the moment.")
        if key is None or not key.is_for(told.algorithm):
            raise InvalidTokenError("The token is signed with a key that its issuer does not publish for it")
        verify(token, key, told.algorithm)
        until = check_claims(told.claims, settings.jwt_audience, now, settings.jwt_leeway)
        name = self._name_of(told)
        return caller_with(name, roles_in(told.claims, settings.jwt_roles_claims), self._meanings), until

    def _name_of(self, told: ReadToken) -> str:
        name = next((text for each in self._settings.jwt_name_claims if (text := _text(told.claims, each))), "")
        if not name:
            raise InvalidTokenError("The token has no claim that names its caller")
        whole = self._prefixes[told.issuer] + name
        if len(whole) <= MAX_CALLER and whole.isprintable():
            return whole
        return self._prefixes[told.issuer] + hashlib.blake2b(name.encode(), digest_size=16).hexdigest()

    def _remember(self, digest: bytes, caller: Caller, until: float) -> None:
        self._remembered[digest] = caller, until
        self._remembered.move_to_end(digest)
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def _forget_old_keys(self) -> None:
        generation = sum(issuer.generation for issuer in self._issuers.values())
        if generation != self._generation:
            self._generation = generation
            self._remembered.clear()
            self._headers.clear()


class KeysFirst:
    """ASGI middleware that has the key of a request's token fetched before the request is handled."""

    def __init__(self, app: ASGIApp, tokens: TokenCallers) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        token = _bearer(scope)
        if token:
            await self._tokens.look_for_key(token)
        await self._app(scope, receive, send)


def _bearer(scope: Scope) -> str:
    # A token that may be a JWT, "" for none.
    for name, value in scope.get("headers", ()):
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" and "." in token else ""
    return ""


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def open_tokens(settings: Settings, clock: Clock, log: Logger, fetch: Fetch | None = None) -> TokenCallers | None:
    """Return what recognises the callers of the issuers of the settings; None where there are none."""
    if not settings.jwt_issuers or settings.auth == "none":
        return None
    fetch = fetch or fetch_with(settings)
    issuers = [Issuer(name, settings.jwt_jwks_url, fetch, clock, log) for name in settings.jwt_issuers]
    return TokenCallers(settings, issuers, clock)


def check_tokens(settings: Settings) -> None:
    """Raise ConfigurationError with everything about tokens that cannot work."""
    findings = [*_missing(settings), *_unreadable(settings)]
    if findings:
        raise ConfigurationError(*findings)


def _missing(settings: Settings) -> Iterator[str]:
    issuers, audience, url = map(variable_of, ("jwt_issuers", "jwt_audience", "jwt_jwks_url"))
    if not settings.jwt_issuers:
        if settings.jwt_audience or settings.jwt_jwks_url:
            yield f"{issuers} is not set, so no token is accepted: name the issuer."
        return
    if not settings.jwt_audience:
        yield (
            f"{audience} is not set: name what the tokens of callers are for. With Entra ID it is the client id of the "
            "app registration of this service, or its Application ID URI."
        )
    if settings.jwt_jwks_url and len(settings.jwt_issuers) > 1:
        yield f"{url} is for one issuer: leave it out, and each is asked for its own."
    if not CAN_VERIFY:
        yield f"{issuers}: tokens need an extra: pip install 'signalr-fanout[jwt]'."


def _unreadable(settings: Settings) -> Iterator[str]:
    issuers = [("jwt_issuers", url) for url in settings.jwt_issuers]
    yield from url_findings([*issuers, ("jwt_jwks_url", settings.jwt_jwks_url)])
    try:
        parse_roles(settings.jwt_roles)
    except ValueError as error:
        yield f"{variable_of('jwt_roles')}: {error}."
