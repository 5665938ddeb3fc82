"""Reads FANOUT_REDIS_URL: which servers, how they are deployed and how to log in to them. Pure.

Rules guarded: a URL that cannot be used is refused with the reason, and no error and no repr shows any part of it that
may be a password. TLS verifies the certificate and the name of the server unless the URL disables it explicitly. An
unknown option is refused, because a misspelt one would silently mean a default.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from fanout.errors import ConfigurationError

Deployment = Literal["single", "cluster", "sentinel"]

_SCHEMES = ("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://")
_PORTS: Mapping[str, int] = {"single": 6379, "cluster": 6379, "sentinel": 26379}
_OPTIONS = frozenset({"cluster", "db", "sentinel_username", "sentinel_password"})
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})
_MAX_PORT = 65_535
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_ENCODE = (
    "has a special character that is not percent-encoded in its user name or password: write # as %23, % as %25, "
    "/ as %2F, ? as %3F and @ as %40, or put the password as it is into FANOUT_REDIS_PASSWORD"
)


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """The host and port of one server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """User name and password; empty where the server requires none."""

    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server is verified. `ca` is a file of authorities trusted besides those of the machine."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """What a URL names. `nodes` are the server, seeds of the Cluster or the Sentinels; `path` is that of a socket."""

    deployment: Deployment
    nodes: tuple[Node, ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    login: Login = Login()
    sentinel_login: Login = Login()
    tls: Tls | None = None

    def __str__(self) -> str:
        scheme = ("rediss" if self.tls else "redis") + ("+sentinel" if self.deployment == "sentinel" else "")
        if self.path:
            return f"unix://{self.path}?db={self.db}"
        service = f"/{self.service}" if self.service else ""
        query = "?cluster=true" if self.deployment == "cluster" else ""
        return f"{scheme}://{','.join(map(str, self.nodes))}{service}/{self.db}{query}"


def parse(url: str, *, ca: str = "", password: str = "") -> RedisAddress:
    """Read a URL. Raise ConfigurationError.

    `ca` is a file of certificate authorities for URLs that name none, `password` that of the servers where the URL has
    none: taken as it is, not percent-encoded.
    """
    scheme = url.partition("://")[0]
    if f"{scheme}://" not in _SCHEMES:
        shown = scheme if scheme != url and scheme.replace("+", "").isalnum() else "what it starts with"
        raise _refused(f"must start with {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}; {shown!r} is none of them")
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise _refused("cannot be read: percent-encode special characters in the user name and password") from None
    if parts.fragment or (scheme != "unix" and "@" in parts.path) or _STRAY_PERCENT.search(url):
        raise _refused(_ENCODE)
    unknown = sorted(query.keys() - _OPTIONS - _TLS_OPTIONS)
    if unknown:
        known = ", ".join(sorted(_OPTIONS | _TLS_OPTIONS))
        raise _refused(f"has {len(unknown)} unknown options; the known ones are {known}")
    return _with_password(_address(scheme, parts, query, ca), password)


def _address(scheme: str, parts: SplitResult, query: Mapping[str, str], ca: str) -> RedisAddress:
    userinfo, _at, hosts = parts.netloc.rpartition("@")
    login = _login(userinfo)
    if scheme == "unix":
        if not parts.path:
            raise _refused("names no socket: write unix:///path/to/socket?db=0")
        return RedisAddress("single", path=unquote(parts.path), db=_db(query.get("db", "")), login=login)
    deployment: Deployment = "cluster" if _flag(query, "cluster", default=False) else "single"
    service, db = "", parts.path.strip("/")
    if scheme.endswith("+sentinel"):
        if deployment == "cluster":
            raise _refused("names a Sentinel and says cluster=true: only one of the two is possible")
        deployment = "sentinel"
        service, _slash, db = db.partition("/")
        if not service:
            raise _refused("names no service: write redis+sentinel://host:port,host:port/service")
    nodes = tuple(_node(text, _PORTS[deployment]) for text in hosts.split(","))
    if deployment == "single" and len(nodes) > 1:
        raise _refused("names several hosts: add ?cluster=true, or use redis+sentinel://")
    number = _db(query.get("db", db))
    if deployment == "cluster" and number:
        raise _refused("names a database: a Cluster has only 0")
    return RedisAddress(
        deployment, nodes, service=unquote(service), db=number, login=login,
        sentinel_login=Login(query.get("sentinel_username", ""), query.get("sentinel_password", "")),
        tls=_tls(query, ca, secured=scheme.startswith("rediss")),
    )  # fmt: skip


def _with_password(address: RedisAddress, password: str) -> RedisAddress:
    if not password:
        return address
    if address.login.password:
        raise _refused("has a password, and FANOUT_REDIS_PASSWORD is set too: remove one of the two")
    return replace(address, login=replace(address.login, password=password))


def _login(userinfo: str) -> Login:
    username, _colon, password = userinfo.partition(":")
    return Login(unquote(username), unquote(password))


def _node(text: str, port: int) -> Node:
    host, colon, number = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, number = text, str(port)
    if not number.isdecimal() or not 0 < int(number) <= _MAX_PORT:
        raise _refused("has an invalid port; percent-encode special characters in the user name and password")
    return Node(unquote(host.removeprefix("[").removesuffix("]")) or "localhost", int(number))


def _db(text: str) -> int:
    if text and not text.isdecimal():
        raise _refused("has a database that is not a number")
    return int(text or 0)


def _tls(query: Mapping[str, str], ca: str, *, secured: bool) -> Tls | None:
    if not secured:
        if query.keys() & _TLS_OPTIONS:
            raise _refused("has TLS options without TLS: write rediss:// instead of redis://")
        return None
    requirement = query.get("ssl_cert_reqs", "required")
    if requirement not in {"required", "none"}:
        raise _refused("has an ssl_cert_reqs other than required or none")
    return Tls(
        ca=query.get("ssl_ca_certs", ca),
        certificate=query.get("ssl_certfile", ""),
        key=query.get("ssl_keyfile", ""),
        verify=requirement == "required",
        check_hostname=_flag(query, "ssl_check_hostname", default=True),
    )


def _flag(query: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = query.get(name, "").lower()
    if text in _YES | _NO:
        return text in _YES
    if name in query:
        raise _refused(f"has a {name} other than true or false")
    return default


def _refused(what: str) -> ConfigurationError:
    return ConfigurationError(f"FANOUT_REDIS_URL {what}.")
