"""How a process reaches the SignalR service and Redis: through which proxy, trusting which certificate authorities.

Rules guarded: delivery and `fanout doctor` go the same way, so what the doctor proves holds for delivery; what checks
the settings of Redis opens it as what uses it. What cannot
work is reported at start, and no error and no log shows the credentials of a proxy.
"""

import ssl
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

from fanout.clock import Clock
from fanout.environment import variable_of
from fanout.errors import ConfigurationError
from fanout.http1.dial import default_tls
from fanout.http1.exchange import Limits, Origin
from fanout.http1.pool import Pool
from fanout.http1.proxy import Proxy, proxy_for
from fanout.redis.address import parse
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.secret import Secret
from fanout.settings import Settings
from fanout.signalr.client import Client, service_address
from fanout.signalr.connection_string import ConnectionString
from service.identities import Identities, check_redis_login, credential_of, redis_logins


def open_client(
    settings: Settings,
    service: ConnectionString,
    clock: Clock,
    limits: Limits,
    *,
    cache_size: int,
    on_refused: Callable[[], None],
    more_lines: Callable[[], bytes] | None = None,
    identities: Identities | None = None,
) -> Client:
    """Build the client of one instance of the service; nothing is connected yet.

    `on_refused` is called when the service refuses a token. `more_lines` is that of `Pool`. `identities` are those of
    the process where it has some.
    """
    address = service_address(
        service, audience=settings.audience, api_version=settings.api_version, application=settings.application
    )
    origin = origin_of(service)
    tls = trusted(settings) if origin.scheme == "https" else None
    pool = Pool(origin, limits, clock, tls, proxy_to(settings, origin), more_lines)
    credential = credential_of(settings, service, clock, on_refused=on_refused, identities=identities)
    client = Client(pool, credential, address, clock, cache_size=cache_size)
    service.key.when_replaced(client.forget_tokens)
    return client


def open_configured_redis(
    settings: Settings, clock: Clock, password: Secret | None = None, identities: Identities | None = None
) -> RedisClient:
    """Return the client of the configured Redis, not yet connected; ConfigurationError when it cannot be used.

    `password` becomes the one in force, and may be replaced: it counts from the next connection.
    """
    url, given = _redis_of(settings)
    password = password or Secret()
    password.replace(given)
    address = parse(url, ca=settings.redis_ca, password=given)
    logins = redis_logins(settings, address, identities or Identities(clock))
    limit = settings.redis_timeout
    return open_redis(url, clock, ca=settings.redis_ca, password=password, logins=logins, time_limit=limit)


def check_redis_url(settings: Settings) -> None:
    """Raise ConfigurationError when the address of Redis, or the login to it, cannot be used."""
    url, password = _redis_of(settings)
    check_redis_login(settings, parse(url, ca=settings.redis_ca, password=password))


def origin_of(service: ConnectionString) -> Origin:
    """Return where REST calls go; the connection string has been checked."""
    parts = urlsplit(service.server_endpoint)
    return Origin.parse(f"{parts.scheme}://{parts.netloc}")


def proxy_to(settings: Settings, origin: Origin) -> Proxy | None:
    """Return the proxy on the way to `origin`; ConfigurationError when the setting is not a proxy."""
    try:
        return proxy_for(
            origin,
            http=settings.http_proxy.get_secret_value(),
            https=settings.https_proxy.get_secret_value(),
            no_proxy=settings.no_proxy,
        )
    except ValueError as error:
        raise ConfigurationError(f"{variable_of(f'{origin.scheme}_proxy')}: {error}.") from None


def trusted(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context of calls to the service; ConfigurationError when FANOUT_SERVICE_CA cannot be used."""
    try:
        return _tls_of(settings.service_ca)
    except ssl.SSLError:
        reason = "it holds no certificate in PEM form"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise ConfigurationError(f"{variable_of('service_ca')}: {settings.service_ca!r} cannot be used: {reason}.")


@lru_cache(maxsize=2)
def _tls_of(ca_file: str) -> ssl.SSLContext:
    # One for all clients of the process: it takes some 40 ms to read the CAs of the system.
    return default_tls(ca_file)


def check_way(settings: Settings, service: ConnectionString) -> None:
    """Raise ConfigurationError when the settings name no usable way to the service."""
    trusted(settings)
    proxy_to(settings, origin_of(service))


def _redis_of(settings: Settings) -> tuple[str, str]:
    return settings.redis_url.get_secret_value(), settings.redis_password.get_secret_value()
