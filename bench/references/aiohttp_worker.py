"""The product with another sender: the same process, with aiohttp in the place of its own pool.

Everything else is the product's: it is run as it is, after the Pool it is put together with was exchanged for one with
the same members over an aiohttp session. Takes the arguments of `fanout`.
"""

import ssl
import sys
from collections.abc import Callable

import aiohttp
from yarl import URL

import fanout.http1.pool
from fanout.clock import Clock
from fanout.errors import WithheldError
from fanout.http1.exchange import Headers, Limits, Origin, Response
from fanout.http1.messages import Request
from fanout.http1.pool import MayWrite, PoolStats
from fanout.http1.proxy import Proxy

_SKIPPED = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


class AiohttpPool:
    """What the product's Pool is to its callers, over aiohttp."""

    def __init__(
        self,
        origin: Origin,
        limits: Limits,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        more_lines: Callable[[], bytes] | None = None,
    ) -> None:
        del clock, proxy, more_lines
        self._origin = origin
        self._limits = limits
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    @property
    def stats(self) -> PoolStats:
        """Nothing is counted here."""
        return PoolStats(0, 0, 0, 0, 0)

    @property
    def may_start(self) -> bool:
        """Never: every call is one of `send`."""
        return False

    def start(self, request: Request, before_write: object, on_done: object) -> bool:
        """Begin nothing at once: every call is one of `send`."""
        del request, before_write, on_done
        return False

    async def send(self, request: Request, may_write: MayWrite | None = None) -> Response:
        """Make one call; `may_write` is asked before it, as aiohttp has no place right before the write."""
        if may_write is not None and not may_write():
            raise WithheldError("The request may not go any more.")
        if self._session is None:
            self._session = self._open()
        head = request.head
        url = URL(str(self._origin) + head.target, encoded=True)
        text = (request.authorization.text + head.headers.text).decode()
        lines = (line.split(": ", 1) for line in text.splitlines())
        async with self._session.request(
            head.method, url, data=request.body, headers=dict(lines), allow_redirects=False
        ) as answer:
            body = await answer.read()
            raw = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
            return Response(answer.status, Headers(raw), body, reused=True)

    async def aclose(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self._limits.connections, ssl=self._tls or True)
        timeout = aiohttp.ClientTimeout(total=self._limits.request_timeout)
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=_SKIPPED, timeout=timeout
        )


if __name__ == "__main__":
    vars(fanout.http1.pool)["Pool"] = AiohttpPool
    from service.cli.main import main  # after the exchange, so that imports of Pool by name get this one

    sys.exit(main())
