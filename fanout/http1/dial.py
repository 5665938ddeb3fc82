"""Opens a connection to an origin, and maps every way in which that fails to *not sent*.

Rule guarded: the name is looked up anew each time, so a changed record is followed; each address gets its share of the
time that is left, so that one black hole (an IPv6 route that leads nowhere) leaves time for the next; TLS is finished,
with the certificate and the name checked, before the connection exists for anyone.
"""

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final, TypeVar

from fanout.clock import Clock
from fanout.errors import NotSentError
from fanout.http1.exchange import Origin

_MAX_ADDRESSES: Final = 4

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


def default_tls() -> ssl.SSLContext:
    """Give the context of an https origin that was given none: the system's CAs, names checked, HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(
    origin: Origin, tls: ssl.SSLContext | None, factory: Callable[[], _Protocol], clock: Clock, seconds: float
) -> _Protocol:
    """Connect within `seconds`, TLS included when `tls` is given; raises NotSentError."""
    try:
        async with clock.timeout(seconds):
            return await _first_that_answers(origin, tls, factory, clock, clock.monotonic() + seconds)
    except TimeoutError:
        raise NotSentError(f"No connection to {origin} within {seconds:g} s.") from None
    except (OSError, UnicodeError) as error:
        raise NotSentError(f"No connection to {origin}: {_reason(error)}.") from error


async def _first_that_answers(
    origin: Origin, tls: ssl.SSLContext | None, factory: Callable[[], _Protocol], clock: Clock, deadline: float
) -> _Protocol:
    loop = asyncio.get_running_loop()
    name = origin.host if tls else None
    hosts = await _addresses_of(origin.host, origin.port)
    for left in range(len(hosts), 1, -1):
        try:
            async with clock.timeout((deadline - clock.monotonic()) / left):
                _, protocol = await loop.create_connection(
                    factory, hosts[-left], origin.port, ssl=tls, server_hostname=name
                )
                return protocol
        except OSError:  # the next address may do better; the last one speaks for all
            continue
    _, protocol = await loop.create_connection(factory, hosts[-1], origin.port, ssl=tls, server_hostname=name)
    return protocol


async def _addresses_of(host: str, port: int) -> list[str]:
    """Look the name up in a thread of the loop; an address is its own answer and needs none."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))[:_MAX_ADDRESSES]


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate was refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason})"
    if isinstance(error, socket.gaierror):
        return error.strerror or "the name was not found"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__
