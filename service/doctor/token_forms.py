"""Checks which tokens the service accepts: the configured form, other forms, and that it checks them at all.

Source: docs/sources.md, rest-tokens: the audience is the URL without the query; older SDKs add api-version and omit the
port. Each check is a HEAD for a user that does not exist: 404 and 200 both mean that the token was accepted. Nothing
changes.
"""

from functools import partial
from typing import Final, get_args
from urllib.parse import urlsplit

from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString, EntraIdentity
from fanout.signalr.routes import ApiVersion
from service.doctor.findings import CheckFailedError
from service.doctor.probe import refusal_of
from service.doctor.reach import ANSWERS
from service.doctor.target import Check, SignedRequest, Target

FAMILY: Final = "token"
ACCEPTED: Final = "the token is accepted"
ENDPOINT: Final = "audience on the host of Endpoint"
SERVER: Final = "audience on the host of ServerEndpoint"
VERSIONS: Final[tuple[str, ...]] = get_args(ApiVersion)
_REFUSED: Final = frozenset({401, 403})
_UNSUPPORTED: Final = 400
_SERVER_ERRORS: Final = 500
_PORTS: Final = {"http": 80, "https": 443}


def version_check(version: str) -> str:
    """Return the name of the check of an api-version."""
    return f"api-version {version}"


def checks(service: ConnectionString, settings: Settings) -> tuple[Check, ...]:
    """Return the checks of this family."""
    others = [version for version in VERSIONS if version != settings.api_version]
    versions = (
        Check(FAMILY, version_check(settings.api_version), partial(_version, settings.api_version), ACCEPTED),
        *(Check(FAMILY, version_check(other), partial(_version, other), ACCEPTED, relied_on=False) for other in others),
    )
    if service.entra is not None:  # its token names no URL
        return (Check(FAMILY, ACCEPTED, _identity, needs=ANSWERS), *versions)
    hosts = [(ENDPOINT, service.endpoint, settings.audience == "endpoint")]
    if service.server_endpoint != service.endpoint:
        hosts.append((SERVER, service.server_endpoint, settings.audience == "server"))
    return (
        Check(FAMILY, ACCEPTED, _configured, needs=ANSWERS),
        *(Check(FAMILY, name, partial(_on, base), ANSWERS, relied_on=chosen) for name, base, chosen in hosts),
        Check(FAMILY, "audience with the api-version query", _with_query, ANSWERS, relied_on=False),
        Check(FAMILY, "audience with the port left out or added", _other_port, ANSWERS, relied_on=False),
        Check(FAMILY, "a token for another URL is refused", _foreign, ACCEPTED, relied_on=False),
        *versions,
    )


async def _identity(target: Target) -> str:
    identity = target.service.entra or EntraIdentity()
    status = await _status(target, target.audience_base)
    if status in _REFUSED:
        raise CheckFailedError(f"The service {refusal_of(status, identity)}")
    if status >= _SERVER_ERRORS:
        raise CheckFailedError(f"Answered {status}, which says nothing about the token.")
    return identity.text


async def _configured(target: Target) -> str:
    await _taken(target, target.audience_base)
    return f"{target.settings.audience} audience, URL without query"


async def _on(base: str, target: Target) -> str:
    await _taken(target, base)
    return base


async def _with_query(target: Target) -> str:
    await _taken(target, target.audience_base, f"?{target.query()}")
    return f"...?{target.query()}"


async def _other_port(target: Target) -> str:
    base = other_port(target.audience_base)
    await _taken(target, base)
    return base


async def _foreign(target: Target) -> str:
    try:
        await _taken(target, "https://another.service.example")
    except CheckFailedError:
        return "the service checks the audience"
    raise CheckFailedError("The service accepts tokens for other URLs.")


async def _version(version: str, target: Target) -> str:
    status = await _status(target, target.audience_base, version=version)
    if status == _UNSUPPORTED or status >= _SERVER_ERRORS:
        raise CheckFailedError(f"Answered {status}.")
    return f"answered {status}"


def other_port(base: str) -> str:
    """Return the same URL without its port, or with the default port of its scheme where it had none."""
    parts = urlsplit(base)
    bare = parts.netloc.removesuffix(f":{parts.port}")
    return f"{parts.scheme}://{bare if parts.port else f'{bare}:{_PORTS[parts.scheme]}'}{parts.path}"


async def _taken(target: Target, base: str, suffix: str = "") -> None:
    status = await _status(target, base, suffix)
    if status in _REFUSED:
        raise CheckFailedError(f"Answered {status} to a token for {base}: wrong key, audience, clock or network rule.")
    if status >= _SERVER_ERRORS:
        raise CheckFailedError(f"Answered {status}, which says nothing about the token.")


async def _status(target: Target, base: str, suffix: str = "", version: str = "") -> int:
    path = target.hub_path(f"/users/{target.unique_name('nobody')}")
    request = SignedRequest("HEAD", path, target.query(version), base + path + suffix)
    return (await target.request(request)).status_code
