"""Reads a service by identity as Functions apps do: `AzureSignalRConnectionString__serviceUri` and companions. Pure.

Source: docs/sources.md, identity-settings. Rule guarded: it becomes the connection string that means the same, so that
one parser checks it and one place decides what an identity is. A companion that would do nothing is refused, and so is
a value that would become another part of that string.
"""

from collections.abc import Mapping
from typing import Final

from fanout.errors import ConfigurationError

SEPARATOR: Final = "__"
SERVICE_URI: Final = "serviceUri"
# The companions, and the parts of a connection string that they become.
_PARTS: Final = {
    SERVICE_URI: "Endpoint",
    "clientId": "ClientId",
    "tenantId": "TenantId",
    "clientSecret": "ClientSecret",
    "serverEndpoint": "ServerEndpoint",
    "clientEndpoint": "ClientEndpoint",
}
_CREDENTIAL: Final = "credential"
_NAMES: Final = {name.lower(): name for name in (*_PARTS, _CREDENTIAL)}
_AUTH_TYPES: Final = {"managedidentity": "azure.msi", "workloadidentity": "azure.workload"}
# What the vendor's libraries know besides; here it would be taken for the name of an endpoint.
OF_OTHERS: Final = frozenset({
    "additionallyallowedtenants", "clientcertificate", "clientcertificatestorelocation", "clientcertificatestorename",
    "managedidentityclientid", "managedidentityidkind", "managedidentityobjectid", "managedidentityresourceid",
    "systemaccesstokenfile", "tokencredential",
})  # fmt: skip
# What would do nothing beside it.
_UNUSED: Final = {"managedidentity": ("tenantId", "clientSecret"), "workloadidentity": ("clientSecret",)}


def companion_of(variable: str, base: str) -> str:
    """Return which companion of `base` a variable is, as it is spelt in documentation; "" for none."""
    start = f"{base}{SEPARATOR}".lower()
    return _NAMES.get(variable.lower().removeprefix(start), "") if variable.lower().startswith(start) else ""


def connection_string_of(base: str, values: Mapping[str, str]) -> str:
    """Return the connection string that the companions of `base` mean, by the names of `companion_of`.

    ConfigurationError names the setting that is missing or wrong, never a value.
    """
    given = {name: value.strip() for name, value in values.items() if value.strip()}
    if not given.get(SERVICE_URI):
        raise ConfigurationError(
            f"{base}{SEPARATOR}{SERVICE_URI} is not set, and {base}{SEPARATOR}{min(given)} does nothing without it: "
            "set it to the URL of the service, https://<name>.service.signalr.net."
        )
    for name, value in given.items():
        if ";" in value:
            raise ConfigurationError(f"{base}{SEPARATOR}{name} has a semicolon in it: copy it again.")
    parts = [f"{part}={given[name]}" for name, part in _PARTS.items() if name in given]
    return ";".join([*parts, f"AuthType={_auth_type(base, given)}"]) + ";"


def _auth_type(base: str, given: Mapping[str, str]) -> str:
    chosen = given.get(_CREDENTIAL, "").lower()
    unused = [name for name in _UNUSED.get(chosen, ()) if name in given]
    if unused:
        raise ConfigurationError(
            f"{base}{SEPARATOR}{unused[0]} belongs to an app registration, and {_CREDENTIAL}={chosen} uses none: "
            "remove one of the two."
        )
    if chosen:
        if chosen not in _AUTH_TYPES:
            known = " or ".join(_AUTH_TYPES)
            raise ConfigurationError(
                f"{base}{SEPARATOR}{_CREDENTIAL} must be {known}, or left out: then it is an app registration where "
                "clientSecret is set, and else whatever identity the machine has."
            )
        return _AUTH_TYPES[chosen]
    return "azure.app" if "clientSecret" in given else "azure"
