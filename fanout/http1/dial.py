"""Opens a connection to an origin, through a proxy where there is one. Every failure is *not sent*.

Source for proxies: RFC 9110, section 9.3.6. Rules guarded: the name is looked up each time, so a changed record is
followed. Each address gets its share of the time that is left, so that one that does not answer (an IPv6 route that
leads nowhere) leaves time for the next. TLS is complete, with certificate and name checked, before anybody can write to
the connection. Errors say the cause in words.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Final

from fanout.clock import Clock
from fanout.errors import NotSentError
from fanout.http1.connection import TlsTransport, Transport, describe
from fanout.http1.exchange import FramingError, Origin
from fanout.http1.messages import read_head
from fanout.http1.proxy import Proxy

_MAX_ADDRESSES: Final = 4
_READ_SIZE: Final = 16 * 1024
_MAX_PROXY_ANSWER: Final = 16 * 1024
_SUCCESS, _REDIRECT = 200, 300
_PROXY_HINTS: Final = {
    403: ": it does not allow this destination",
    407: ": it asks for a user and a password, or refuses those it was given",
    502: ": it cannot reach the destination",
    503: ": it cannot reach the destination",
    504: ": it cannot reach the destination",
}

_Address = tuple[socket.AddressFamily, tuple[Any, ...]]  # the second is what connect() of that family takes


def default_tls(ca_file: str = "") -> ssl.SSLContext:
    """Return the context for https: the CAs of the system and of `ca_file`, names checked, HTTP/1.1 only."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION  # a write never waits for a handshake
    return context


async def dial(
    origin: Origin, tls: ssl.SSLContext | None, clock: Clock, seconds: float, proxy: Proxy | None = None
) -> Transport:
    """Connect within `seconds`, TLS included when `tls` is given; raises NotSentError with the cause in words."""
    way = f"{origin} through the proxy {proxy}" if proxy else str(origin)
    try:
        async with clock.timeout(seconds):
            return await _first_that_answers(origin, tls, clock, clock.monotonic() + seconds, proxy)
    except TimeoutError:
        raise NotSentError(f"No connection to {way} within {seconds:g} s.") from None
    except UnicodeError:
        raise NotSentError(f"No connection to {way}: DNS cannot hold this name.") from None
    except OSError as error:
        raise NotSentError(f"No connection to {way}: {describe(error)}.") from error


async def _first_that_answers(
    origin: Origin, tls: ssl.SSLContext | None, clock: Clock, deadline: float, proxy: Proxy | None
) -> Transport:
    hop = proxy.origin if proxy else origin
    with _naming(proxy):
        addresses = await _addresses_of(hop.host, hop.port)
    for left in range(len(addresses), 1, -1):
        with contextlib.suppress(OSError):  # the error of the last address is the one that is reported
            async with clock.timeout((deadline - clock.monotonic()) / left):
                return await _open(addresses[-left], origin, tls, proxy)
    return await _open(addresses[-1], origin, tls, proxy)


async def _open(address: _Address, origin: Origin, tls: ssl.SSLContext | None, proxy: Proxy | None) -> Transport:
    family, target = address
    connecting = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with _naming(proxy):
            await asyncio.get_running_loop().sock_connect(connecting, target)
        if tls is None:
            return Transport(connecting)  # a proxy is given whole URLs
        if proxy is not None:
            await _open_tunnel(connecting, origin, proxy)
        return await _shake_hands(connecting, origin.host, tls)
    except BaseException:
        connecting.close()
        raise


@contextlib.contextmanager
def _naming(proxy: Proxy | None) -> Iterator[None]:
    """Say of errors in the block that they concern the proxy, when there is one."""
    try:
        yield
    except OSError as error:
        if proxy is None or isinstance(error, TimeoutError):
            raise
        raise ConnectionError(f"the proxy cannot be reached: {describe(error)}") from error


async def _open_tunnel(connected: socket.socket, origin: Origin, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    authority = f"{host}:{origin.port}".encode("ascii")
    lines = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (authority, authority, proxy.authorization.text)
    await loop.sock_sendall(connected, lines)
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = await loop.sock_recv(connected, _READ_SIZE)
        if not data:
            raise ConnectionError("the proxy ended the connection")
        answer += data
        if len(answer) > _MAX_PROXY_ANSWER:
            raise ConnectionError("the proxy answered with too large a head")
    status = _status_of(answer)
    if not _SUCCESS <= status < _REDIRECT:
        hint = _PROXY_HINTS.get(status, "")
        raise ConnectionError(f"the proxy answered {status}{hint}")
    if not answer.endswith(b"\r\n\r\n"):
        raise ConnectionError("the proxy sent more than its answer")


def _status_of(answer: bytes) -> int:
    try:
        return read_head(answer[: answer.index(b"\r\n\r\n") + 4], "HEAD").status
    except FramingError:
        raise ConnectionError("what listens there does not answer as a proxy") from None


async def _addresses_of(host: str, port: int) -> Sequence[_Address]:
    """Look the name up in a thread of the loop; an address needs no look-up."""
    with contextlib.suppress(ValueError):
        is_new = isinstance(ipaddress.ip_address(host), ipaddress.IPv6Address)
        family = socket.AF_INET6 if is_new else socket.AF_INET
        return [(family, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))[:_MAX_ADDRESSES]


async def _shake_hands(connected: socket.socket, name: str, context: ssl.SSLContext) -> TlsTransport:
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await loop.sock_sendall(connected, outgoing.read())
            data = await loop.sock_recv(connected, _READ_SIZE)
            if not data:
                raise ConnectionError("the server ended the connection during the TLS handshake") from None
            incoming.write(data)
        except ssl.SSLError:
            with contextlib.suppress(OSError):  # the alert that says why
                await loop.sock_sendall(connected, outgoing.read())
            raise
        else:
            await loop.sock_sendall(connected, outgoing.read())
            return TlsTransport(connected, tls, incoming, outgoing)
