"""Parses an Azure SignalR connection string.

Source: docs/sources.md, connection-strings: keys without case, `;` between pairs, the first `=` splits, a repeated key
is an error. A part without `=`, which the vendor's parser leaves out, is one too: it is a key cut in two, or a `;` that
became something else. Rule guarded: the access key never appears in a repr, a log or an error.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from fanout.errors import ConfigurationError
from fanout.http1.exchange import Origin
from fanout.secret import Secret

_VERSION = re.compile(r"1\.\d+(?:[\w\-.]+)?", re.ASCII)
_KNOWN = {
    name.lower(): name
    for name in (
        "Endpoint", "AccessKey", "Port", "Version", "ClientEndpoint", "ServerEndpoint", "AuthType",
        "ClientId", "ClientSecret", "ClientCert", "ClientCertPath", "TenantId",
    )
}  # fmt: skip
_MAX_PORT = 65535
_QUOTES = tuple("\"'`\u201c\u201d\u2018\u2019")
_ASSIGNMENT = re.compile(r"(?:export\s+)?([\w.:\-]+)\s*[=:]\s*[\"']?\s*Endpoint\s*=", re.IGNORECASE)
_SERVICE_URI = re.compile(r"(?:^|;)\s*serviceUri\s*=", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"<[^>]*>|\{[^}]*\}|^\*+$|^\.\.\.$")
# The vendor knows no azure.workload; it is what `__credential=workloadidentity` of a Functions app means.
_ENTRA_TYPES = frozenset({"azure", "azure.msi", "azure.app", "azure.workload", "aad"})

IdentityKind = Literal["default", "managed", "workload", "secret", "certificate"]


@dataclass(frozen=True, slots=True)
class EntraIdentity:
    """The identity of an `AuthType=`. The other fields are "" when not given. The secret may be replaced."""

    auth_type: str = "azure"
    client_id: str = ""
    tenant_id: str = ""
    client_secret: Secret = field(default_factory=Secret, repr=False)
    client_cert: str = ""

    @property
    def kind(self) -> IdentityKind:
        """How its tokens are got: `default` tries what the machine has, one after another."""
        if self.auth_type == "azure.msi" or (self.auth_type == "aad" and not self.tenant_id):
            return "managed"
        if self.auth_type in {"azure.app", "aad"}:
            return "secret" if self.client_secret.value else "certificate"
        return "workload" if self.auth_type == "azure.workload" else "default"

    @property
    def text(self) -> str:
        """What it is, in words and without a secret."""
        named = f" {self.client_id}" if self.client_id else ""
        match self.kind:
            case "secret" | "certificate":
                return f"the app registration{named} of tenant {self.tenant_id}, by its {self.kind}"
            case "managed":
                return f"the managed identity{named}" if named else "the system-assigned managed identity"
            case "workload":
                return f"the workload identity{named}"
            case _:
                return "the default chain of identities" + (f", client{named}" if named else "")


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """Where one service instance is and how to authenticate to it; URLs carry no trailing slash.

    Audiences are made of `endpoint`. REST calls go to `server_endpoint` and clients to `client_endpoint`; both default
    to `endpoint`. Exactly one of `key` and `entra` is set. Secrets may be replaced while the process runs.
    """

    endpoint: str
    key: Secret = field(repr=False)
    server_endpoint: str
    client_endpoint: str
    entra: EntraIdentity | None = None

    @property
    def access_key(self) -> str:
        """The access key as it is now, "" for none."""
        return self.key.value

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

    def renew(self, other: "ConnectionString") -> bool:
        """Put the secrets of `other` in force. Return False, and change nothing, where it names something else."""
        entra = other.entra
        if entra is not None and self.entra is not None:
            entra = replace(entra, client_secret=self.entra.client_secret)
        if replace(other, key=self.key, entra=entra) != self:
            return False
        if self.entra is not None and other.entra is not None:
            self.entra.client_secret.replace(other.entra.client_secret.value)
        else:
            self.key.replace(other.access_key)
        return True

    @classmethod
    def parse(cls, text: str) -> "ConnectionString":
        """Parse `Endpoint=...;AccessKey=...;Version=1.0;`; ConfigurationError names the mistake in one line."""
        text = text.strip()
        _check_whole(text)
        pairs = _pairs(text)
        _check_values(pairs)
        _check_version(pairs.get("Version"))
        entra = _entra(pairs)
        _check_present(pairs, ["Endpoint"] if entra else ["Endpoint", "AccessKey"], text)
        endpoint = _with_port(_url("Endpoint", pairs["Endpoint"]), pairs.get("Port"))
        return cls(
            endpoint=endpoint,
            key=Secret("" if entra else pairs["AccessKey"]),
            server_endpoint=_url("ServerEndpoint", pairs.get("ServerEndpoint") or endpoint),
            client_endpoint=_url("ClientEndpoint", pairs.get("ClientEndpoint") or endpoint),
            entra=entra,
        )


def _entra(pairs: dict[str, str]) -> EntraIdentity | None:
    auth_type = pairs.get("AuthType", "").lower()
    if auth_type not in _ENTRA_TYPES:
        return None  # an unknown AuthType means an access key, as in the vendor's parser
    identity = EntraIdentity(
        auth_type=auth_type,
        client_id=pairs.get("ClientId", ""),
        tenant_id=pairs.get("TenantId", ""),
        client_secret=Secret(pairs.get("ClientSecret", "")),
        client_cert=pairs.get("ClientCert") or pairs.get("ClientCertPath", ""),
    )
    _check_app(identity)
    return identity


def _check_app(identity: EntraIdentity) -> None:
    if identity.kind not in {"secret", "certificate"}:
        return
    if not (identity.client_id and identity.tenant_id and (identity.client_secret.value or identity.client_cert)):
        raise ConfigurationError(
            f"AuthType={identity.auth_type} needs ClientId, TenantId and ClientSecret or ClientCert."
        )


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    parts = text.split(";")
    for part in parts:
        name, equals, value = part.partition("=")
        known = _KNOWN.get(name.strip().lower())
        if not equals or known is None:
            continue
        if known in pairs:
            raise ConfigurationError(f"{known} occurs twice in the connection string: remove one of the two.")
        pairs[known] = value.strip()
    bare = [number for number, part in enumerate(parts, 1) if part.strip() and "=" not in part]
    if bare and pairs:
        # Not repeated: it may be half of a key.
        raise ConfigurationError(
            f"Part {bare[0]} of the connection string has no =: each part is Name=value, and ; ends it. Copy it again."
        )
    return pairs


def _check_whole(text: str) -> None:
    """Refuse what was pasted with something around it, or is something else."""
    if text[:1] in _QUOTES or text[-1:] in _QUOTES:
        raise ConfigurationError("The connection string stands in quotation marks: remove them.")
    if text.lower().startswith("@microsoft.keyvault("):
        raise ConfigurationError(
            "The connection string is a Key Vault reference that was not resolved. Give the app access to the vault, "
            "or put the string itself there."
        )
    if (match := _ASSIGNMENT.match(text)) is not None:
        raise ConfigurationError(
            f"The connection string begins with a name ({match[1]}): keep only what begins with Endpoint=."
        )
    if _SERVICE_URI.search(text):
        raise ConfigurationError(
            "The connection string names a serviceUri, which is a setting of its own: "
            "AzureSignalRConnectionString__serviceUri. Or write Endpoint=https://...;AuthType=azure;."
        )


def _check_values(pairs: Mapping[str, str]) -> None:
    for name, value in pairs.items():
        if _PLACEHOLDER.search(value):
            raise ConfigurationError(f"{name} in the connection string is a placeholder: put the real value there.")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ConfigurationError(
                f"{name} in the connection string contains a space or a special character: copy it again."
            )


def _check_present(pairs: Mapping[str, str], needed: Iterable[str], text: str) -> None:
    given = [part.partition("=")[0].strip() for part in text.split(";") if "=" in part]
    for name in needed:
        if not pairs.get(name):
            # A longer word may hold a value, and is not repeated.
            words = [each for each in given if each.lower() not in _KNOWN and len(each) <= len(name) + 2]
            close = difflib.get_close_matches(name, words, n=1)
            hint = f"Is {close[0]}= meant to be it?" if close else "Copy it from the service's Keys page."
            raise ConfigurationError(f"The connection string has no {name}=. {hint}")


def _check_version(version: str | None) -> None:
    if version and not _VERSION.fullmatch(version):
        raise ConfigurationError(f"Version {version} of the connection string is not supported; 1.x is.")


def _url(name: str, text: str) -> str:
    if "://" not in text:
        raise ConfigurationError(f"{name} in the connection string has no scheme: put https:// in front of it.")
    scheme, _, rest = text.partition("://")
    if "@" in rest.partition("/")[0]:
        raise ConfigurationError(f"{name} in the connection string contains user:password@: remove it.")
    try:
        parts = urlsplit(text)
        Origin.parse(f"{scheme}://{parts.netloc}")
    except ValueError:
        raise ConfigurationError(f"{name} in the connection string is not an http or https URL with a host.") from None
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{name} in the connection string has a query or a fragment: remove it.")
    return text.rstrip("/")


def _with_port(endpoint: str, port: str | None) -> str:
    if not port:
        return endpoint
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _MAX_PORT):
        raise ConfigurationError("Port in the connection string must be a number from 1 to 65535.")
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{parts.path}"
