"""Checks who calls: REST tokens, client tokens, and the temporary keys that stand in for an Entra identity.

Source: contract 3.1-3.4 and 8.1 point 10. Signature by any key in force, expiry by our own clock (so tests can move
it), audience by the rules of `audience`. A refusal is a 401 whose WWW-Authenticate says why, as the service's does.
Rule guarded: a token never appears in a text, only its SHA-256 does, in the journal.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from emulator.audience import client_audiences, origins_of, rest_audiences
from emulator.client import Identity
from emulator.config import EmulatorConfig
from emulator.exchange import Call
from emulator.refusal import RefusedError
from fanout.clock import Clock
from fanout.signalr.credentials import USER_ID_CLAIM, InvalidTokenError, verify

_FOR_EVER = 1e12  # expiry is judged here, by the injected clock
_NAME_IDENTIFIER = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
_USER_CLAIMS = (USER_ID_CLAIM, "nameid", _NAME_IDENTIFIER, "sub")
_TEMPORARY = "t-"
_REST_ALGORITHM = "HS256"
_MOST_KNOWN = 20_000
_PARTS = 3
_HANDSHAKE_RANGE = range(1, 31)


def bearer_of(call: Call, *, in_query: bool = False) -> str:
    """Give the bearer token of a call, "" without one; the query is looked at only when there is no header."""
    header = call.header(b"authorization")
    if not header:
        return call.parameter("access_token") if in_query else ""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Credentials:
    """The keys in force and the check of every token against them."""

    def __init__(self, config: EmulatorConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._endpoint = origins_of(config.endpoint)
        self._temporary: dict[str, tuple[str, float]] = {}
        self._known_good: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"<Credentials {len(self._config.keys)} keys, {len(self._temporary)} temporary>"

    def check_rest(self, call: Call) -> None:
        """Pass, or raise a 401."""
        token = bearer_of(call)
        if token in self._config.entra_tokens:
            return
        self._check(token, rest_audiences(call, self._endpoint), algorithms=(_REST_ALGORITHM,))

    def check_client(self, call: Call, *, in_query: bool) -> dict[str, Any]:
        """Give the claims of a client's token, or raise a 401."""
        token = bearer_of(call, in_query=in_query)
        return self._check(token, client_audiences(call, self._endpoint), algorithms=(_REST_ALGORITHM, "HS512"))

    def issue_temporary_key(self) -> tuple[str, str]:
        """Make a key that signs client tokens for a while; give its id and the key."""
        key_id = _TEMPORARY + secrets.token_hex(8)
        key = secrets.token_urlsafe(33)
        self._temporary[key_id] = (key, self._clock.monotonic() + self._config.temporary_key_lifetime)
        return key_id, key

    def _check(self, token: str, audiences: set[str], algorithms: tuple[str, ...]) -> dict[str, Any]:
        if not token:
            raise RefusedError(401, "Unauthorized", "no token", headers=(("WWW-Authenticate", "Bearer"),))
        if len(token) > self._config.max_token:
            raise _unauthorized("AccessToken must not be longer than 4K")
        claims = self._known_good.get(token)
        if claims is None:
            claims = self._signed_claims(token, algorithms)
        if self._config.check_expiry:
            self._check_expiry(claims)
        if self._config.check_audience and not any(_normal(name) in audiences for name in _audiences_of(claims)):
            raise _unauthorized("The audience is invalid")
        return claims

    def _signed_claims(self, token: str, algorithms: tuple[str, ...]) -> dict[str, Any]:
        """Check the signature; what one of the lasting keys has signed is remembered, since it cannot change."""
        header, claims = _parts_of(token)
        if header.get("alg") not in algorithms:
            raise _unauthorized("The signature algorithm is not accepted")
        key_id = str(header.get("kid", ""))
        if self._config.check_signature:
            try:
                verify(token, self._keys(key_id), _audiences_of(claims), leeway=_FOR_EVER)
            except InvalidTokenError as error:
                raise _unauthorized(str(error)) from None
        if header["alg"] == _REST_ALGORITHM and not key_id.startswith(_TEMPORARY):
            if len(self._known_good) >= _MOST_KNOWN:
                self._known_good.clear()
            self._known_good[token] = claims
        return claims

    def _keys(self, key_id: str) -> tuple[str, ...]:
        if not key_id.startswith(_TEMPORARY):
            return self._config.keys
        key, expires = self._temporary.get(key_id, ("", 0.0))
        return (key,) if key and self._clock.monotonic() < expires else ()

    def _check_expiry(self, claims: Mapping[str, Any]) -> None:
        expires = claims.get("exp")
        if not isinstance(expires, int | float):
            raise _unauthorized("The token has no expiration")
        if expires + self._config.expiry_skew <= self._clock.wall():
            raise _unauthorized("The token expired")


def identity_of(claims: Mapping[str, Any], hub: str) -> Identity:
    """Read who a client is: `asrs.s.uid`, else the name identifier, and the system claims that change behaviour."""
    user = next((str(claims[name]) for name in _USER_CLAIMS if claims.get(name) not in {None, ""}), None)
    closes = str(claims.get("asrs.s.coae", "")).lower() == "true"
    handshake = str(claims.get("asrs.s.cht", ""))
    return Identity(
        hub=hub,
        user_id=user,
        detailed_errors=str(claims.get("asrs.s.derror", "")).lower() == "true",
        closes_at=_number(claims.get("asrs.s.aeo")) if closes else None,
        handshake_timeout=float(handshake) if handshake.isdigit() and int(handshake) in _HANDSHAKE_RANGE else None,
    )


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _normal(audience: str) -> str:
    scheme, separator, rest = audience.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{separator}{host.lower()}{slash}{path}"


def _audiences_of(claims: Mapping[str, Any]) -> list[str]:
    named = claims.get("aud")
    return [str(name) for name in named] if isinstance(named, list) else [str(named)]


def _parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise _unauthorized("The token is malformed")
    try:
        header, claims = (msgspec.json.decode(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise _unauthorized("The token is malformed") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _unauthorized("The token is malformed")
    return header, claims


def _unauthorized(reason: str) -> RefusedError:
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    return RefusedError(401, "Unauthorized", reason, headers=(("WWW-Authenticate", challenge),))
