"""Signs and checks the JWTs of the service, and keeps the signed ones per audience.

Source: contract 3.1 (REST: HS256 over the UTF-8 text of the key, `aud` = the URL without query) and 3.4 (clients).
Rule guarded: tokens never reach a log or a repr; the cache is bounded, because every user, group and connection is an
audience of its own, and renews early, so that no call leaves with a token about to expire. Signing takes microseconds
and does not wait, so the cache needs no lock and no single flight.
"""

import hmac
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import jwt
import msgspec

from fanout.clock import Clock
from fanout.errors import TokenTooLongError
from fanout.signalr.connection_string import ConnectionString

ISSUER = "azure-signalr"
USER_ID_CLAIM = "asrs.s.uid"
MAX_TOKEN_LENGTH: Final = 4096
_SYSTEM_CLAIMS = frozenset(
    {"aud", "exp", "iat", "nbf", "iss", "actort", "acr", "azp", "c_hash", "jti", "nonce", USER_ID_CLAIM}
)
_HEADER: Final = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"  # {"alg":"HS256","typ":"JWT"}
_RENEW_BEFORE = 0.1  # share of the lifetime left at which a cached token is replaced


class InvalidTokenError(ValueError):
    """A presented token is refused; the text is the reason, free of the token itself."""


def sign(key: str, claims: Mapping[str, Any]) -> str:
    """Sign `claims` with HS256, the key's text as its bytes, header {"alg","typ"} only."""
    return jwt.encode(dict(claims), key.encode(), algorithm="HS256")


def rest_token(key: str, audience: str, expires: int) -> str:
    """Sign what a REST call carries: `aud` and `exp` (unix seconds), nothing else is asked for.

    Written out, because each new destination needs one: byte for byte what PyJWT makes, at a fifth of the cost.
    """
    claims = _encoded(msgspec.json.encode({"aud": audience, "exp": expires}))
    signed = _HEADER + b"." + claims
    return (signed + b"." + _encoded(hmac.digest(key.encode(), signed, "sha256"))).decode("ascii")


def _encoded(part: bytes) -> bytes:
    return urlsafe_b64encode(part).rstrip(b"=")


def verify(token: str, keys: Sequence[str], audiences: Iterable[str], *, leeway: float = 0.0) -> dict[str, Any]:
    """Check signature (any of `keys`), expiry and audience; give the claims, or raise InvalidTokenError."""
    reason = "The signature key was not found"
    accepted = list(audiences)
    for key in keys:
        try:
            return jwt.decode(
                token,
                key.encode(),
                algorithms=["HS256", "HS512"],
                audience=accepted,
                leeway=leeway,
                options={"require": ["exp", "aud"], "verify_iat": False, "verify_nbf": False},
            )
        except jwt.InvalidSignatureError:
            reason = "The signature is invalid"
        except jwt.ExpiredSignatureError:
            raise InvalidTokenError("The token expired") from None
        except jwt.InvalidAudienceError:
            raise InvalidTokenError("The audience is invalid") from None
        except jwt.InvalidTokenError:
            raise InvalidTokenError("The token is malformed") from None
    raise InvalidTokenError(reason)


def client_audience(service: ConnectionString, hub: str) -> str:
    """Name the audience of a client token: the Endpoint's host without port, with the hub query."""
    return f"{service.audience_base}/client/?hub={hub}"


def client_url(service: ConnectionString, hub: str) -> str:
    """Name the address a client is sent to by negotiate."""
    return f"{service.client_endpoint}/client/?hub={hub}"


def client_token(
    service: ConnectionString, hub: str, *, user_id: str | None, claims: Mapping[str, Any], now: float, lifetime: float
) -> str:
    """Sign a client's access token for `hub` (lower case, application prefix included).

    Caller's claims that collide with the service's own are renamed `asrs.u.<name>` (contract 3.4). Raises
    TokenTooLongError when the token is over 4,096 characters, the most the service takes.
    """
    payload: dict[str, Any] = {_renamed(name): value for name, value in claims.items()}
    if user_id is not None:
        payload[USER_ID_CLAIM] = user_id
    payload |= {
        "nbf": int(now),
        "exp": int(now + lifetime),
        "iat": int(now),
        "iss": ISSUER,
        "aud": client_audience(service, hub),
    }
    token = sign(service.access_key, payload)
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenTooLongError(
            f"The access token has {len(token)} characters, the service takes {MAX_TOKEN_LENGTH}: send fewer claims."
        )
    return token


def _renamed(claim: str) -> str:
    return f"asrs.u.{claim}" if claim in _SYSTEM_CLAIMS else claim


class AccessKeyCredential:
    """REST tokens by audience: at most `size`, least recently used out first, renewed in their last tenth."""

    def __init__(self, key: str, clock: Clock, *, lifetime: float, size: int) -> None:
        self._key = key
        self.clock = clock
        self._lifetime = lifetime
        self.size = size
        self._tokens: OrderedDict[str, tuple[str, float, bytes]] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __repr__(self) -> str:
        return f"<AccessKeyCredential {len(self._tokens)} of {self.size}, {self.hits} hits, {self.misses} misses>"

    def __len__(self) -> int:
        return len(self._tokens)

    def token(self, audience: str) -> str:
        """Give a token for `audience` that stays valid for at least a tenth of its lifetime."""
        return self._held(audience)[0]

    def authorization(self, audience: str) -> bytes:
        """Give the same as a finished header line."""
        return self._held(audience)[2]

    def fresh(self, audience: str) -> tuple[bytes, float]:
        """Sign one for somebody who keeps it: the header line, and when (unix time) to ask for the next."""
        _token, until, line = self._sign(audience)
        return line, until

    def _held(self, audience: str) -> tuple[str, float, bytes]:
        now = self.clock.wall()
        held = self._tokens.get(audience)
        if held is not None and now < held[1]:
            self._tokens.move_to_end(audience)
            self.hits += 1
            return held
        held = self._tokens[audience] = self._sign(audience)
        self._tokens.move_to_end(audience)
        if len(self._tokens) > self.size:
            self._tokens.popitem(last=False)
        return held

    def _sign(self, audience: str) -> tuple[str, float, bytes]:
        now = self.clock.wall()
        self.misses += 1
        token = rest_token(self._key, audience, int(now + self._lifetime))
        line = f"Authorization: Bearer {token}\r\n".encode("ascii")
        return token, now + self._lifetime * (1 - _RENEW_BEFORE), line

    def forget(self, audience: str) -> None:
        """Drop one token: the service refused it."""
        self._tokens.pop(audience, None)
