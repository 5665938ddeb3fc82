"""Whether the service can be reached, is well, tells the same time, and keeps connections.

Source: contract 2.1 (HEAD /api/health needs no token), RFC 9110 6.6.1 (Date). Rule guarded: any HTTP answer proves that
the way is open; what the answer says is another check, because a gateway in front may not pass /api/health on.
"""

from email.utils import parsedate_to_datetime
from typing import Final

from fanout.signalr.message import GroupAction, Scope, Verb
from service.doctor.check import Check
from service.doctor.failure import DisprovedError
from service.doctor.target import Errand, Patient

ANSWERS: Final = "the service answers"
FAMILY: Final = "reach"
_OK: Final = 200
_GRAIN: Final = 2.0  # seconds; a Date is cut to whole seconds and may be a second old
_NOTEWORTHY: Final = 60.0  # seconds of skew; tokens live longer, but logs and TTLs stop agreeing
_RENEWAL: Final = 0.1  # the share of a token's lifetime at which it is replaced


def checks() -> tuple[Check, ...]:
    """List the checks of this family."""
    return (
        Check(FAMILY, ANSWERS, _answers),
        Check(FAMILY, "health", _health, needs=ANSWERS, relied_on=False),
        Check(FAMILY, "clock skew", _skew, needs=ANSWERS),
        Check(FAMILY, "two calls on one connection", _keep_alive, needs=ANSWERS, relied_on=False),
    )


async def _answers(patient: Patient) -> str:
    began = patient.clock.monotonic()
    answer = await patient.ask(Errand("HEAD", "/api/health"))
    took = patient.clock.monotonic() - began
    return f"{answer.http_version} from {patient.service.server_endpoint} in {took * 1000:.0f} ms"


async def _health(patient: Patient) -> str:
    status = (await patient.ask(Errand("HEAD", "/api/health"))).status_code
    if status != _OK:
        raise DisprovedError(f"HEAD /api/health answered {status}.")
    return "HEAD /api/health answered 200"


async def _skew(patient: Patient) -> str:
    before = patient.clock.wall()
    answer = await patient.ask(Errand("HEAD", "/api/health"))
    here = (before + patient.clock.wall()) / 2
    try:
        there = parsedate_to_datetime(answer.headers.get("date", "")).timestamp() + 0.5  # cut to whole seconds
    except ValueError:
        return "unknown: the answer carries no Date"
    return skew_verdict(there - here, patient.settings.token_lifetime)


def skew_verdict(ahead: float, lifetime: float) -> str:
    """Judge a service clock that is `ahead` seconds before ours; DisprovedError when tokens would not live."""
    if abs(ahead) <= _GRAIN:
        return f"less than {_GRAIN:g} s"
    text = f"the service's clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    if ahead > lifetime * _RENEWAL:
        raise DisprovedError(f"{text}: tokens expire there before they are replaced here. Set this machine's clock.")
    return f"{text}{'; set this machine to the right time' if abs(ahead) > _NOTEWORTHY else ''}"


async def _keep_alive(patient: Patient) -> str:
    nobody = GroupAction(Verb.REMOVE, Scope.USER, patient.name("nobody"), patient.name("group"))
    answers = [await patient.client.call(patient.terms.hub, nobody) for _ in range(2)]
    if not answers[1].reused:
        raise DisprovedError("Each call needs a connection of its own, which makes delivery slow.")
    return "HTTP keep-alive"
