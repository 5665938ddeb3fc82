"""Which tokens the service takes: the form that is configured, the other forms, and that it checks at all.

Source: contract 3.1 and 3.2 (URL without query; older SDKs add api-version and leave the port out). Asked with HEAD for
a user nobody has: 404 and 200 both mean that the token was taken, and nothing changes.
"""

from functools import partial
from typing import Final
from urllib.parse import urlsplit

from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.doctor.check import Check
from service.doctor.failure import DisprovedError
from service.doctor.reach import ANSWERS
from service.doctor.target import Errand, Patient

FAMILY: Final = "token"
ACCEPTED: Final = "the token is accepted"
ENDPOINT: Final = "audience on the host of Endpoint"
SERVER: Final = "audience on the host of ServerEndpoint"
VERSIONS: Final = ("2022-06-01", "2023-07-01", "2024-12-01")
_REFUSED: Final = frozenset({401, 403})
_UNSUPPORTED: Final = 400
_SERVER_ERRORS: Final = 500
_PORTS: Final = {"http": 80, "https": 443}


def version_check(version: str) -> str:
    """Name the check of an api-version."""
    return f"api-version {version}"


def checks(service: ConnectionString, settings: Settings) -> tuple[Check, ...]:
    """List the checks of this family."""
    hosts = [(ENDPOINT, service.endpoint, settings.audience == "endpoint")]
    if service.server_endpoint != service.endpoint:
        hosts.append((SERVER, service.server_endpoint, settings.audience == "server"))
    others = [version for version in VERSIONS if version != settings.api_version]
    return (
        Check(FAMILY, ACCEPTED, _configured, needs=ANSWERS),
        *(Check(FAMILY, name, partial(_on, base), ANSWERS, relied_on=chosen) for name, base, chosen in hosts),
        Check(FAMILY, "audience with the api-version query", _with_query, ANSWERS, relied_on=False),
        Check(FAMILY, "audience with the port left out or added", _other_port, ANSWERS, relied_on=False),
        Check(FAMILY, "a token for another URL is refused", _foreign, ACCEPTED, relied_on=False),
        Check(FAMILY, version_check(settings.api_version), partial(_version, settings.api_version), ACCEPTED),
        *(Check(FAMILY, version_check(other), partial(_version, other), ACCEPTED, relied_on=False) for other in others),
    )


async def _configured(patient: Patient) -> str:
    await _taken(patient, patient.audience_base)
    return f"{patient.settings.audience} audience, URL without query"


async def _on(base: str, patient: Patient) -> str:
    await _taken(patient, base)
    return base


async def _with_query(patient: Patient) -> str:
    await _taken(patient, patient.audience_base, f"?{patient.query()}")
    return f"...?{patient.query()}"


async def _other_port(patient: Patient) -> str:
    base = other_port(patient.audience_base)
    await _taken(patient, base)
    return base


async def _foreign(patient: Patient) -> str:
    try:
        await _taken(patient, "https://another.service.example")
    except DisprovedError:
        return "the service checks the audience"
    raise DisprovedError("The service takes tokens made for other URLs.")


async def _version(version: str, patient: Patient) -> str:
    status = await _status(patient, patient.audience_base, version=version)
    if status == _UNSUPPORTED or status >= _SERVER_ERRORS:
        raise DisprovedError(f"Answered {status}.")
    return f"answered {status}"


def other_port(base: str) -> str:
    """Give the same URL with its port left out, or with the scheme's own port said where there was none."""
    parts = urlsplit(base)
    bare = parts.netloc.removesuffix(f":{parts.port}")
    return f"{parts.scheme}://{bare if parts.port else f'{bare}:{_PORTS[parts.scheme]}'}{parts.path}"


async def _taken(patient: Patient, base: str, suffix: str = "") -> None:
    status = await _status(patient, base, suffix)
    if status in _REFUSED:
        raise DisprovedError(f"Answered {status} to a token for {base}: wrong key, audience, clock or network rule.")
    if status >= _SERVER_ERRORS:
        raise DisprovedError(f"Answered {status}, which says nothing of the token.")


async def _status(patient: Patient, base: str, suffix: str = "", version: str = "") -> int:
    path = patient.hub_path(f"/users/{patient.name('nobody')}")
    errand = Errand("HEAD", path, patient.query(version), base + path + suffix)
    return (await patient.ask(errand)).status_code
