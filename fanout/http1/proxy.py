"""An HTTP proxy on the way to an origin, and whether there is one. Pure.

Source: RFC 9110, section 9.3.6 (CONNECT), RFC 9112, section 3.2.2 (absolute-form), RFC 7617 (Basic). For NO_PROXY the
rules that Go documents (golang.org/x/net/http/httpproxy), because they are the ones that are written down. Rule
guarded: no repr, text or error shows the credentials of a proxy.
"""

import ipaddress
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from fanout.http1.exchange import Origin
from fanout.http1.messages import HeaderLines, Request

_DEFAULT_PORT = 80


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens, and what each request to it carries to authenticate."""

    origin: Origin
    authorization: HeaderLines = field(default=HeaderLines(), repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `http://[user:password@]host[:port]`; ValueError says what is wrong, without the text itself."""
        parts = urlsplit(text if "://" in text else f"http://{text}")
        if parts.scheme != "http":
            raise ValueError("a proxy is reached over http://; https:// and socks are not supported")
        host = parts.netloc.rpartition("@")[2]
        try:
            origin = Origin.parse(f"http://{host}")
        except ValueError:
            raise ValueError("a proxy is http://[user:password@]host[:port]") from None
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("a proxy has no path and no query; percent-encode special characters of its password")
        return cls(origin, _basic(parts.username, parts.password))

    @property
    def headers(self) -> dict[str, str]:
        """The same as names and values, for another client."""
        lines = self.authorization.text.decode("ascii").splitlines()
        return dict(line.split(": ", 1) for line in lines)

    def __str__(self) -> str:
        return f"http://{self.origin.authority}"


def _basic(user: str | None, password: str | None) -> HeaderLines:
    if user is None:
        return HeaderLines()
    credentials = b64encode(f"{unquote(user)}:{unquote(password or '')}".encode())
    return HeaderLines(b"Proxy-Authorization: Basic %b\r\n" % credentials)


def proxy_for(origin: Origin, *, http: str, https: str, no_proxy: str) -> Proxy | None:
    """Return the proxy to `origin`; ValueError when it is not a proxy.

    The arguments are the values of HTTP_PROXY, HTTPS_PROXY and NO_PROXY, "" for none.
    """
    text = (https if origin.scheme == "https" else http).strip()
    if not text or is_exempt(origin, no_proxy):
        return None
    return Proxy.parse(text)


def is_exempt(origin: Origin, no_proxy: str) -> bool:
    """Return whether `origin` is reached directly: this machine always is, and whatever `no_proxy` names.

    An entry is `*`, an address, a network (10.0.0.0/8), a domain with all below it (example.com), or only what is below
    it (.example.com), each with a port where it means only that one.
    """
    address = _address(origin.host)
    if origin.host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_names(entry.strip().lower(), origin, address) for entry in no_proxy.split(","))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _names(entry: str, origin: Origin, address: _Address | None) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    host, port = _split_port(entry)
    if port and port != str(origin.port):
        return False
    if address is not None:
        return _address(host) == address
    name = host.removeprefix("*")
    return origin.host.endswith(name) if name.startswith(".") else f".{origin.host}".endswith(f".{name}")


def _split_port(entry: str) -> tuple[str, str]:
    if _address(entry) is not None:  # IPv6 without brackets
        return entry, ""
    host, colon, port = entry.rpartition(":")
    if not colon or not port.isdigit():
        host, port = entry, ""
    return host.removeprefix("[").removesuffix("]"), port


def encode_for_proxy(request: Request, authority: bytes, authorization: HeaderLines) -> bytes:
    """Return the message for a proxy to a plain origin: the target is a whole URL, `authorization` is for the proxy."""
    head, body = request.head, request.body
    return b"%b http://%b%b HTTP/1.1\r\nHost: %b\r\n%b%b%bContent-Length: %d\r\n\r\n%b" % (
        head.method.encode(),
        authority,
        head.target.encode(),
        authority,
        authorization.text,
        request.authorization.text,
        head.headers.text,
        len(body),
        body,
    )
