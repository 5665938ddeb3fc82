"""Checks the token that a client of the service's REST API presents: whoever has the access key may call.

Source: docs/sources.md, rest-tokens. Rules guarded: the algorithm is pinned, `kid` is never looked up (it is another
number in every process of the vendor's SDK), and a token for one URL opens no other one. Audiences are compared segment
by segment after decoding, so that either way of escaping is accepted while `a%2Fb` never equals `a/b`. The signature
is checked here and not by PyJWT: every call has a token of its own, and `now` is the caller's. No text shows a token.
"""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote_to_bytes, urlsplit

import msgspec

from fanout.secret import Secret
from fanout.signalr.credentials import MAX_TOKEN_LENGTH, InvalidTokenError

_PARTS: Final = 3
_SCHEMES: Final = ("http", "https")
_NAMED: Final = frozenset({"application", "api-version"})
# What nearly every call has in common is read once. Longer ones are read each time, so that nobody fills the memory.
_REMEMBERED: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class CalledUrl:
    """The URL of a call as it arrived: `host` is the Host header, path and query are still escaped."""

    host: str
    raw_path: str
    raw_query: str


@dataclass(frozen=True, slots=True)
class AccessTokens:
    """The keys in force, primary and secondary, and the URLs of the service that an audience may name."""

    keys: Sequence[Secret]
    endpoints: Sequence[str]

    def check(self, token: str, called: CalledUrl, now: float) -> None:
        """Accept the token of a call; InvalidTokenError names the reason. `now` is in unix seconds."""
        claims = _signed_claims(token, [key.value for key in self.keys if key.value])
        expires = claims.get("exp")
        if isinstance(expires, bool) or not isinstance(expires, int | float):
            raise InvalidTokenError("The token has no expiration")
        if expires <= now:
            raise InvalidTokenError("The token expired")
        audiences = _audiences(claims)
        if any(endpoint + called.raw_path in audiences for endpoint in self.endpoints):
            return  # as the SDK writes it: nothing has to be taken apart
        hosts = _hosts(called.host, tuple(self.endpoints))
        if not any(_names(audience, hosts, called) for audience in audiences):
            raise InvalidTokenError("The audience is invalid")


class WrongKeyError(InvalidTokenError):
    """The token was signed with another key."""


def signer_of(tokens: Sequence[tuple[str, AccessTokens]], token: str, called: CalledUrl, now: float) -> str:
    """Return the name of the endpoint whose key signed a token; InvalidTokenError says why there is none.

    Where a key fits, what is wrong besides is said, and not that the other keys do not fit.
    """
    reason = InvalidTokenError("The signature is invalid")
    for name, accepted in tokens:
        try:
            accepted.check(token, called, now)
        except WrongKeyError:
            continue
        except InvalidTokenError as error:
            reason = error
        else:
            return name
    raise reason


def _signed_claims(token: str, keys: Iterable[str]) -> Mapping[str, Any]:
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidTokenError("AccessToken must not be longer than 4K")
    parts = token.encode("utf-8", "replace").split(b".")
    if len(parts) != _PARTS:
        raise InvalidTokenError("The token is malformed")
    if not (_is_pinned if len(parts[0]) <= _REMEMBERED else _is_pinned.__wrapped__)(parts[0]):
        raise InvalidTokenError("The signature algorithm is not accepted")
    claims = _object(parts[1])
    signed = parts[0] + b"." + parts[1]
    # A list, not a generator: how long the check takes says nothing of which key it was.
    matches = [hmac.compare_digest(_signature(key, signed), parts[2]) for key in keys if key]
    if not any(matches):
        raise WrongKeyError("The signature is invalid")
    return claims


@lru_cache(maxsize=256)
def _is_pinned(header: bytes) -> bool:
    fields = _object(header)
    return fields.get("alg") == "HS256" and "crit" not in fields


def _object(part: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(urlsafe_b64decode(part + b"=="))
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise InvalidTokenError("The token is malformed") from None
    if not isinstance(value, dict):
        raise InvalidTokenError("The token is malformed")
    return value


def _signature(key: str, signed: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(key.encode(), signed, "sha256")).rstrip(b"=")


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    named = claims.get("aud")
    return [each for each in (named if isinstance(named, list) else [named]) if isinstance(each, str)]


def _names(audience: str, hosts: frozenset[str], called: CalledUrl) -> bool:
    """Return whether `audience` is the URL called, whatever its port and with or without its query."""
    try:
        parts = urlsplit(audience)
    except ValueError:
        return False
    if parts.scheme not in _SCHEMES or parts.fragment or _hostname(parts) not in hosts:
        return False
    same = parts.path == called.raw_path or _segments(parts.path) == _segments(called.raw_path)
    return same and _query_agrees(parts.query, called.raw_query)


def _hosts(called: str, endpoints: tuple[str, ...]) -> frozenset[str]:
    known = _known_hosts if len(called) <= _REMEMBERED else _known_hosts.__wrapped__
    return known(called, endpoints)


@lru_cache(maxsize=256)
def _known_hosts(called: str, endpoints: tuple[str, ...]) -> frozenset[str]:
    return frozenset({_host(f"//{called}"), *map(_host, endpoints)} - {""})


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _hostname(parts: SplitResult) -> str:
    try:
        return parts.hostname or ""
    except ValueError:
        return ""


def _segments(raw_path: str) -> list[bytes]:
    return [unquote_to_bytes(segment) for segment in raw_path.split("/")]


@lru_cache(maxsize=256)
def _short_query_agrees(named: str, called: str) -> bool:
    return _any_query_agrees(named, called)


def _query_agrees(named: str, called: str) -> bool:
    short = len(named) + len(called) <= _REMEMBERED
    return (_short_query_agrees if short else _any_query_agrees)(named, called)


def _any_query_agrees(named: str, called: str) -> bool:
    """Return whether the audience names only `application` and `api-version`, each as it is in the call."""
    if not named:
        return True
    pairs = _pairs(named)
    return pairs.keys() <= _NAMED and pairs.items() <= _pairs(called).items()


def _pairs(query: str) -> dict[str, str]:
    return {name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)}
