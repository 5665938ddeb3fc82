"""Signs and checks the tokens of the service, and defines what the client asks for them: a `Credential`.

Source: docs/sources.md, rest-tokens and client-tokens. Rules guarded: no token and no key reaches a log or a repr, and
no call leaves with a token that is about to expire. An access key is one credential; the token of an identity, which
has to be waited for, is another one (`entra`).
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import jwt
import msgspec

from fanout.clock import Clock
from fanout.errors import BadRequestError, TokenTooLongError
from fanout.http1.messages import HeaderLines
from fanout.secret import Secret
from fanout.signalr.connection_string import ConnectionString

ISSUER = "azure-signalr"
USER_ID_CLAIM = "asrs.s.uid"
MAX_TOKEN_LENGTH: Final = 4096
_SYSTEM_CLAIMS = frozenset({"aud", "exp", "iat", "nbf", "iss", "actort", "acr", "azp", "c_hash", "jti", "nonce"})
# Claims with this prefix steer the service. A caller may set those that the vendor's SDK offers for a negotiation:
# detailed errors, a diagnostic client, and closing the connection at a given time.
_SERVICE_PREFIX: Final = "asrs.s."
DETAILED_ERRORS: Final = "asrs.s.derror"
CLOSES: Final = "asrs.s.coae"
CLOSES_AT: Final = "asrs.s.aeo"
SERVICE_CLAIMS_ALLOWED: Final = (DETAILED_ERRORS, "asrs.s.dc", CLOSES, CLOSES_AT)
_ALLOWED_TEXT: Final = f"{', '.join(SERVICE_CLAIMS_ALLOWED[:-1])} and {SERVICE_CLAIMS_ALLOWED[-1]}"
_HEADER: Final = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"  # {"alg":"HS256","typ":"JWT"}
_RENEW_BEFORE = 0.1  # share of the lifetime left at which a cached token is replaced


class InvalidTokenError(ValueError):
    """A presented token is refused; the text is the reason, free of the token itself."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key with the id that tokens signed with it must carry, "" for none."""

    value: str = field(repr=False)
    key_id: str = ""


def sign(key: str, claims: Mapping[str, Any], key_id: str = "") -> str:
    """Sign `claims` with HS256, the key's text as its bytes; the header has `kid` where there is a `key_id`."""
    headers = {"kid": key_id} if key_id else None
    return jwt.encode(dict(claims), key.encode(), algorithm="HS256", headers=headers)


def rest_token(key: str, audience: str, expires: int) -> str:
    """Sign the token of a REST call; `expires` is in unix seconds.

    Written out because each new destination needs one: byte for byte what PyJWT makes, at a fifth of the cost.
    """
    claims = _encoded(msgspec.json.encode({"aud": audience, "exp": expires}))
    signed = _HEADER + b"." + claims
    return (signed + b"." + _encoded(hmac.digest(key.encode(), signed, "sha256"))).decode("ascii")


def _encoded(part: bytes) -> bytes:
    return urlsafe_b64encode(part).rstrip(b"=")


def verify(token: str, keys: Sequence[str], audiences: Iterable[str], *, leeway: float = 0.0) -> dict[str, Any]:
    """Return the claims after checking signature (any of `keys`), expiry and audience, or raise InvalidTokenError."""
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


def unverified_claims(token: str) -> dict[str, Any]:
    """Return the claims of any JSON Web Token without checking anything; InvalidTokenError if it is none."""
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError):
        raise InvalidTokenError("The token is malformed") from None
    return claims


def client_audience(service: ConnectionString, hub: str) -> str:
    """Return the audience of a client token: the host of Endpoint without port, with the hub as query."""
    return f"{service.audience_base}/client/?hub={hub}"


def client_url(service: ConnectionString, hub: str) -> str:
    """Return the URL that negotiate sends a client to."""
    return f"{service.client_endpoint}/client/?hub={hub}"


def client_token(
    service: ConnectionString,
    hub: str,
    *,
    user_id: str | None,
    claims: Mapping[str, Any],
    now: float,
    lifetime: float,
    key: SigningKey | None = None,
) -> str:
    """Sign a client's access token for `hub` (lower case, application prefix included) with `key` or the access key.

    Claims of the caller that collide with registered ones are renamed `asrs.u.<name>`. Raises BadRequestError for a
    claim that steers the service and is none of SERVICE_CLAIMS_ALLOWED, and TokenTooLongError when the token is over
    4,096 characters, the maximum of the service.
    """
    payload = _given_claims(user_id, claims)
    payload |= {"nbf": int(now), "exp": int(now + lifetime), "iat": int(now)}
    payload |= {"iss": ISSUER, "aud": client_audience(service, hub)}
    token = sign(service.access_key, payload) if key is None else sign(key.value, payload, key.key_id)
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenTooLongError(
            f"The access token has {len(token)} characters, the service takes {MAX_TOKEN_LENGTH}: send fewer claims."
        )
    return token


def _given_claims(user_id: str | None, claims: Mapping[str, Any]) -> dict[str, Any]:
    for name in claims:
        _check_claim(name)
    given = {_renamed(name): value for name, value in claims.items()}
    return given if user_id is None else given | {USER_ID_CLAIM: user_id}


def _check_claim(name: str) -> None:
    if name.lower().startswith(_SERVICE_PREFIX) and name not in SERVICE_CLAIMS_ALLOWED:
        pointer = "/claims/" + name.replace("~", "~0").replace("/", "~1")
        detail = f"The claim {name} belongs to the service. Of its claims a caller may set {_ALLOWED_TEXT}."
        raise BadRequestError(detail + (" Name the user by userId." if name == USER_ID_CLAIM else ""), pointer=pointer)


def _renamed(claim: str) -> str:
    return f"asrs.u.{claim}" if claim in _SYSTEM_CLAIMS else claim


class Authorization(msgspec.Struct, frozen=True, gc=False):
    """What a call carries to prove who makes it. At `renew_at` (unix time) another one has to be asked for."""

    lines: HeaderLines
    renew_at: float

    @classmethod
    def bearer(cls, token: str, *, renew_at: float) -> "Authorization":
        """Return the authorization that presents `token`; ValueError when it is not one word of visible ASCII."""
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ValueError("A token is one word of visible ASCII.")
        return cls(HeaderLines(f"Authorization: Bearer {token}\r\n".encode("ascii")), renew_at)

    @property
    def value(self) -> str:
        """The value of the header, for a client that writes headers itself."""
        return self.lines.text.decode("ascii").partition(": ")[2].rstrip()

    def __repr__(self) -> str:
        return f"<Authorization until {self.renew_at:.0f}>"


class Credential(Protocol):
    """The source of authorizations. The client keeps what it is given until `renew_at`, one for each destination."""

    def immediate(self, audience: str, now: float) -> Authorization | None:
        """Return an authorization for `audience` (a URL without query), or None when that has to wait."""

    async def authorization(self, audience: str) -> Authorization:
        """Return an authorization for `audience`; NotSentError when none can be had."""

    def refused(self, authorization: Authorization) -> None:
        """Do not return `authorization` again: the service answered it with 401."""


def _nothing() -> None:
    return None


class AccessKeyCredential:
    """Signs a token for each audience with the access key. `lifetime` of a token is in seconds.

    `on_refused` is called when the service refused a token: the key may have been replaced.
    """

    def __init__(
        self, key: Secret, clock: Clock, *, lifetime: float, on_refused: Callable[[], None] = _nothing
    ) -> None:
        self._key = key
        self._on_refused = on_refused
        self._clock = clock
        self._lifetime = lifetime

    def __repr__(self) -> str:
        return f"<AccessKeyCredential lifetime={self._lifetime:g}>"

    def immediate(self, audience: str, now: float) -> Authorization:
        """Return a new token for `audience`: signing takes microseconds and waits for nothing."""
        token = rest_token(self._key.value, audience, int(now + self._lifetime))
        return Authorization.bearer(token, renew_at=now + self._lifetime * (1 - _RENEW_BEFORE))

    async def authorization(self, audience: str) -> Authorization:
        return self.immediate(audience, self._clock.wall())

    def refused(self, authorization: Authorization) -> None:
        """Tell that a token was refused. The next one is new anyway."""
        del authorization  # which one it was says no more: all are signed with the same key
        self._on_refused()
