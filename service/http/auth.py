"""Who is calling. What a caller may do is decided in `service/callers/caller.py`.

Rules guarded: keys are compared as digests, in constant time. Without a key nobody is served, unless the settings say
`none`: then requests of this machine are, addressed to a loopback name, not for a web page of another origin, and
without any sign of a proxy. A loopback peer alone proves nothing: it may be a proxy, or a browser in which a page has
rebound its own name to 127.0.0.1. A `Caller` carries rights, so another proof of identity is another way to make one.
"""

import hmac
from collections.abc import Collection, Mapping

from starlette.requests import Request
from starlette.types import Scope

from fanout.environment import variable_of
from fanout.errors import ConfigurationError, UnauthorizedError
from fanout.loopback import is_from_this_machine, is_loopback, is_of_no_other_origin
from fanout.secret import Secret
from fanout.settings import Settings
from service.callers.caller import EVERY_HUB, Caller, Right, digest_of
from service.callers.key_ring import KeyRing, read_file
from service.callers.tokens import TokenCallers, check_tokens
from service.http.audit import Deed, note_caller

_MAKE_A_KEY = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


_SEND_THE_KEY = "Send the API key as Authorization: Bearer <key>, or as X-API-Key."
KEY_HOLDER = Caller("api-key", frozenset(Right))
LOCAL = Caller("local", frozenset(Right))  # whoever can use this machine could as well read the key from it
KEYLESS = Caller("keyless", refusal=f"No API key was sent. {_SEND_THE_KEY}", is_client=True)
WRONG_TOKEN = Caller(
    "wrong-token",
    refusal=f"The token is not an API key of this service. {_SEND_THE_KEY}",
    code="wrongKey",
    is_client=True,  # it may be the application's own token, which a gateway in front has judged
)
LOCAL_PAGE = Caller(
    "local-page",
    refusal="A page of another origin may only negotiate, and only for the users that the settings find.",
    is_client=True,
)
FOREIGN = Caller(
    "foreign",
    refusal=f"{variable_of('auth')} is none, so only this machine is served: directly, under a loopback name, and not "
    "for a web page of another origin.",
)


class Guard:
    """Recognises callers by the digests of their keys."""

    def __init__(
        self,
        settings: Settings,
        ring: KeyRing | None = None,
        api_key: Secret | None = None,
        tokens: TokenCallers | None = None,
    ) -> None:
        """`ring` has the keys besides that of the settings; None where there are no others.

        `api_key` is that of the settings as it is now, which may be replaced. `tokens` is None where none are taken.
        """
        self._key = api_key or Secret(settings.api_key.get_secret_value())
        self._digest = _digest_of(self._key)
        self._key.when_replaced(self._take_key)
        self._local = settings.auth == "none"
        self._ring = None if self._local else ring
        self._tokens = tokens
        others = bool(settings.api_keys_file or settings.api_keys or settings.jwt_issuers)
        self._takes_keys = self._digest is not None or (others and not self._local)

    def __repr__(self) -> str:
        return f"<Guard {'with a key' if self._digest else 'for this machine' if self._local else 'closed'}>"

    def warning(self) -> str:
        """Return why nobody can call, or what is wrong with the reading of keys; "" for nothing."""
        if self._ring is not None and self._digest is None and self._tokens is None and self._ring.is_empty:
            return "There is no API key, so nobody can call. Make one with `fanout keys create`."
        sources = (self._ring, self._tokens)
        return " ".join(text for source in sources if source is not None and (text := source.warning()))

    def _take_key(self) -> None:
        self._digest = _digest_of(self._key)

    def caller_of(self, scope: Scope, headers: Mapping[str, str], origins: Collection[str] = ()) -> Caller:
        """Recognise the caller of a request; a wrong X-API-Key is refused at once.

        `origins` are those whose pages may negotiate, where that is asked for.
        """
        if self._takes_keys:
            return self._keyed(headers)
        if not (self._local and is_from_this_machine(scope, headers)):
            return FOREIGN
        if is_of_no_other_origin(headers):
            return LOCAL
        return LOCAL_PAGE if headers.get("origin") in origins else FOREIGN

    def _keyed(self, headers: Mapping[str, str]) -> Caller:
        presented = headers.get("x-api-key")
        if presented is not None:
            holder = self._holder(presented)
            if holder is None:
                raise UnauthorizedError("The X-API-Key is not an API key of this service.", label="wrongKey")
            return holder
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if not token or scheme.lower() != "bearer":
            return KEYLESS
        holder = self._holder(token)
        if holder is None and self._tokens is not None:
            holder = self._tokens.find(token)
        return holder or WRONG_TOKEN

    def _holder(self, presented: str) -> Caller | None:
        # Who holds a key. That of the settings comes first, because nothing else has to be asked then.
        digest = digest_of(presented.encode("latin-1"))  # as ASGI decoded it, so these are the caller's bytes
        if self._digest is not None and hmac.compare_digest(digest, self._digest):
            return KEY_HOLDER
        return None if self._ring is None else self._ring.find(presented, digest)

    def admit(self, request: Request, right: Right, hub: str = "") -> Caller:
        """Return the caller of a request when it has `right`, otherwise raise as `Caller.require`."""
        caller = self.caller_of(request.scope, request.headers)
        note_caller(request.scope, Deed.ACTED if right is Right.ADMIN else Deed.READ, caller.name)
        caller.require(right, hub)
        return caller

    async def admit_reader(self, request: Request) -> None:
        """Return when the caller may read of all hubs; for routes that take it as a dependency."""
        self.caller_of(request.scope, request.headers).require(Right.READ, EVERY_HUB)  # figures; who reads is not noted


def _digest_of(key: Secret) -> bytes | None:
    return digest_of(key.value.encode()) if key.value else None


def check_exposure(settings: Settings, host: str) -> None:
    """Raise ConfigurationError when nobody could be recognised, or strangers would be served."""
    key, local, auth = bool(settings.api_key.get_secret_value()), settings.auth == "none", variable_of("auth")
    check_tokens(settings)
    for name in ("api_keys_file", "api_keys", "jwt_issuers"):
        if getattr(settings, name) and local:
            raise ConfigurationError(f"{variable_of(name)} and {auth}=none are both set: remove one of them.")
    key = key or bool(settings.api_keys or settings.jwt_issuers)
    if settings.api_keys_file:
        key = bool(read_file(settings.api_keys_file)) or key
    if key and local:
        raise ConfigurationError(f"{variable_of('api_key')} and {auth}=none are both set: remove one of them.")
    if not key and not local:
        raise ConfigurationError(
            f"No caller could be recognised: set {variable_of('api_key')} to a long random text, for example of "
            f"{_MAKE_A_KEY}, or set {variable_of('api_keys')}=redis and make keys with `fanout keys create`, or "
            f"{variable_of('jwt_issuers')} for tokens. To try the service on this machine alone, use `fanout dev` or "
            f"set {auth}=none."
        )
    if local and not is_loopback(host):
        raise ConfigurationError(
            f"{auth}=none serves this machine alone, so it cannot listen on {host or 'all addresses'}: listen on "
            f"127.0.0.1, or remove {auth} and set {variable_of('api_key')}."
        )
