"""The identities of one process: what proves to the service, and to Redis, who calls.

Rules guarded: an identity has one token for each of the two, whoever needs it, and it is renewed ahead of its end while
the process runs. An identity without the library is refused at start with what to install. An identity token never
leaves in clear text for another machine.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar
from urllib.parse import urlsplit

from fanout.clock import Clock
from fanout.environment import variable_of
from fanout.errors import ConfigurationError, TokenUnavailableError
from fanout.log import Logger, get_logger
from fanout.loopback import is_loopback
from fanout.redis.address import Login, RedisAddress
from fanout.renewal import Renewed, Term
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString, EntraIdentity
from fanout.signalr.credentials import AccessKeyCredential, Credential, InvalidTokenError, unverified_claims
from fanout.signalr.entra import SCOPE, EntraCredential

T = TypeVar("T")

REDIS_SCOPE: Final = "https://redis.azure.com/.default"
_MISSING: Final = (
    "Microsoft Entra ID needs an extra: pip install 'signalr-fanout[entra]', or an image built with "
    "--build-arg EXTRAS=entra."
)


class RenewalLog:
    """Logs what becomes of tokens."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def renewed(self, what: str, seconds: float) -> None:
        self._log.info("identity.renewed", what=what, seconds=round(seconds))

    def failed(self, what: str, reason: str, seconds: float) -> None:
        self._log.warning("identity.failed", what=what, reason=reason, seconds=round(seconds))


class RedisLogins:
    """Logs in to Redis with a token as the password, as `username` or else as the identity that the token names."""

    def __init__(self, tokens: Renewed[str], username: str) -> None:
        self._tokens = tokens
        self._username = username

    async def login(self) -> Login:
        """Return the login in force; TokenUnavailableError when there is none."""
        login = self._login((await self._tokens.get()).value)
        if not login.username:
            raise TokenUnavailableError(
                "The token for Redis names no object id: put the user name into FANOUT_REDIS_URL."
            )
        return login

    def when_renewed(self, callback: Callable[[Login], None]) -> None:
        """Run `callback` with each login that comes into force."""

        def tell(term: Term[str]) -> None:
            login = self._login(term.value)
            if login.username:
                callback(login)

        self._tokens.when_renewed(tell)

    def _login(self, token: str) -> Login:
        return Login(self._username or object_id_of(token), token)


def object_id_of(token: str) -> str:
    """Return the object id of the identity that a token was given to, "" where it names none."""
    try:
        return str(unverified_claims(token).get("oid", ""))
    except InvalidTokenError:
        return ""


class Identities:
    """The tokens of the identities that a process has."""

    def __init__(self, clock: Clock, log: Logger | None = None) -> None:
        self._clock = clock
        self._listener = RenewalLog(log or get_logger())
        self._tokens: dict[tuple[EntraIdentity, str], Renewed[str]] = {}
        self._group: asyncio.TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Identities {list(self._tokens.values())}>"

    def tokens(self, identity: EntraIdentity, scope: str, what: str) -> Renewed[str]:
        """Return the tokens of an identity for a scope, the same for all who ask; `what` names them in the log."""
        known = self._tokens.get((identity, scope))
        if known is None:
            check_library()
            from service.identity_tokens import IdentityTokens  # noqa: PLC0415 - what it imports is there with the extra only

            known = Renewed(what, IdentityTokens(identity, scope, self._clock).fetch, self._clock, self._listener)
            self._tokens[identity, scope] = known
            if self._group is not None:
                self._group.create_task(known.run())
        return known

    def renewed(self, what: str, fetch: Callable[[], Awaitable[Term[T]]]) -> Renewed[T]:
        """Return another value that is renewed; before its end only when somebody asks for it."""
        return Renewed(what, fetch, self._clock, self._listener)

    async def prepare(self) -> None:
        """Get all tokens that can be had, for a command that may wait for them longer than for a connection."""
        for tokens in self._tokens.values():
            with suppress(TokenUnavailableError):  # what needs it reports the reason
                await tokens.get()

    def warning(self) -> str:
        """Return which tokens could not be renewed, "" when all could. The reasons are for the log alone."""
        failing = [tokens.what for tokens in self._tokens.values() if tokens.fails]
        return f"The {' and the '.join(failing)} cannot be renewed; the log says why." if failing else ""

    def seconds_left(self) -> float | None:
        """Return the seconds until the first token ends, None where there is no identity."""
        return min((tokens.seconds_left for tokens in self._tokens.values()), default=None)

    async def run(self) -> None:
        """Renew all tokens ahead of their end, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for tokens in self._tokens.values():
                group.create_task(tokens.run())
            await asyncio.Event().wait()  # others may be asked for later


def check_library() -> None:
    """Raise ConfigurationError where the extra for identities is not installed."""
    try:
        import service.identity_tokens  # noqa: F401, PLC0415 - what it imports is there with the extra only
    except ImportError:
        raise ConfigurationError(_MISSING) from None


def check_identity(service: ConnectionString) -> None:
    """Raise ConfigurationError where a service by identity cannot be called as configured."""
    if service.entra is None:
        return
    check_library()
    parts = urlsplit(service.server_endpoint)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ConfigurationError(
            f"{service.server_endpoint} would get identity tokens in clear text: name it by https://, or use an access "
            "key."
        )


def credential_of(
    settings: Settings,
    service: ConnectionString,
    clock: Clock,
    *,
    on_refused: Callable[[], None] = lambda: None,
    identities: Identities | None = None,
) -> Credential:
    """Return what proves to the service who calls: its access key, or the identity of its connection string.

    `on_refused` is called when the service refuses a token that was signed with the access key.
    """
    if service.entra is None:
        return AccessKeyCredential(service.key, clock, lifetime=settings.token_lifetime, on_refused=on_refused)
    return EntraCredential(service_tokens(service.entra, clock, identities), clock)


def redis_identity(settings: Settings) -> EntraIdentity:
    """Return the identity that logs in to Redis: that of the service, or else whatever the machine has."""
    try:
        service = ConnectionString.parse(settings.connection_string.get_secret_value() or " ")
    except ConfigurationError:  # it is a finding of its own
        return EntraIdentity()
    return service.entra or EntraIdentity()


def check_redis_login(settings: Settings, address: RedisAddress) -> None:
    """Raise ConfigurationError where Redis is to be logged in to with an identity, and cannot be as configured."""
    if settings.redis_auth != "entra":
        return
    check_library()
    variable = variable_of("redis_auth")
    if address.login.password:
        raise ConfigurationError(f"{variable}=entra logs in with a token: remove the password of Redis.")
    hosts = [node.host for node in address.nodes]
    if address.tls is None and not all(map(is_loopback, hosts)):
        raise ConfigurationError(
            f"{variable}=entra would send identity tokens in clear text: write rediss:// in {variable_of('redis_url')}."
        )


def redis_logins(settings: Settings, address: RedisAddress, identities: Identities) -> RedisLogins | None:
    """Return how to log in to Redis with an identity, None where that is not asked for.

    Raises ConfigurationError where it cannot be done as configured.
    """
    if settings.redis_auth != "entra":
        return None
    check_redis_login(settings, address)
    tokens = identities.tokens(redis_identity(settings), REDIS_SCOPE, "token for Redis")
    return RedisLogins(tokens, address.login.username)


def service_tokens(identity: EntraIdentity, clock: Clock, identities: Identities | None = None) -> Renewed[str]:
    """Return the tokens of an identity for the service."""
    return (identities or Identities(clock)).tokens(identity, SCOPE, "token for the SignalR service")
