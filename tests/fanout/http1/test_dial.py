"""Opening a connection: every failure is *not sent*, and one dead address does not cost the others their time."""

import asyncio
import socket
import ssl
from collections.abc import Iterator

import pytest
import trustme

from fanout.clock import SystemClock
from fanout.errors import NotSentError
from fanout.http1.dial import default_tls, dial
from fanout.http1.exchange import Origin
from tests.fanout.http1.scripted import Script, Visit, echo, served, visited

pytestmark = pytest.mark.slow


async def stay(visit: Visit) -> None:
    await visit.gone()


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port of 127.0.0.2 whose backlog is full, so that connecting to it hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.2", port))
        yield port
        for caller in callers:
            caller.close()


async def connect(origin: Origin, tls: ssl.SSLContext | None = None, *, seconds: float = 5.0) -> None:
    transport = await dial(origin, tls, SystemClock(), seconds)
    transport.abort()


async def test_a_refused_connection_was_not_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentError, match="refused"):
            await connect(Origin("http", "127.0.0.1", taken.getsockname()[1]))


async def test_an_unknown_name_was_not_sent() -> None:
    with pytest.raises(NotSentError, match=r"No connection to http://no-such-host\.invalid"):
        await connect(Origin("http", "no-such-host.invalid", 80))


async def test_a_name_that_dns_cannot_hold_was_not_sent() -> None:
    with pytest.raises(NotSentError):
        await connect(Origin("http", "a" * 70 + ".example", 80))


async def test_connecting_ends_at_its_deadline(black_hole: int) -> None:
    with pytest.raises(NotSentError, match=r"within 0\.2 s"):
        await connect(Origin("http", "127.0.0.2", black_hole), seconds=0.2)


async def test_a_tls_handshake_that_never_ends_counts_as_connecting() -> None:
    async with served(stay) as server:
        origin = Origin("https", "127.0.0.1", server.origin.port)
        with pytest.raises(NotSentError, match=r"within 0\.2 s"):
            await connect(origin, default_tls(), seconds=0.2)


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop's getaddrinfo cannot be replaced
async def test_a_black_hole_leaves_time_for_the_next_address(black_hole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def two_addresses(*_args: object, **_named: object) -> object:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, black_hole)) for host in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    async with served(stay, port=black_hole) as server:
        await connect(Origin("http", "localhost", black_hole), seconds=0.6)
        await visited(server, 1)


async def test_ipv6_is_dialled() -> None:
    async with served(stay, host="::1") as server:
        await connect(server.origin)
        await visited(server, 1)


def test_the_default_context_checks_certificates_and_names() -> None:
    context = default_tls()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = default_tls()
    authority.configure_trust(context)
    return context


async def test_a_custom_ca_is_trusted(authority: trustme.CA) -> None:
    async with served(stay, tls=server_side(authority, "127.0.0.1")) as server:
        await connect(server.origin, client_side(authority))


async def test_an_unknown_ca_is_refused_by_default(authority: trustme.CA) -> None:
    async with served(stay, tls=server_side(authority, "127.0.0.1")) as server:
        with pytest.raises(NotSentError, match="certificate was refused"):
            await connect(server.origin, default_tls())


async def test_a_certificate_for_another_host_is_refused(authority: trustme.CA) -> None:
    async with served(stay, tls=server_side(authority, "other.example")) as server:
        with pytest.raises(NotSentError, match="certificate was refused"):
            await connect(server.origin, client_side(authority))


async def test_plain_text_where_tls_was_expected_is_not_sent(authority: trustme.CA) -> None:
    async def plain(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 400 Bad\r\n\r\n")

    async with served(plain) as server:
        with pytest.raises(NotSentError):
            await connect(Origin("https", "127.0.0.1", server.origin.port), client_side(authority))


async def test_a_server_that_hangs_up_in_the_handshake_is_not_sent(authority: trustme.CA) -> None:
    async def hang_up(visit: Visit) -> None:
        await visit.reader.read(1)
        visit.reset()

    async with served(hang_up) as server:
        with pytest.raises(NotSentError):
            await connect(Origin("https", "127.0.0.1", server.origin.port), client_side(authority))


def relaying(port: int, *, chunk: int = 65536, most: int | None = None, end: str = "close") -> Script:
    """Carry bytes between the client and `port`: in chunks, at most so many towards the client, then close or hang."""

    async def to_client(reader: asyncio.StreamReader, visit: Visit) -> None:
        left = 10**9 if most is None else most
        while left and (data := await reader.read(min(chunk, left))):
            visit.writer.write(data)
            await visit.writer.drain()
            left -= len(data)
            await asyncio.sleep(0)
        if end == "hang":
            await asyncio.Event().wait()

    async def relay(visit: Visit) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(to_client(reader, visit))
            asking = group.create_task(_pump(visit.reader, writer))
            await asyncio.wait([answering, asking], return_when=asyncio.FIRST_COMPLETED)
            answering.cancel()
            asking.cancel()
        writer.close()

    return relay


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def test_a_handshake_that_comes_byte_by_byte_is_completed(authority: trustme.CA) -> None:
    async with (
        served(echo, tls=server_side(authority, "127.0.0.1")) as server,
        served(relaying(server.origin.port, chunk=1)) as relay,
    ):
        await connect(Origin("https", "127.0.0.1", relay.origin.port), client_side(authority))


@pytest.mark.parametrize("end", ["close", "hang"])
@pytest.mark.parametrize("most", [0, 1, 5, 6, 60, 130, 400])
async def test_a_handshake_that_ends_at_any_step_is_not_sent(authority: trustme.CA, most: int, end: str) -> None:
    expected, seconds = ("during the TLS handshake", 10.0) if end == "close" else ("within 0.3 s", 0.3)
    async with (
        served(echo, tls=server_side(authority, "127.0.0.1")) as server,
        served(relaying(server.origin.port, most=most, end=end)) as relay,
    ):
        with pytest.raises(NotSentError, match=expected):
            await connect(Origin("https", "127.0.0.1", relay.origin.port), client_side(authority), seconds=seconds)


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\x16\x03\x03\xff\xff" + b"x" * 70000, b"SSH-2.0-OpenSSH\r\n"])
async def test_garbage_in_a_handshake_is_not_sent(authority: trustme.CA, garbage: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.read(1)
        await visit.say(garbage)
        await visit.gone()

    async with served(script) as server:
        with pytest.raises(NotSentError, match="TLS failed"):
            await connect(Origin("https", "127.0.0.1", server.origin.port), client_side(authority))
