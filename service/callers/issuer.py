"""The keys of one issuer of tokens, fetched from it over HTTP.

Rules guarded: a fetch is bounded in time, size and number, and there is one at a time. Keys are fetched again every few
minutes. A key that is not known is asked for at once, and no more often than every ten seconds, so that nobody can make
this service ask an issuer for each of its requests. An issuer that is away changes nothing: its keys count for a day,
and a token signed with another key is not called wrong while nobody can say so (503).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from fanout.clock import Clock
from fanout.environment import variable_of
from fanout.errors import ConfigurationError
from fanout.http1.exchange import Origin
from fanout.log import Logger
from fanout.loopback import is_loopback
from fanout.settings import Settings
from service.callers.jwks import PublishedKey, keys_of
from service.outgoing import proxy_to, trusted

INTERVAL: Final = 300.0  # seconds between two fetches
RETRY: Final = 10.0  # after one that failed, and before an unknown key is asked for again
GOOD_FOR: Final = 86_400.0  # seconds that keys count without being fetched again
_TIMEOUT: Final = 5.0
_MAX_BYTES: Final = 512 * 1024
_DISCOVERY: Final = "/.well-known/openid-configuration"

# Returns what is at a URL; ValueError says why there is nothing.
Fetch = Callable[[str], Awaitable[bytes]]


class Issuer:
    """One issuer. `name` is the `iss` of its tokens; `jwks_url` is "" where the issuer's configuration names it."""

    def __init__(self, name: str, jwks_url: str, fetch: Fetch, clock: Clock, log: Logger) -> None:
        self.name = name
        self.generation = 0  # grows with every change of the keys
        self._jwks_url = jwks_url
        self._fetch = fetch
        self._clock = clock
        self._log = log
        self._lock = asyncio.Lock()
        self._content = b""
        self._keys: dict[str, PublishedKey] = {}
        self._fetched_at: float | None = None
        self._tried_at = float("-inf")
        self._failure = "Its keys have not been fetched yet."

    def __repr__(self) -> str:
        return f"<Issuer {self.name} with {len(self._keys)} keys>"

    def key(self, kid: str) -> PublishedKey | None:
        """Return a key by its id; without an id the only one there is. None for a key that is not known."""
        if not self._counts():
            return None
        return self._keys.get(kid) or (next(iter(self._keys.values())) if not kid and len(self._keys) == 1 else None)

    @property
    def warning(self) -> str:
        """What is wrong with the fetching of keys, "" for nothing."""
        return f"The keys of the issuer {self.name} cannot be fetched: {self._failure}" if self._failure else ""

    def age(self) -> float | None:
        """Return how many seconds ago the keys were fetched, None while they never were."""
        return None if self._fetched_at is None else self._clock.monotonic() - self._fetched_at

    def may_have_others(self) -> bool:
        """Return whether the issuer may have keys that are not known here, because it could not be asked."""
        return bool(self._failure)

    async def look_for(self, kid: str) -> None:
        """Fetch the keys when this one is not known, unless that was tried a moment ago."""
        if self.key(kid) is not None:
            return  # a token whose key is known does not wait for a fetch
        async with self._lock:
            if self.key(kid) is None and self._clock.monotonic() - self._tried_at >= RETRY:
                await self._refresh()

    async def run(self) -> None:
        """Fetch again and again."""
        while True:
            async with self._lock:
                await self._refresh()
            await self._clock.sleep(RETRY if self._failure else INTERVAL)

    async def _refresh(self) -> None:
        try:
            async with self._clock.timeout(_TIMEOUT):
                content = await self._fetch(self._jwks_url or await self._discovered())
            keys = keys_of(content)
        except TimeoutError:
            self._fail(f"it did not answer within {_TIMEOUT:g} s.")
        except ValueError as error:
            self._fail(f"{error}.")
        else:
            self._know(content, keys)
        finally:
            self._tried_at = self._clock.monotonic()

    async def _discovered(self) -> str:
        try:
            document: Any = msgspec.json.decode(await self._fetch(self.name.rstrip("/") + _DISCOVERY))
        except (msgspec.DecodeError, UnicodeDecodeError):
            document = None
        url = document.get("jwks_uri") if isinstance(document, dict) else None
        if not isinstance(url, str) or document.get("issuer") != self.name:
            raise ValueError(f"its {_DISCOVERY} is not the configuration of an issuer of this name")
        check_url(url)
        if self.name.startswith("https:") and not url.lower().startswith("https:"):
            raise ValueError("its configuration names keys that are not behind https://")
        return url

    def _counts(self) -> bool:
        return self._fetched_at is not None and self._clock.monotonic() - self._fetched_at < GOOD_FOR

    def _know(self, content: bytes, keys: dict[str, PublishedKey]) -> None:
        if self._failure and self._fetched_at is not None:
            self._log.info("callers.readable_again", source=self.name, keys=len(keys))
        if content != self._content:
            self.generation += 1
        self._content, self._keys, self._failure = content, keys, ""
        self._fetched_at = self._clock.monotonic()

    def _fail(self, reason: str) -> None:
        if self._failure != reason:
            self._log.warning("callers.unreadable", source=self.name, reason=reason)
        self._failure = reason


def check_url(url: str) -> None:
    """Raise ValueError for what is not https; this machine may be asked without."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ValueError(f"{url[:200]!r} is not a URL") from None
    if (
        not host
        or "@" in parts.netloc
        or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
    ):
        raise ValueError(f"{url[:200]!r} is not a https:// URL")


def url_findings(urls: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield what is wrong with the URLs of issuers, each given with the field of its setting; empty ones are none."""
    for name, url in urls:
        try:
            if url:
                check_url(url)
        except ValueError as error:
            yield f"{variable_of(name)}: {error}."


def fetch_with(settings: Settings) -> Fetch:
    """Return what fetches from issuers: over the proxies and with the certificate authorities of the settings."""
    tls = trusted(settings)
    return lambda url: _fetch(url, settings, tls)


async def _fetch(url: str, settings: Settings, tls: ssl.SSLContext) -> bytes:
    parts = urlsplit(url)
    try:
        proxy = proxy_to(settings, Origin.parse(f"{parts.scheme}://{parts.netloc}"))
    except ConfigurationError as error:
        raise ValueError(str(error).rstrip(".")) from None
    through = None if proxy is None else httpx.Proxy(str(proxy), headers=proxy.headers)
    try:
        # A client for each fetch: there is one every few minutes, and issuers may differ in their proxies.
        async with (
            httpx.AsyncClient(trust_env=False, verify=tls, proxy=through, timeout=_TIMEOUT) as http,
            http.stream("GET", url, headers={"accept": "application/json"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"it answered {response.status_code}")
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _MAX_BYTES:
                    raise ValueError(f"its answer has more than {_MAX_BYTES} bytes")
            return bytes(body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ValueError(f"it cannot be reached ({type(error).__name__})") from None
