"""Which requests can only come from this machine: from a program on it, or from a page that this server sent. Pure.

This is the proof that is left where no key is configured. A loopback peer alone is none: a proxy on this machine
forwards the requests of others, and a page of any site can send requests to 127.0.0.1, with DNS rebinding even under a
host name of its own. So four things must hold: a loopback peer, no trace of a proxy, a loopback name in Host, and, of
a browser, the same origin. Headers are by lower-case name.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

_MAX_HOST = 300  # characters of a Host header; a name has at most 253
_PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "x-envoy-external-address", "x-arr-log-id"})
_PROXY_HEADER_START = "x-forwarded-"
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


def is_from_this_machine(scope: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Return whether a request of this ASGI scope was sent on this machine, to a name of this machine."""
    client: tuple[str, int] | None = scope.get("client")  # None on a Unix socket
    if client is None or not is_loopback(client[0]):
        return False
    # What nginx forwards without being told more has no header that names it, but is HTTP/1.0.
    if scope.get("http_version") == "1.0":
        return False
    if any(name in _PROXY_HEADERS or name.startswith(_PROXY_HEADER_START) for name in headers):
        return False
    host = headers.get("host", "")
    return len(host) <= _MAX_HOST and is_loopback(_hostname(f"//{host}"))


def is_of_no_other_origin(headers: Mapping[str, str]) -> bool:
    """Return whether no web page sent a request, or one of the origin that it is for. The Host has been checked."""
    origin = headers.get("origin")
    if origin is not None:
        return origin.lower() == f"http://{headers.get('host', '').lower()}"
    site = headers.get("sec-fetch-site", "none")
    return site in _OWN_SITES or headers.get("sec-fetch-mode") == "navigate"  # a followed link is read by nobody else


@lru_cache(maxsize=256)
def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
