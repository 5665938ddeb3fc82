"""The same client against nginx, plain and TLS; collected only where nginx is installed (see conftest)."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from fanout.errors import NotSentError
from fanout.http1.dial import default_tls
from fanout.http1.exchange import Limits, Origin
from tests.fanout.http1.scripted import PoolOf, a_request
from tests.free_ports import free_port

pytestmark = pytest.mark.process

CONFIG = """
daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; keepalive_timeout 1s 5s; keepalive_requests 3; client_max_body_size 100k;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl; ssl_protocols {protocol};
    ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/cert.pem;
    location /say {{ return 200 "$request_method $request_uri"; }}
    location /empty {{ return 204; }}
    location /busy {{ add_header Retry-After 7 always; return 503; }}
    location /reset {{ return 444; }}
  }}
}}
"""


@dataclass
class Nginx:
    """Where it listens, and a context that trusts it."""

    plain: Origin
    tls: Origin
    trust: ssl.SSLContext


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
async def nginx(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nginx]:
    authority, trust = trustme.CA(), default_tls()
    authority.configure_trust(trust)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    plain, tls = free_port(), free_port()
    (tmp_path / "nginx.conf").write_text(CONFIG.format(root=tmp_path, plain=plain, tls=tls, protocol=request.param))
    binary = shutil.which("nginx")
    assert binary is not None
    process = await asyncio.create_subprocess_exec(
        binary, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")
    )
    await listening(plain)
    yield Nginx(Origin("http", "127.0.0.1", plain), Origin("https", "127.0.0.1", tls), trust)
    process.terminate()
    await process.wait()


async def listening(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    pytest.fail("nginx does not listen")


@pytest.fixture(params=["plain", "tls"])
def origin(request: pytest.FixtureRequest, nginx: Nginx) -> Origin:
    return nginx.tls if request.param == "tls" else nginx.plain


async def test_requests_are_answered_and_connections_kept(pool_of: PoolOf, nginx: Nginx, origin: Origin) -> None:
    pool = pool_of(origin, tls=nginx.trust)
    for reused in (False, True):
        response = await pool.send(a_request(b"{}", target="/say?a=b%20c"))
        assert (response.status, response.body, response.reused) == (200, b"POST /say?a=b%20c", reused)


async def test_bodiless_answers(pool_of: PoolOf, nginx: Nginx, origin: Origin) -> None:
    pool = pool_of(origin, tls=nginx.trust)
    assert (await pool.send(a_request(b"", method="DELETE", target="/empty"))).status == 204
    assert (await pool.send(a_request(b"", method="HEAD", target="/say"))).body == b""
    assert (await pool.send(a_request(b"", target="/busy"))).headers.get("retry-after") == "7"


async def test_a_server_that_closes_after_some_requests_costs_none(
    pool_of: PoolOf, nginx: Nginx, origin: Origin
) -> None:
    pool = pool_of(origin, Limits(connections=2), tls=nginx.trust)
    answers = await asyncio.gather(*(pool.send(a_request(b"x", target="/say")) for _ in range(30)))
    assert {answer.status for answer in answers} == {200}
    assert pool.stats.opened >= 10


async def test_a_server_that_closes_idle_connections_costs_no_request(
    pool_of: PoolOf, nginx: Nginx, origin: Origin
) -> None:
    pool = pool_of(origin, tls=nginx.trust)
    await pool.send(a_request(b"", target="/say"))
    await asyncio.sleep(1.3)
    assert not (await pool.send(a_request(b"", target="/say"))).reused


async def test_too_large_a_body_is_answered(pool_of: PoolOf, nginx: Nginx, origin: Origin) -> None:
    pool = pool_of(origin, tls=nginx.trust)
    assert (await pool.send(a_request(b"x" * 200_000, target="/say"))).status == 413
    assert (await pool.send(a_request(b"", target="/say"))).status == 200


async def test_an_unknown_authority_is_refused(pool_of: PoolOf, nginx: Nginx) -> None:
    with pytest.raises(NotSentError, match="certificate was refused"):
        await pool_of(nginx.tls).send(a_request(b"", target="/say"))
