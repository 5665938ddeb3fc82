"""Who is calling, and what that caller may do.

Rules guarded: keys are compared as digests in constant time; without a key only this machine is served, and never on
behalf of a proxy or of a foreign web page in a local browser (a page can POST text/plain to localhost without asking,
and can rebind its own host name to 127.0.0.1); an open address is refused at start unless the settings say so in words.
A `Caller` carries rights, so that another proof of identity is one more way to make a `Caller` and nothing else.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fanout.environment import variable_of
from fanout.errors import ConfigurationError, ForbiddenError, UnauthorizedError
from fanout.loopback import is_local_request, is_loopback
from fanout.settings import Settings


class Right(StrEnum):
    """What a caller may do."""

    SEND = "send"
    NEGOTIATE = "negotiate"  # get a client token for any user it names
    ADMIN = "admin"  # look into the queue and act on it


@dataclass(frozen=True, slots=True)
class Caller:
    """One who calls; `name` is for logs and says how it was recognised.

    `advice` is "" for the known; it tells a stranger how to become known.
    """

    name: str
    rights: frozenset[Right] = frozenset()
    advice: str = ""

    def require(self, right: Right) -> None:
        """Return when the caller has `right`; raise UnauthorizedError for strangers, ForbiddenError for others."""
        if right in self.rights:
            return
        if self.advice:
            raise UnauthorizedError(self.advice)
        raise ForbiddenError(f"The caller has no right to {right.value}.")


KEY_HOLDER = Caller("api-key", frozenset(Right))
# Sends, but names no users: in a browser it could be anybody, so negotiate asks `negotiate_user` about it.
LOCAL = Caller("local", frozenset({Right.SEND, Right.ADMIN}))
ANYBODY = Caller("anybody", frozenset({Right.SEND}))
STRANGER = Caller("stranger", advice="Send the API key as Authorization: Bearer <key>, or as X-API-Key.")
OUTSIDER = Caller(
    "outsider",
    advice=f"{variable_of('api_key')} is not set, so only this machine is served: directly, under a loopback name, and "
    "not for a web page of another origin.",
)


class Guard:
    """Recognises callers. Holds the digest of the API key, never the key."""

    def __init__(self, settings: Settings) -> None:
        key = settings.api_key.get_secret_value()
        self._digest = _digest(key.encode()) if key else None
        self._open = settings.allow_anonymous
        self._origins = frozenset(settings.cors_origins)

    def __repr__(self) -> str:
        return f"<Guard {'with a key' if self._digest else 'without a key'}>"

    def caller_of(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        """Recognise a caller; `peer` is the address at the other end of the socket, None for a Unix socket.

        A wrong X-API-Key is refused at once. A bearer token that is not the key makes a stranger: on negotiate it may
        be the application's own token, which a gateway in front has judged.
        """
        if self._digest is not None:
            return self._keyed(headers, self._digest)
        if self._open:
            return ANYBODY
        return LOCAL if is_local_request(headers, peer, self._origins) else OUTSIDER

    def _keyed(self, headers: Mapping[str, str], digest: bytes) -> Caller:
        presented = headers.get("x-api-key")
        if presented is not None:
            if hmac.compare_digest(_digest(_sent(presented)), digest):
                return KEY_HOLDER
            raise UnauthorizedError("The X-API-Key is not known.")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(_sent(token.strip())), digest):
            return KEY_HOLDER
        return STRANGER


def check_exposure(settings: Settings, host: str) -> None:
    """Raise ConfigurationError when listening on `host` would serve strangers and nobody said so."""
    if is_loopback(host) or settings.api_key.get_secret_value() or settings.allow_anonymous:
        return
    raise ConfigurationError(
        f"Listening on {host or 'all addresses'} without an API key would serve anybody who can reach it. "
        f"Set {variable_of('api_key')}, listen on 127.0.0.1, or, behind a gateway that authenticates, "
        f"set {variable_of('allow_anonymous')}=true."
    )


def _sent(header: str) -> bytes:
    return header.encode("latin-1")  # as ASGI decoded it, so these are the caller's bytes


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
