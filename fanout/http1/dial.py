"""Opens a connection to an origin. Every way in which that fails is *not sent*.

Rules guarded: the name is looked up each time, so a changed record is followed. Each address gets its share of the time
that is left, so that one that does not answer (an IPv6 route that leads nowhere) leaves time for the next. TLS is
complete, with certificate and name checked, before anybody can write to the connection.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final

from fanout.clock import Clock
from fanout.errors import NotSentError
from fanout.http1.exchange import Origin
from fanout.http1.transport import TlsTransport, Transport, describe

_MAX_ADDRESSES: Final = 4
_READ_SIZE: Final = 16 * 1024

_Address = tuple[socket.AddressFamily, tuple[Any, ...]]  # the second is what connect() of that family takes


def default_tls(ca_file: str = "") -> ssl.SSLContext:
    """Return the context for https: the CAs of the system and of `ca_file`, names checked, HTTP/1.1 only."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION  # a write never waits for a handshake
    return context


async def dial(origin: Origin, tls: ssl.SSLContext | None, clock: Clock, seconds: float) -> Transport:
    """Connect within `seconds`, TLS included when `tls` is given; raises NotSentError."""
    try:
        async with clock.timeout(seconds):
            return await _first_that_answers(origin, tls, clock, clock.monotonic() + seconds)
    except TimeoutError:
        raise NotSentError(f"No connection to {origin} within {seconds:g} s.") from None
    except UnicodeError:
        raise NotSentError(f"No connection to {origin}: DNS cannot hold this name.") from None
    except OSError as error:
        raise NotSentError(f"No connection to {origin}: {describe(error)}.") from error


async def _first_that_answers(origin: Origin, tls: ssl.SSLContext | None, clock: Clock, deadline: float) -> Transport:
    addresses = await _addresses_of(origin.host, origin.port)
    for left in range(len(addresses), 1, -1):
        with contextlib.suppress(OSError):  # the error of the last address is the one that is reported
            async with clock.timeout((deadline - clock.monotonic()) / left):
                return await _open(addresses[-left], origin.host, tls)
    return await _open(addresses[-1], origin.host, tls)


async def _open(address: _Address, name: str, tls: ssl.SSLContext | None) -> Transport:
    family, target = address
    connecting = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, target)
        return Transport(connecting) if tls is None else await _shake_hands(connecting, name, tls)
    except BaseException:
        connecting.close()
        raise


async def _addresses_of(host: str, port: int) -> Sequence[_Address]:
    """Look the name up in a thread of the loop; an address needs no look-up."""
    with contextlib.suppress(ValueError):
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
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
