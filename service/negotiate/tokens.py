"""Verifies the tokens (JWT) that clients present of themselves: their own issuers, apart from those of callers.

Rules guarded: issuer, audience, expiry and algorithm are those of the settings, and the signature is one of the issuer.
Nothing of a token is kept. A bearer token of another issuer is no client's: a gateway in front may have judged it, and
negotiate goes on as without it.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fanout.clock import Clock
from fanout.environment import variable_of
from fanout.errors import CallersUnavailableError, ConfigurationError, UnauthorizedError
from fanout.log import Logger
from fanout.settings import Settings
from fanout.signalr.credentials import InvalidTokenError
from service.callers.issuer import Fetch, Issuer, fetch_with, url_findings
from service.callers.jwks import CAN_VERIFY, INVALID_TOKEN, MAX_TOKEN, ReadToken, check_claims, read, verify


class UserTokens:
    """Verifies the tokens of some issuers."""

    def __init__(self, settings: Settings, issuers: Sequence[Issuer], clock: Clock) -> None:
        self._settings = settings
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._clock = clock

    def __repr__(self) -> str:
        return f"<UserTokens of {', '.join(self._issuers)}>"

    async def claims(self, token: str) -> Mapping[str, Any] | None:
        """Return the claims of a token, None for one of another issuer and for what is no token.

        UnauthorizedError says why a token is not accepted. CallersUnavailableError: the issuer cannot be asked for its
        keys, so nobody can say.
        """
        told = read(token) if len(token) <= MAX_TOKEN else None
        issuer = None if told is None else self._issuers.get(told.issuer)
        if told is None or issuer is None:
            return None
        if issuer.key(told.kid) is None:  # who has a known key does not wait for an issuer that is slow
            await issuer.look_for(told.kid)
        try:
            self._verify(token, told, issuer)
        except InvalidTokenError as error:
            raise UnauthorizedError(f"{error}.", label=INVALID_TOKEN) from None
        return told.claims

    def warning(self) -> str:
        """Return what is wrong with the fetching of keys, "" for nothing."""
        return " ".join(issuer.warning for issuer in self._issuers.values() if issuer.warning)

    async def run(self) -> None:
        """Fetch the keys of all issuers again and again."""
        async with asyncio.TaskGroup() as group:
            for issuer in self._issuers.values():
                group.create_task(issuer.run())

    def _verify(self, token: str, told: ReadToken, issuer: Issuer) -> None:
        settings = self._settings
        if told.algorithm not in settings.jwt_algorithms:
            raise InvalidTokenError("The token is signed with an algorithm that is not accepted")
        key = issuer.key(told.kid)
        if key is None and issuer.may_have_others():
            raise CallersUnavailableError("The keys of the token's issuer cannot be fetched at the moment.")
        if key is None or not key.is_for(told.algorithm):
            raise InvalidTokenError("The token is signed with a key that its issuer does not publish for it")
        verify(token, key, told.algorithm)
        check_claims(told.claims, settings.negotiate_audience, self._clock.wall(), settings.jwt_leeway)


def open_user_tokens(settings: Settings, clock: Clock, log: Logger, fetch: Fetch | None = None) -> UserTokens | None:
    """Return what verifies the tokens of the issuers of the settings; None where there are none."""
    if not settings.negotiate_issuers:
        return None
    fetch = fetch or fetch_with(settings)
    url = settings.negotiate_jwks_url
    return UserTokens(settings, [Issuer(each, url, fetch, clock, log) for each in settings.negotiate_issuers], clock)


def check_user_tokens(settings: Settings) -> None:
    """Raise ConfigurationError with everything about these issuers that cannot work."""
    findings = [*_missing(settings), *_unreadable(settings)]
    if findings:
        raise ConfigurationError(*findings)


def _missing(settings: Settings) -> Iterator[str]:
    issuers, audience, url = map(variable_of, ("negotiate_issuers", "negotiate_audience", "negotiate_jwks_url"))
    if not settings.negotiate_issuers:
        uses = any(source.startswith("token:") for source in settings.negotiate_user)
        if uses or settings.negotiate_audience or settings.negotiate_jwks_url:
            yield f"{issuers} is not set, so no token is accepted: name the issuer of the clients' tokens."
        return
    if not settings.negotiate_audience:
        yield f"{audience} is not set: name what the clients' tokens are for, their `aud`."
    if settings.negotiate_jwks_url and len(settings.negotiate_issuers) > 1:
        yield f"{url} is for one issuer: leave it out, and each is asked for its own."
    if not CAN_VERIFY:
        yield f"{issuers}: tokens need an extra: pip install 'signalr-fanout[jwt]'."


def _unreadable(settings: Settings) -> Iterator[str]:
    issuers = [("negotiate_issuers", url) for url in settings.negotiate_issuers]
    yield from url_findings([*issuers, ("negotiate_jwks_url", settings.negotiate_jwks_url)])
