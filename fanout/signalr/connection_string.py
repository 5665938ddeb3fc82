"""Parses an Azure SignalR connection string.

Source: docs/sources.md, connection-strings: keys without case, `;` between pairs, the first `=` splits, a repeated key
is an error. Rule guarded: the access key never appears in a repr, a log or an error.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fanout.errors import ConfigurationError

_VERSION = re.compile(r"1\.\d+(?:[\w\-.]+)?", re.ASCII)
_KNOWN = {
    name.lower(): name
    for name in (
        "Endpoint", "AccessKey", "Port", "Version", "ClientEndpoint", "ServerEndpoint", "AuthType",
        "ClientId", "ClientSecret", "ClientCert", "ClientCertPath", "TenantId",
    )
}  # fmt: skip
_MAX_PORT = 65535
_ENTRA_TYPES = frozenset({"azure", "azure.msi", "azure.app", "aad"})


@dataclass(frozen=True, slots=True)
class EntraIdentity:
    """The identity of `AuthType=`: azure, azure.msi, azure.app or aad. The other fields are "" when not given."""

    auth_type: str
    client_id: str
    tenant_id: str
    client_secret: str = field(repr=False)
    client_cert: str


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """Where one service instance is and how to authenticate to it; URLs carry no trailing slash.

    Audiences are made of `endpoint`. REST calls go to `server_endpoint` and clients to `client_endpoint`; both default
    to `endpoint`. Exactly one of `access_key` ("" for none) and `entra` is set.
    """

    endpoint: str
    access_key: str = field(repr=False)
    server_endpoint: str
    client_endpoint: str
    entra: EntraIdentity | None = None

    @property
    def audience_base(self) -> str:
        """`endpoint` without its port: the audience of a client token begins with it."""
        parts = urlsplit(self.endpoint)
        host = parts.hostname or ""
        return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}"

    def identity(self, application: str) -> str:
        """Return what tells this service from others: the host of `endpoint` and the application name, never a key."""
        host = (urlsplit(self.endpoint).hostname or "").lower()
        return f"{host}/{application}" if application else host

    @classmethod
    def parse(cls, text: str) -> "ConnectionString":
        """Parse `Endpoint=...;AccessKey=...;Version=1.0;`; ConfigurationError says which part is wrong."""
        pairs = _pairs(text)
        _check_version(pairs.get("Version"))
        if "Endpoint" not in pairs:
            raise ConfigurationError("The connection string has no Endpoint=. Copy it from the service's Keys page.")
        entra = _entra(pairs)
        if entra is None and not pairs.get("AccessKey"):
            raise ConfigurationError("The connection string has no AccessKey=. Copy it from the service's Keys page.")
        endpoint = _with_port(_url("Endpoint", pairs["Endpoint"]), pairs.get("Port"))
        return cls(
            endpoint=endpoint,
            access_key="" if entra else pairs["AccessKey"],
            server_endpoint=_url("ServerEndpoint", pairs.get("ServerEndpoint") or endpoint),
            client_endpoint=_url("ClientEndpoint", pairs.get("ClientEndpoint") or endpoint),
            entra=entra,
        )


def require_access_key(service: ConnectionString) -> ConnectionString:
    """Return `service`; ConfigurationError when it asks for Microsoft Entra ID instead of an access key."""
    if service.entra is not None:
        raise ConfigurationError(
            f"The connection string asks for AuthType={service.entra.auth_type} (Microsoft Entra ID), which this "
            "version cannot do. Use the connection string that carries an AccessKey."
        )
    return service


def _entra(pairs: dict[str, str]) -> EntraIdentity | None:
    auth_type = pairs.get("AuthType", "").lower()
    if auth_type not in _ENTRA_TYPES:
        return None  # an unknown AuthType means an access key, as in the vendor's parser
    identity = EntraIdentity(
        auth_type=auth_type,
        client_id=pairs.get("ClientId", ""),
        tenant_id=pairs.get("TenantId", ""),
        client_secret=pairs.get("ClientSecret", ""),
        client_cert=pairs.get("ClientCert") or pairs.get("ClientCertPath", ""),
    )
    if auth_type == "azure.app" and not (
        identity.client_id and identity.tenant_id and (identity.client_secret or identity.client_cert)
    ):
        raise ConfigurationError("AuthType=azure.app needs ClientId, TenantId and ClientSecret or ClientCert.")
    return identity


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        known = _KNOWN.get(name.strip().lower())
        if not equals or known is None:
            continue
        if known in pairs:
            raise ConfigurationError(f"Duplicate properties found in connection string: {known}.")
        pairs[known] = value.strip()
    return pairs


def _check_version(version: str | None) -> None:
    if version and not _VERSION.fullmatch(version):
        raise ConfigurationError(f"Version {version} of the connection string is not supported; 1.x is.")


def _url(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - reading it is the check
    except ValueError as error:
        raise ConfigurationError(f"{name} in the connection string is not a URL: {error}.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"{name} in the connection string must be an absolute http or https URL.")
    return text.rstrip("/")


def _with_port(endpoint: str, port: str | None) -> str:
    if not port:
        return endpoint
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _MAX_PORT):
        raise ConfigurationError("Port in the connection string must be a number from 1 to 65535.")
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{parts.path}"
