"""The same client against a server that many people run: uvicorn with Starlette, plain and TLS."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import Response as Said
from starlette.responses import StreamingResponse
from starlette.routing import Route

from fanout.http1.dial import default_tls
from fanout.http1.exchange import Limits, Origin
from fanout.http1.pool import Pool
from tests.fanout.http1.scripted import PoolOf, a_request

pytestmark = pytest.mark.slow


async def mirror(asked: Asked) -> Said:
    body = await asked.body()
    if asked.query_params.get("chunked"):

        async def pieces() -> AsyncIterator[bytes]:
            yield body[:1]
            yield body[1:]

        return StreamingResponse(pieces(), 201)
    close = {"connection": "close"} if asked.query_params.get("close") else {}
    return Said(body, 200, {"x-target": asked.url.path, "x-auth": asked.headers.get("authorization", ""), **close})


async def refuse(_asked: Asked) -> Said:
    return Said(b"too much", 413)


APP = Starlette(
    routes=[
        Route("/mirror/{rest:path}", mirror, methods=["POST", "PUT", "DELETE", "HEAD"]),
        Route("/refuse", refuse, methods=["POST"]),
    ]
)


@dataclass
class Running:
    """Where a server listens, and the pool that trusts it."""

    origin: Origin
    trust: ssl.SSLContext
    pool_of: PoolOf

    def pool(self, limits: Limits = Limits()) -> Pool:  # noqa: B008 - frozen
        return self.pool_of(self.origin, limits, self.trust)


@pytest.fixture(params=["h11-http", "httptools-http", "httptools-https"])
async def server(request: pytest.FixtureRequest, pool_of: PoolOf, tmp_path: Path) -> AsyncIterator[Running]:
    parser, scheme = request.param.split("-")
    authority, trust = trustme.CA(), default_tls()
    authority.configure_trust(trust)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    certificate = str(tmp_path / "cert.pem") if scheme == "https" else None
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:  # asyncio sets TCP_NODELAY only where it is named
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            APP, http=parser, log_level="warning", lifespan="off", timeout_keep_alive=1, ssl_certfile=certificate
        )
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server._serve([listener]))
            while not server.started:  # noqa: ASYNC110 - the server offers no event to wait for
                await asyncio.sleep(0.01)
            yield Running(Origin(scheme, "127.0.0.1", listener.getsockname()[1]), trust, pool_of)
            server.should_exit = True
            await task


async def test_bodies_paths_and_headers_arrive(server: Running) -> None:
    pool = server.pool()
    request = a_request(b"\x00\xff" * 500, target="/mirror/a%20b?api-version=1", headers=b"Authorization: Bearer t\r\n")
    response = await pool.send(request)
    assert (response.status, response.body) == (200, request.body)
    assert response.headers.get("X-Target") == "/mirror/a%20b".replace("%20", " ")
    assert response.headers.get("x-auth") == "Bearer t"
    assert (await pool.send(request)).reused


async def test_chunked_answers_keep_the_connection(server: Running) -> None:
    pool = server.pool()
    for reused in (False, True):
        response = await pool.send(a_request(b"hello", target="/mirror/?chunked=1"))
        assert (response.status, response.body, response.reused) == (201, b"hello", reused)


async def test_head_and_empty_bodies(server: Running) -> None:
    pool = server.pool()
    assert (await pool.send(a_request(b"", method="HEAD", target="/mirror/x"))).body == b""
    assert (await pool.send(a_request(b"", method="DELETE", target="/mirror/x"))).reused


async def test_connection_close_is_obeyed(server: Running) -> None:
    pool = server.pool()
    for _ in range(3):
        assert not (await pool.send(a_request(b"x", target="/mirror/?close=1"))).reused
    assert pool.stats.idle == 0


async def test_an_early_refusal_of_a_large_body_is_an_answer(server: Running) -> None:
    response = await server.pool().send(a_request(b"x" * 3_000_000, target="/refuse"))
    assert (response.status, response.body) == (413, b"too much")


async def test_the_servers_own_idle_close_costs_no_request(server: Running) -> None:
    pool = server.pool()
    await pool.send(a_request(b"1", target="/mirror/"))
    await asyncio.sleep(1.3)
    response = await pool.send(a_request(b"2", target="/mirror/"))
    assert (response.body, response.reused) == (b"2", False)


async def test_large_bodies_go_both_ways(server: Running) -> None:
    pool, body = server.pool(Limits(max_body=2**23)), os.urandom(3_000_000)
    for reused in (False, True):
        response = await pool.send(a_request(body, target="/mirror/"))
        assert response.body == body
        assert response.reused is reused


async def test_many_at_once_match_their_requests(server: Running) -> None:
    pool = server.pool(Limits(connections=8))
    answers = await asyncio.gather(*(pool.send(a_request(b"%d" % number, target="/mirror/")) for number in range(300)))
    assert [answer.body for answer in answers] == [b"%d" % number for number in range(300)]
    assert pool.stats.opened <= 8
