"""Which way a request goes, and what it meets there: a real CONNECT proxy on loopback, and proxies that refuse."""

import asyncio
import ssl
from base64 import b64encode

import pytest
import trustme

from fanout.clock import SystemClock
from fanout.errors import NotSentError
from fanout.http1.dial import default_tls
from fanout.http1.exchange import Limits, Origin
from fanout.http1.messages import HeaderLines
from fanout.http1.pool import Pool
from fanout.http1.proxy import Proxy, is_exempt, proxy_for
from tests.fanout.http1.connect_proxy import ConnectProxy, connect_proxy
from tests.fanout.http1.scripted import Script, Visit, a_request, echo, served
from tests.free_ports import free_port


@pytest.mark.parametrize(
    ("text", "shown", "credentials"),
    [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("http://proxy", "http://proxy", None),
        ("proxy.example:8080/", "http://proxy.example:8080", None),
        ("http://[::1]:3128", "http://[::1]:3128", None),
        ("http://user:p%40ss%3A@proxy:1", "http://proxy:1", "user:p@ss:"),
        ("http://user@proxy:1", "http://proxy:1", "user:"),
    ],
)
def test_a_proxy_is_read_and_never_shows_its_credentials(text: str, shown: str, credentials: str | None) -> None:
    proxy = Proxy.parse(text)
    line = b"" if credentials is None else b"Proxy-Authorization: Basic %b\r\n" % b64encode(credentials.encode())
    assert (str(proxy), proxy.authorization) == (shown, HeaderLines(line))
    assert "ass" not in repr(proxy)
    assert "Basic" not in repr(proxy)


@pytest.mark.parametrize(
    "text",
    [
        "https://secret@proxy",
        "socks5://secret@proxy:1080",
        "http://secret:p/w@proxy",
        "http://secret:p#w@proxy",
        "http://proxy/secret",
        "http://",
        "http://secret proxy",
        "http://secret:99999",
    ],
)
def test_what_is_no_proxy_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="a proxy") as caught:
        Proxy.parse(text)
    assert "secret" not in str(caught.value)


SERVICE = Origin.parse("https://abc.service.signalr.net")


@pytest.mark.parametrize(
    ("no_proxy", "url", "exempt"),
    [
        ("", "https://abc.service.signalr.net", False),
        ("*", "https://abc.service.signalr.net", True),
        ("other, service.signalr.net", "https://abc.service.signalr.net", True),
        (".service.signalr.net", "https://abc.service.signalr.net", True),
        ("*.signalr.net", "https://abc.service.signalr.net", True),
        ("ABC.Service.SignalR.net", "https://abc.service.signalr.net", True),
        ("ervice.signalr.net", "https://abc.service.signalr.net", False),
        (".abc.service.signalr.net", "https://abc.service.signalr.net", False),
        ("abc.service.signalr.net:443", "https://abc.service.signalr.net", True),
        ("abc.service.signalr.net:444", "https://abc.service.signalr.net", False),
        ("abc.service.signalr.net:444", "https://abc.service.signalr.net:444", True),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("10.1.2.3:443", "https://10.1.2.3", True),
        ("10.1.2.3:444", "https://10.1.2.3", False),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.0.0.0/999", "https://10.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]", True),
        ("fd00::1", "https://[fd00::1]", True),
        ("[fd00::1]:443", "https://[fd00::1]", True),
        ("1.2.3", "https://10.1.2.3", False),
        ("", "http://localhost:8888", True),
        ("", "http://127.0.0.2:8888", True),
        ("", "http://[::1]:8888", True),
    ],
)
def test_no_proxy_names_what_is_reached_directly(no_proxy: str, url: str, exempt: bool) -> None:
    assert is_exempt(Origin.parse(url), no_proxy) is exempt


def test_the_proxy_is_that_of_the_scheme() -> None:
    plain = Origin.parse("http://abc.example")
    assert str(proxy_for(SERVICE, http="http://a", https="http://b", no_proxy="")) == "http://b"
    assert str(proxy_for(plain, http="http://a", https="http://b", no_proxy="")) == "http://a"
    assert proxy_for(SERVICE, http="http://a", https=" ", no_proxy="") is None
    assert proxy_for(SERVICE, http="", https="socks5://unused", no_proxy="service.signalr.net") is None


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = default_tls()
    authority.configure_trust(context)
    return context


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_https_goes_through_a_tunnel_and_is_checked_end_to_end(
    authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    """The proxy resolves the name, which exists nowhere else."""
    async with (
        served(echo, tls=certified(authority, "service.invalid")) as server,
        connect_proxy({"service.invalid": server.origin.port}, user="user:p@ss") as proxy,
    ):
        origin = Origin("https", "service.invalid", 443)
        way = Proxy.parse(f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        pool = Pool(origin, Limits(connections=2), SystemClock(), trust, way)
        answers = await asyncio.gather(*(pool.send(a_request(b"%d" % number)) for number in range(10)))
        await pool.aclose()
    assert [answer.body for answer in answers] == [b"%d" % number for number in range(10)]
    assert proxy.asked == ["CONNECT service.invalid:443"] * 2
    assert all(b"roxy-" not in request for visit in server.visits for request in visit.requests)


async def test_plain_http_is_sent_to_the_proxy_with_whole_urls() -> None:
    seen: list[bytes] = []

    async def forward(visit: Visit) -> None:
        while True:
            seen.append(await visit.read())
            await visit.say(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    async with served(forward) as proxy:
        way = Proxy.parse(f"http://user:pw@127.0.0.1:{proxy.origin.port}")
        pool = Pool(Origin("http", "service.invalid", 8888), Limits(), SystemClock(), None, way)
        for _ in range(2):
            assert (await pool.send(a_request(b"body", target="/a?b=1", headers=b"X-A: b\r\n"))).status == 202
        await pool.aclose()
        assert len(proxy.visits) == 1
    assert seen[0] == (
        b"POST http://service.invalid:8888/a?b=1 HTTP/1.1\r\nHost: service.invalid:8888\r\n"
        b"Proxy-Authorization: Basic dXNlcjpwdw==\r\nX-A: b\r\nContent-Length: 4\r\n\r\nbody"
    )


async def refused(origin: Origin, port: int, trust: ssl.SSLContext, *, seconds: float = 5.0) -> str:
    """Return why nothing could be sent."""
    way = Proxy.parse(f"http://user:secret@127.0.0.1:{port}")
    pool = Pool(origin, Limits(connect_timeout=seconds), SystemClock(), trust, way)
    with pytest.raises(NotSentError) as caught:
        await pool.send(a_request())
    await pool.aclose()
    assert "secret" not in str(caught.value)
    return str(caught.value).removeprefix(f"No connection to {origin} through the proxy http://127.0.0.1:{port}")


async def test_a_proxy_that_is_not_there_is_named(trust: ssl.SSLContext) -> None:
    assert await refused(SERVICE, free_port(), trust) == ": the proxy cannot be reached: connection refused."


async def test_a_proxy_that_wants_other_credentials_is_named(trust: ssl.SSLContext) -> None:
    async with connect_proxy({}, user="someone:else") as proxy:
        reason = await refused(SERVICE, proxy.port, trust)
    assert reason == ": the proxy answered 407: it asks for a user and a password, or refuses those it was given."


async def test_a_proxy_that_cannot_reach_the_service_is_named(trust: ssl.SSLContext) -> None:
    async with connect_proxy({"abc.service.signalr.net": free_port()}) as proxy:
        assert await refused(SERVICE, proxy.port, trust) == ": the proxy answered 502: it cannot reach the destination."


async def test_a_certificate_behind_a_proxy_is_checked(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    async with (
        served(echo, tls=certified(authority, "other.example")) as server,
        connect_proxy({"abc.service.signalr.net": server.origin.port}) as proxy,
    ):
        assert "the certificate was refused (Hostname mismatch" in await refused(SERVICE, proxy.port, trust)


def saying(*pieces: bytes) -> Script:
    async def script(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        await visit.say(*pieces)

    return script


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "what listens there does not answer as a proxy"),
        (saying(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "it does not allow this destination"),
        (saying(b"HTTP/1.1 302 Found\r\nLocation: http://login\r\n\r\n"), "the proxy answered 302"),
        (saying(b"HTTP/1.1 200 OK\r\n"), "the proxy ended the connection"),
        (saying(b"HTTP/1.1 200 OK\r\n\r\nextra"), "the proxy sent more than its answer"),
        (saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000), "too large a head"),
        (Visit.gone, "within 0.3 s"),
    ],
)
async def test_a_proxy_that_misbehaves_is_not_sent(script: Script, reason: str, trust: ssl.SSLContext) -> None:
    async with served(script) as proxy:
        assert reason in await refused(SERVICE, proxy.origin.port, trust, seconds=0.3)


async def test_an_answer_of_a_proxy_in_pieces_is_read(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    async with (
        served(echo, tls=certified(authority, "service.invalid")) as server,
        connect_proxy({"service.invalid": server.origin.port}, byte_by_byte=True) as proxy,
    ):
        way = Proxy.parse(f"127.0.0.1:{proxy.port}")
        pool = Pool(Origin("https", "service.invalid", 443), Limits(), SystemClock(), trust, way)
        assert (await pool.send(a_request(b"hello"))).body == b"hello"
        await pool.aclose()
    assert isinstance(proxy, ConnectProxy)
