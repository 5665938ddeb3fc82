"""What a TLS server may do within a connection, with `openssl s_server`: new keys and renegotiation.

Collected only where openssl is installed (see conftest).
"""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from fanout.http1.dial import default_tls
from fanout.http1.exchange import BrokenExchangeError, Limits, Origin
from fanout.http1.pool import Pool
from tests.fanout.http1.scripted import OK, PoolOf, a_request
from tests.free_ports import free_port

pytestmark = pytest.mark.lengthy


@dataclass
class OpenSsl:
    """A server that shows what it reads and sends what it is given; a line may be a command."""

    process: asyncio.subprocess.Process
    pool: Pool

    async def shows(self, text: bytes) -> None:
        """Wait until it has printed `text`."""
        assert self.process.stdout is not None
        await asyncio.wait_for(self.process.stdout.readuntil(text), 10)

    def send_line(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)

    async def exchange(self, number: int) -> None:
        """Send a request that only the right keys can read, and answer it."""
        sending = asyncio.ensure_future(self.pool.send(a_request(b"body %d\n" % number)))
        await self.shows(b"body %d\n" % number)
        self.send_line(OK)
        assert (await asyncio.wait_for(sending, 10)).body == b"ok"


@asynccontextmanager
async def openssl(pool_of: PoolOf, directory: Path, *options: str) -> AsyncIterator[OpenSsl]:
    authority, trust, certificate, port = trustme.CA(), default_tls(), directory / "cert.pem", free_port()
    authority.configure_trust(trust)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    binary = shutil.which("openssl")
    assert binary is not None
    process = await asyncio.create_subprocess_exec(
        *(binary, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(certificate), *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**23,
    )
    try:
        pool = pool_of(Origin("https", "127.0.0.1", port), Limits(connections=1), trust)
        server = OpenSsl(process, pool)
        await server.shows(b"ACCEPT\n")
        yield server
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("command", [b"k\n", b"K\n"])
async def test_new_keys_in_a_connection_are_followed(pool_of: PoolOf, tmp_path: Path, command: bytes) -> None:
    """`k`: the server has new keys; `K`: it asks for ours too. Without them it could not read the next request."""
    async with openssl(pool_of, tmp_path, "-tls1_3") as server:
        await server.exchange(1)
        for number in (2, 3):
            server.send_line(command)
            await asyncio.sleep(0.05)  # a command has to come to the server as a read of its own
            await server.exchange(number)
        assert server.pool.stats.opened == 1


async def test_new_keys_within_a_large_request_are_followed(pool_of: PoolOf, tmp_path: Path) -> None:
    async with openssl(pool_of, tmp_path, "-tls1_3") as server:
        sending = asyncio.ensure_future(server.pool.send(a_request(b"x" * 3_000_000 + b"end of it\n")))
        await server.shows(b"POST ")
        server.send_line(b"K\n")
        await server.shows(b"end of it\n")
        server.send_line(OK)
        assert (await asyncio.wait_for(sending, 10)).body == b"ok"
        await server.exchange(2)
        assert server.pool.stats.opened == 1


async def test_a_renegotiation_is_refused_and_ends_in_an_error_of_ours(pool_of: PoolOf, tmp_path: Path) -> None:
    async with openssl(pool_of, tmp_path, "-tls1_2") as server:
        await server.exchange(1)
        sending = asyncio.ensure_future(server.pool.send(a_request(b"body 2\n")))
        await server.shows(b"body 2\n")
        server.send_line(b"r\n")
        with pytest.raises(BrokenExchangeError):
            await asyncio.wait_for(sending, 10)
        await server.exchange(3)
        assert server.pool.stats.opened == 2


def test_a_context_refuses_renegotiation() -> None:
    assert default_tls().options & ssl.OP_NO_RENEGOTIATION
