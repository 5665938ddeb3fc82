"""Floors of delivery: a bare loop of POSTs with one HTTP client, and nothing else.

aiohttp tuned (no cookies, no automatic headers, encoded URLs), our own pool, pyreqwest and httpx, each at its best
known setting; `concurrency` tasks and as many connections. Prints the CPU microseconds of this whole process per
request. Warm-up opens every connection before anything counts.
"""

import argparse
import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from bench.messages import TOKEN, USERS, rest_body, rest_path
from fanout.clock import SystemClock
from fanout.http1.exchange import Limits, Origin
from fanout.http1.messages import HeaderLines, Request, RequestHead
from fanout.http1.pool import Pool

Post = Callable[[str, bytes], Awaitable[int]]
_QUERY = "?api-version=2022-06-01"
_ACCEPTED = 202
_HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Asrs-User-Agent": "bench/1.0",
    "User-Agent": "bench/1.0",
    "Content-Type": "application/json; charset=utf-8",
}


def _tls(authority: str) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=authority) if authority else None


@asynccontextmanager
async def aiohttp_loop(origin: str, concurrency: int, authority: str) -> AsyncIterator[Post]:
    """Use aiohttp, tuned."""
    import aiohttp  # noqa: PLC0415 - a floor's process loads no other client
    from yarl import URL  # noqa: PLC0415 - comes with aiohttp

    tls = _tls(authority)
    connector = aiohttp.TCPConnector(limit=concurrency, ssl=tls or True)
    skipped = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=skipped
    ) as session:

        async def post(path: str, body: bytes) -> int:
            url = URL(origin + path + _QUERY, encoded=True)
            async with session.post(url, data=body, headers=_HEADERS, allow_redirects=False) as response:
                await response.read()
                status: int = response.status
                return status

        yield post


@asynccontextmanager
async def pool_loop(origin: str, concurrency: int, authority: str) -> AsyncIterator[Post]:
    """Use our own sender."""
    pool = Pool(Origin.parse(origin), Limits(connections=concurrency), SystemClock(), _tls(authority))
    headers = HeaderLines("".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items()).encode())
    heads: dict[str, RequestHead] = {}  # one for each destination, as the product keeps them

    async def post(path: str, body: bytes) -> int:
        head = heads.get(path)
        if head is None:
            head = heads[path] = RequestHead("POST", path + _QUERY, headers)
        return (await pool.send(Request(head, body))).status

    try:
        yield post
    finally:
        await pool.aclose()


@asynccontextmanager
async def pyreqwest_loop(origin: str, concurrency: int, authority: str) -> AsyncIterator[Post]:
    """Use pyreqwest (tokio behind Python), HTTP/1.1 only."""
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415 - a floor's process loads no other client

    builder = ClientBuilder().http1_only().max_connections(concurrency)
    if authority:
        pem = Path(authority).read_bytes()  # noqa: ASYNC240 - nothing else runs yet
        builder = builder.add_root_certificate_pem(pem)
    async with builder.build() as client:

        async def post(path: str, body: bytes) -> int:
            request = client.post(origin + path + _QUERY).headers(_HEADERS).body_bytes(body).build()
            response = await request.send()
            await response.bytes()
            status: int = response.status
            return status

        yield post


@asynccontextmanager
async def httpx_loop(origin: str, concurrency: int, authority: str) -> AsyncIterator[Post]:
    """Use httpx with its default limits: raising them makes it slower."""
    import httpx  # noqa: PLC0415 - a floor's process loads no other client

    del concurrency
    async with httpx.AsyncClient(verify=_tls(authority) or True, timeout=60) as client:

        async def post(path: str, body: bytes) -> int:
            return (await client.post(origin + path + _QUERY, content=body, headers=_HEADERS)).status_code

        yield post


LOOPS = {"aiohttp": aiohttp_loop, "pool": pool_loop, "pyreqwest": pyreqwest_loop, "httpx": httpx_loop}


async def _post_all(post: Post, count: int, concurrency: int) -> None:
    calls = ((rest_path(seq % USERS), rest_body(seq)) for seq in range(count))
    prepared = iter(list(calls))

    async def deliver() -> None:
        for path, body in prepared:
            status = await post(path, body)
            if status != _ACCEPTED:
                raise SystemExit(f"the sink answered {status}")

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(deliver())


async def measure(options: argparse.Namespace) -> dict[str, float]:
    """Warm up, then count CPU and time over `count` requests."""
    origin = f"{'https' if options.authority else 'http'}://127.0.0.1:{options.port}"
    async with LOOPS[options.client](origin, options.concurrency, options.authority) as post:
        await _post_all(post, 2 * options.concurrency, options.concurrency)
        cpu, wall = time.process_time(), time.monotonic()
        await _post_all(post, options.count, options.concurrency)
        return {
            "us": (time.process_time() - cpu) * 1e6 / options.count,
            "rate": options.count / (time.monotonic() - wall),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", choices=sorted(LOOPS), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--authority", default="", help="PEM file of the CA that signed the sink; https when given")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(measure(options))) + "\n")


if __name__ == "__main__":
    main()
