"""Which tokens the emulator accepts: those of REST calls and of clients, and the ones it issues itself.

A signature is checked with every key in force, the expiry with the injected clock. The audience is the URL of the
request without its query, as documented; tokens of older SDKs append `application` and `api-version` and leave the
port out. Its host is that of the `Host` header or of the configured endpoint, and its path must be escaped exactly as
in the request. A refusal is a 401 whose WWW-Authenticate says why, as the service's is. No text contains a token.
Source: docs/sources.md, rest-tokens and client-tokens.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from emulator.client import Identity
from emulator.config import EmulatorConfig
from emulator.http import HttpError, Request
from fanout.clock import Clock
from fanout.signalr.credentials import ISSUER, USER_ID_CLAIM, InvalidTokenError, sign, verify

_EXPIRY_UNCHECKED = 1e12  # a leeway of 30,000 years: the expiry is checked here, with the injected clock
_NAME_IDENTIFIER = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
_USER_CLAIMS = (USER_ID_CLAIM, "nameid", _NAME_IDENTIFIER, "sub")
_TEMPORARY = "t-"
_REST_ALGORITHM = "HS256"
_MAX_CACHED = 20_000
_PARTS = 3
_HANDSHAKE_RANGE = range(1, 31)


def bearer_token(request: Request, *, in_query: bool = False) -> str:
    """Return the bearer token of a request, "" without one. The query is read only when there is no header."""
    header = request.header(b"authorization")
    if not header:
        return request.parameter("access_token") if in_query else ""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Credentials:
    """The keys in force, and the checks of tokens against them."""

    def __init__(self, config: EmulatorConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._endpoint = origins_of(config.endpoint)
        self._temporary: dict[str, tuple[str, float]] = {}
        self._verified: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"<Credentials {len(self._config.keys)} keys, {len(self._temporary)} temporary>"

    def check_rest(self, request: Request) -> None:
        """Check the token of a REST call, or raise a 401."""
        token = bearer_token(request)
        if token in self._config.entra_tokens:
            return
        self._check(token, rest_audiences(request, self._endpoint), algorithms=(_REST_ALGORITHM,))

    def check_client(self, request: Request, *, in_query: bool) -> dict[str, Any]:
        """Return the claims of a client's token, or raise a 401."""
        token = bearer_token(request, in_query=in_query)
        return self._check(token, client_audiences(request, self._endpoint), algorithms=(_REST_ALGORITHM, "HS512"))

    def issue_temporary_key(self) -> tuple[str, str]:
        """Return the id and the value of a new key that signs client tokens for a limited time."""
        key_id = _TEMPORARY + secrets.token_hex(8)
        key = secrets.token_urlsafe(33)
        self._temporary[key_id] = (key, self._clock.monotonic() + self._config.temporary_key_lifetime)
        return key_id, key

    def client_token(self, request: Request, hub: str, user: str, minutes: int) -> str:
        """Return a client token for the caller of `request`, signed with the primary key."""
        now = int(self._clock.wall())
        claims: dict[str, object] = {"nbf": now, "iat": now, "exp": now + minutes * 60, "iss": ISSUER}
        claims["aud"] = f"{request.scheme}://{request.header(b'host').lower()}/client/?hub={hub}"
        if user:
            claims[USER_ID_CLAIM] = user
        return sign(self._config.keys[0], claims)

    def _check(self, token: str, audiences: set[str], algorithms: tuple[str, ...]) -> dict[str, Any]:
        if not token:
            raise HttpError(401, "Unauthorized", "no token", headers=(("WWW-Authenticate", "Bearer"),))
        if len(token) > self._config.max_token:
            raise _unauthorized("AccessToken must not be longer than 4K")
        claims = self._verified.get(token)
        if claims is None:
            claims = self._signed_claims(token, algorithms)
        if self._config.check_expiry:
            self._check_expiry(claims)
        if self._config.check_audience and not any(_normal(name) in audiences for name in _audiences_of(claims)):
            raise _unauthorized("The audience is invalid")
        return claims

    def _signed_claims(self, token: str, algorithms: tuple[str, ...]) -> dict[str, Any]:
        """Return the claims of a correctly signed token. Tokens of the access keys are cached: they stay valid."""
        header, claims = _parts_of(token)
        if header.get("alg") not in algorithms:
            raise _unauthorized("The signature algorithm is not accepted")
        key_id = str(header.get("kid", ""))
        if self._config.check_signature:
            try:
                verify(token, self._keys(key_id), _audiences_of(claims), leeway=_EXPIRY_UNCHECKED)
            except InvalidTokenError as error:
                raise _unauthorized(str(error)) from None
        if header["alg"] == _REST_ALGORITHM and not key_id.startswith(_TEMPORARY):
            if len(self._verified) >= _MAX_CACHED:
                self._verified.clear()
            self._verified[token] = claims
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
    """Return what the claims say of a client: its user, and the settings of its connection."""
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


def _unauthorized(reason: str) -> HttpError:
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    return HttpError(401, "Unauthorized", reason, headers=(("WWW-Authenticate", challenge),))


def origins_of(url: str) -> tuple[str, ...]:
    """Return `scheme://host:port` and `scheme://host` of a URL in lower case, without duplicates."""
    parts = urlsplit(url.lower())
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return tuple(dict.fromkeys((f"{parts.scheme}://{parts.netloc}", f"{parts.scheme}://{host}")))


def _origins(request: Request, endpoint: tuple[str, ...]) -> dict[str, None]:
    host = request.header(b"host").lower()
    bare = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    own = (f"{request.scheme}://{host}", f"{request.scheme}://{bare}") if host else ()
    return dict.fromkeys((*own, *endpoint))


def rest_audiences(request: Request, endpoint: tuple[str, ...]) -> set[str]:
    """Return the audiences that a REST call's token may have. `endpoint` is `origins_of` the configured endpoint."""
    suffixes = ["", _query_of_older_sdks(request.raw_query)]
    return {origin + request.raw_path + suffix for origin in _origins(request, endpoint) for suffix in suffixes}


def client_audiences(request: Request, endpoint: tuple[str, ...]) -> set[str]:
    """Return the audiences that a client's token may have, with the hub as written and in lower case."""
    hub = request.parameter("hub")
    return {
        f"{origin}/client{slash}?hub={name}"
        for origin in _origins(request, endpoint)
        for slash in ("/", "")
        for name in (hub, hub.lower())
    }


def _query_of_older_sdks(raw_query: str) -> str:
    parts = raw_query.split("&")
    kept = [part for name in ("application=", "api-version=") for part in parts if part.startswith(name)]
    return "?" + "&".join(kept) if kept else ""
