"""Identity tokens of Microsoft Entra ID by azure-identity. Only this file knows the library.

It is part of the extra `entra` and is imported where an identity is configured. The library's own variables (AZURE_...)
say what the default chain may use and where the authority is.

Rules guarded: the library runs in a thread that does not keep a process from ending, because it may wait longer than a
shutdown takes. Its asynchronous variant needs aiohttp, a second HTTP client for a request an hour. Each request has a
credential of its own, since the library caches tokens too: what is cached, renewed and refused is decided in `renewal`
alone. No token and no secret appears in an error.
"""

import logging
from typing import Any, Final, Protocol

from azure.core.credentials import AccessTokenInfo
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from fanout.clock import Clock
from fanout.environment import standard_variable
from fanout.errors import TokenUnavailableError
from fanout.log import masked
from fanout.renewal import Term
from fanout.signalr.connection_string import EntraIdentity
from service.aside import Aside

_PUBLIC: Final = ("login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn")
_TIMEOUT: Final = 10.0  # seconds to connect, and seconds without an answer
_LONGEST: Final = 25.0  # seconds that one request is waited for; the next one who asks waits for it again
_MAX_REASON: Final = 1200  # characters: the default chain names each identity that it tried
_MAX_TOKEN: Final = 12 * 1024  # characters; a header may have 16 KB


class Azure(Protocol):
    """What this file uses of a credential of the library."""

    def get_token_info(self, *scopes: str) -> AccessTokenInfo:
        """Return a token."""

    def close(self) -> None:
        """Close the connections to the authority."""


class IdentityTokens:
    """The tokens of one identity for one scope."""

    def __init__(self, identity: EntraIdentity, scope: str, clock: Clock) -> None:
        self._identity = identity
        self._scope = scope
        self._clock = clock
        self._asking = Aside(self._request, clock, within=_LONGEST)

    def __repr__(self) -> str:
        return f"<IdentityTokens of {self._identity.text} for {self._scope}>"

    async def fetch(self) -> Term[str]:
        """Return a new token; TokenUnavailableError with the reason, TimeoutError where it takes too long."""
        try:
            info = await self._asking.result()
        except TimeoutError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library of credentials raises, there is no token
            raise TokenUnavailableError(_reason(error)) from None
        if not _is_one_word(info.token):
            raise TokenUnavailableError("what was given is no token")
        now = self._clock.wall()
        return Term.of(info.token, now=now, ends_at=info.expires_on, renew_at=info.refresh_on)

    def _request(self) -> AccessTokenInfo:
        logging.getLogger("azure").setLevel(logging.CRITICAL)  # what it says is in the error too
        credential = credential_of(self._identity)
        try:
            return credential.get_token_info(self._scope)
        finally:
            credential.close()


def credential_of(identity: EntraIdentity) -> Azure:
    """Return the credential of the library that an identity means."""
    options: dict[str, Any] = {"connection_timeout": _TIMEOUT, "read_timeout": _TIMEOUT, "retry_total": 2}
    known = {"client_id": identity.client_id, "tenant_id": identity.tenant_id}
    checks: dict[str, Any] = options | {"disable_instance_discovery": _is_private(authority())}
    match identity.kind:
        case "secret":
            return ClientSecretCredential(**known, client_secret=identity.client_secret.value, **checks)
        case "certificate":
            return CertificateCredential(**known, certificate_path=identity.client_cert, **checks)
        case "workload":
            given = {name: value for name, value in known.items() if value}
            return WorkloadIdentityCredential(**given, **checks)
        case "managed":
            return ManagedIdentityCredential(client_id=identity.client_id or None, **options)
        case _:
            chosen = {
                "managed_identity_client_id": identity.client_id,
                "workload_identity_tenant_id": identity.tenant_id,
            }
            return DefaultAzureCredential(
                **{name: value for name, value in chosen.items() if value},
                exclude_shared_token_cache_credential=True,
                exclude_visual_studio_code_credential=True,
                exclude_broker_credential=True,
                **checks,
            )


def authority() -> str:
    """Return where tokens are asked for where the environment says so, "" where it does not."""
    return standard_variable("AZURE_AUTHORITY_HOST")


def _is_private(url: str) -> bool:
    # An authority that is none of the public clouds is not asked about at login.microsoftonline.com.
    host = url.removeprefix("https://").partition("/")[0].lower()
    return bool(host) and host not in _PUBLIC


def _is_one_word(token: str) -> bool:
    return 0 < len(token) <= _MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token


def _reason(error: Exception) -> str:
    text = masked(str(getattr(error, "message", "") or str(error) or type(error).__name__))
    return " ".join(text.split())[:_MAX_REASON]
