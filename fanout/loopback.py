"""Which requests can only come from this machine: from a program on it, or from a page that this server sent. Pure.

This is the proof that is left where no key is configured. A loopback peer alone is none: a proxy on this machine
forwards the requests of others, and a page of any site can send requests to 127.0.0.1, with DNS rebinding even under a
host name of its own. So four things must hold: a loopback peer, no trace of a proxy, a loopback name in Host, and, of
a browser, the same origin.
"""

import ipaddress
from collections.abc import Collection, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

_MAX_HOST = 300  # characters of a Host header; a name has at most 253
_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_OWN_SITES = ("same-origin", "none")  # none: the person at the browser typed the address


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Return whether a host name or address can only be this machine. Names are not looked up."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback  # a socket for both families shows 127.0.0.1 as ::ffff:127.0.0.1


def is_local_request(headers: Mapping[str, str], peer: str | None, origins: Collection[str] = ()) -> bool:
    """Return whether a request comes from this machine. `headers` has lower-case names.

    `peer` is the address of the socket's other end, None for a Unix socket. Pages of `origins` are allowed too.
    """
    if peer is None or not is_loopback(peer) or any(name in headers for name in _PROXY_HEADERS):
        return False
    host = headers.get("host", "")
    if len(host) > _MAX_HOST or not is_loopback(_hostname(f"//{host}")):
        return False
    origin = headers.get("origin")
    if origin is not None:
        return origin in origins or origin.partition("://")[2] == host
    site = headers.get("sec-fetch-site", "none")
    return site in _OWN_SITES or headers.get("sec-fetch-mode") == "navigate"  # following a link is no harm


@lru_cache(maxsize=256)
def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
