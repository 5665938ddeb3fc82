"""Asks the service once whether it can be reached and accepts the access key.

Rules guarded: the question changes nothing: it asks whether a user exists that nobody has. Only 401 and 403 mean a
refused key. The health route is asked without a token, and the vendor's local emulator answers it with 401, so any
answer proves that the service can be reached.
Source: docs/sources.md, operations, statuses and emulator.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fanout.clock import Clock
from fanout.environment import CONNECTION_STRING, variable_of
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString, EntraIdentity
from service.doctor.findings import CheckFailedError
from service.doctor.target import Options, SignedRequest, Target, open_target
from service.identities import Identities

_HUB: Final = "fanoutprobe"
_REFUSED: Final = frozenset({401, 403})
_BAD_REQUEST: Final = 400
_UNAUTHORIZED: Final = 401
_SERVER_ERROR: Final = 500
_LOOP: Final = 508  # what this service answers to its own calls


class Access(StrEnum):
    """What the service answered."""

    GRANTED = "granted"
    KEY_REFUSED = "keyRefused"
    VERSION_REFUSED = "versionRefused"
    UNAVAILABLE = "unavailable"
    LOOP = "loop"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer, and what it means in words: what is wrong, and what to do."""

    access: Access
    detail: str


async def probe(
    service: ConnectionString,
    settings: Settings,
    clock: Clock,
    identities: Identities | None = None,
    *,
    variable: str = CONNECTION_STRING,
) -> ProbeResult:
    """Ask the service; every failure is a result. `variable` is the setting that names the service."""
    options = Options(_HUB, timeout=settings.attempt_timeout)
    try:
        async with open_target(service, settings, options, clock, identities) as target:
            await target.request(SignedRequest("HEAD", "/api/health"))
            status = await target.status_of(f"/users/{target.unique_name('nobody')}")
            return _judged(status, target, variable)
    except CheckFailedError as error:
        return ProbeResult(Access.UNAVAILABLE, f"{service.server_endpoint} cannot be used now: {error}")


def _judged(status: int, target: Target, variable: str) -> ProbeResult:
    endpoint, identity = target.service.server_endpoint, target.service.entra
    if status in _REFUSED and identity is not None:
        refusal = refusal_of(status, identity)
        return ProbeResult(Access.KEY_REFUSED, f"{endpoint} {refusal} Nothing will be delivered to it.")
    if status in _REFUSED:
        return ProbeResult(
            Access.KEY_REFUSED,
            f"{endpoint} refuses the access key ({status}): nothing will be delivered to it. Check {variable}, "
            f"{variable_of('audience')}, the clock of this machine and the network rules of the service. "
            "`fanout doctor` finds out which.",
        )
    if status == _BAD_REQUEST:
        return ProbeResult(
            Access.VERSION_REFUSED,
            f"{endpoint} refuses the call ({status}): it may not know API version {target.settings.api_version}. "
            f"`fanout doctor` proposes the right {variable_of('api_version')}.",
        )
    if status == _LOOP:
        return ProbeResult(
            Access.LOOP,
            f"{endpoint} is this service, which would deliver to itself: remove ServerEndpoint from "
            f"{variable} here, and leave it in the settings of the applications that send.",
        )
    if status >= _SERVER_ERROR:
        return ProbeResult(Access.UNAVAILABLE, f"{endpoint} cannot be used now: it answered {status}.")
    accepted = "the access key" if identity is None else f"{identity.text}"
    return ProbeResult(Access.GRANTED, f"{endpoint} accepts {accepted}.")


def refusal_of(status: int, identity: EntraIdentity) -> str:
    """Return what a 401 or 403 to an identity means, and what to do."""
    if status == _UNAUTHORIZED:
        return (
            f"does not accept the token of {identity.text} ({status}): it must be of the tenant of the service, and "
            "the clock of this machine must be right. Right after access keys or the service were changed it may take "
            "some minutes."
        )
    return (
        f"does not let {identity.text} in ({status}): give it the role SignalR Service Owner, or SignalR REST API "
        "Owner where nobody negotiates here, on the service. It takes up to 30 minutes to take effect. If it has it, "
        "look at the network rules of the service."
    )
