"""The keys that an issuer publishes (a JSON Web Key Set), and the check of a token's signature. Pure.

Rules guarded: a key verifies what it was published for. Its type and curve fit the algorithm, and where the issuer
names an algorithm it is that one. Keys that sign, are shared, are too short or are for encryption are left out. No text
shows a token.
"""

import binascii
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
import msgspec
from jwt.algorithms import has_crypto

from fanout.signalr.credentials import InvalidTokenError

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
CAN_VERIFY: Final = has_crypto
INVALID_TOKEN: Final = "invalidToken"  # noqa: S105 - the code of a refusal
MAX_TOKEN: Final = 16 * 1024  # characters
_FITS: Final = {
    **dict.fromkeys(ALGORITHMS[:6], ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
_SHORTEST: Final = 2048  # bits of an RSA key
_MAX_KEYS: Final = 100
_LATEST: Final = 1 << 53  # unix seconds; a number in JSON may be larger than a float can hold
_PARTS: Final = 3
_JWS: Final = jwt.PyJWS()


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """One key: what verifies, its type and curve, and the algorithm it is for, "" where the issuer does not say."""

    material: Any
    kind: tuple[str, str | None]
    algorithm: str

    def is_for(self, algorithm: str) -> bool:
        """Return whether it verifies signatures of this algorithm."""
        return _FITS.get(algorithm) == self.kind and self.algorithm in ("", algorithm)


@dataclass(frozen=True, slots=True)
class ReadToken:
    """A token as it was read, before anything of it is believed."""

    algorithm: str
    kid: str
    issuer: str
    claims: Mapping[str, Any]


def keys_of(content: bytes) -> dict[str, PublishedKey]:
    """Read the keys of a key set by `kid`; ValueError when it is none, or has none that can be used."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is not JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise ValueError(f"it is not a key set of at most {_MAX_KEYS} keys")
    found = {str(each.get("kid", "")): key for each in listed if isinstance(each, dict) and (key := _key_of(each))}
    if not found:
        raise ValueError("it has no key that signatures can be verified with")
    return found


def _key_of(data: dict[str, Any]) -> PublishedKey | None:
    kind = (str(data.get("kty")), None if data.get("kty") == "RSA" else str(data.get("crv")))
    algorithm = data.get("alg") or ""
    if kind not in _FITS.values() or "d" in data or data.get("use", "sig") != "sig":
        return None
    if algorithm and algorithm not in ALGORITHMS:
        return None
    try:
        material: Any = jwt.PyJWK(data).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if kind[0] == "RSA" and material.key_size < _SHORTEST:
        return None
    return PublishedKey(material, kind, algorithm)


def read(token: str) -> ReadToken | None:
    """Return what a token says of itself, None for what is no signed token."""
    parts = token.split(".")
    if len(parts) != _PARTS:
        return None
    header, claims = _object(parts[0]), _object(parts[1])
    if header is None or claims is None or "crit" in header:
        return None
    names = header.get("alg"), header.get("kid", ""), claims.get("iss")
    algorithm, kid, issuer = (name if isinstance(name, str) else "" for name in names)
    return ReadToken(algorithm, kid, issuer, claims)


def _object(part: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(urlsafe_b64decode(part.encode("ascii") + b"=="))
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def verify(token: str, key: PublishedKey, algorithm: str) -> None:
    """Return when the signature is that of the key; otherwise raise InvalidTokenError."""
    try:
        _JWS.decode(token, key.material, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        raise InvalidTokenError("The signature of the token is invalid") from None


def check_claims(claims: Mapping[str, Any], audiences: Collection[str], now: float, leeway: float) -> float:
    """Return the unix time until which a token counts; InvalidTokenError says why it does not."""
    expires, begins, named = claims.get("exp"), claims.get("nbf", 0), claims.get("aud")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise InvalidTokenError("The token has no expiration")
    if not now - leeway < expires:
        raise InvalidTokenError("The token has expired")
    if isinstance(begins, bool) or not isinstance(begins, int | float) or begins > now + leeway:
        raise InvalidTokenError("The token is not valid yet")
    if not any(each in audiences for each in (named if isinstance(named, list) else [named])):
        raise InvalidTokenError("The token is for another audience")
    return end_of(claims) + leeway


def end_of(claims: Mapping[str, Any]) -> float:
    """Return the unix time at which a token ends whose claims were checked."""
    return float(min(claims["exp"], _LATEST))
