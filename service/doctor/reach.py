"""Checks that the service can be reached, is healthy, has the same time and keeps connections open.

Source: docs/sources.md, operations (HEAD /api/health needs no token), and RFC 9110 section 6.6.1 (Date). Rule guarded:
any HTTP answer proves that the service can be reached. What the answer says is another check, because a gateway in
front may not forward /api/health.
"""

from email.utils import parsedate_to_datetime
from typing import Final

from fanout.signalr.message import GroupAction, Scope, Verb
from service.doctor.findings import CheckFailedError
from service.doctor.target import Check, SignedRequest, Target

ANSWERS: Final = "the service answers"
FAMILY: Final = "reach"
_OK: Final = 200
_PRECISION: Final = 2.0  # seconds; a Date has whole seconds and may be a second old
_NOTEWORTHY: Final = 60.0  # seconds of skew; tokens still work, but logs and TTLs disagree
_RENEWAL: Final = 0.1  # the fraction of a token's lifetime that is left when it is replaced


def checks() -> tuple[Check, ...]:
    """Return the checks of this family."""
    return (
        Check(FAMILY, ANSWERS, _answers),
        Check(FAMILY, "health", _health, needs=ANSWERS, relied_on=False),
        Check(FAMILY, "clock skew", _skew, needs=ANSWERS),
        Check(FAMILY, "two calls on one connection", _keep_alive, needs=ANSWERS, relied_on=False),
    )


async def _answers(target: Target) -> str:
    began = target.clock.monotonic()
    answer = await target.request(SignedRequest("HEAD", "/api/health"))
    took = target.clock.monotonic() - began
    return f"{answer.http_version} from {target.service.server_endpoint} in {took * 1000:.0f} ms"


async def _health(target: Target) -> str:
    status = (await target.request(SignedRequest("HEAD", "/api/health"))).status_code
    if status != _OK:
        raise CheckFailedError(f"HEAD /api/health answered {status}.")
    return "HEAD /api/health answered 200"


async def _skew(target: Target) -> str:
    before = target.clock.wall()
    answer = await target.request(SignedRequest("HEAD", "/api/health"))
    here = (before + target.clock.wall()) / 2
    try:
        there = parsedate_to_datetime(answer.headers.get("date", "")).timestamp() + 0.5  # it has whole seconds
    except ValueError:
        return "unknown: the answer has no Date"
    return skew_verdict(there - here, target.settings.token_lifetime)


def skew_verdict(ahead: float, lifetime: float) -> str:
    """Judge a service clock that is `ahead` seconds ahead of ours; CheckFailedError when tokens would expire there."""
    if abs(ahead) <= _PRECISION:
        return f"less than {_PRECISION:g} s"
    text = f"the service's clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    if ahead > lifetime * _RENEWAL:
        raise CheckFailedError(f"{text}: tokens expire there before they are renewed here. Correct the clock.")
    return f"{text}{'; correct the clock of this machine' if abs(ahead) > _NOTEWORTHY else ''}"


async def _keep_alive(target: Target) -> str:
    nobody = GroupAction(Verb.REMOVE, Scope.USER, target.unique_name("nobody"), target.unique_name("group"))
    answers = [await target.delivery.call(target.options.hub, nobody) for _ in range(2)]
    if not answers[1].reused:
        raise CheckFailedError("Each call needs a new connection, which makes delivery slow.")
    return "HTTP keep-alive"
