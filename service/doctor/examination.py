"""The examination: every check in order, each with its limit, none able to end the others.

Rules guarded: a check whose ground was not proved is skipped and says so, so a dead endpoint costs one time-out and
not forty; a check that hangs is ended by the clock; what a check raises becomes a line of the table.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from fanout.clock import Clock
from fanout.errors import FanoutError
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.doctor import delivery, executing, reach, routes, throttle, token_forms
from service.doctor.check import Check, Finding, Standing
from service.doctor.failure import DisprovedError, shown
from service.doctor.target import Patient, Terms, admitted

_WAITS: Final = 4  # how many waits of the longest kind one check may take
_CLEANING: Final = "nothing is left behind"


def checks_of(service: ConnectionString, settings: Settings) -> tuple[Check, ...]:
    """List every check for a service as configured."""
    return (
        *reach.checks(),
        *token_forms.checks(service, settings),
        *routes.checks(),
        *delivery.checks(),
        *executing.checks(relied_on=settings.execute),
        *throttle.checks(),
        Check("end", _CLEANING, _clean, token_forms.ACCEPTED, relied_on=False),
    )


async def examine(
    service: ConnectionString, settings: Settings, terms: Terms, clock: Clock, checks: Sequence[Check] = ()
) -> AsyncIterator[Finding]:
    """Run `checks`, all there are unless some are named, and give what came of each as soon as it is known."""
    proved: set[str] = set()
    async with admitted(service, settings, terms, clock) as patient:
        for check in checks or checks_of(service, settings):
            reason = _reason_to_skip(check, proved, terms)
            finding = _skipped(check, reason) if reason else await _run(check, patient)
            if finding.standing is Standing.PROVED:
                proved.add(check.name)
            yield finding


def holds(findings: Sequence[Finding]) -> bool:
    """Tell whether all that the configuration relies on was proved."""
    return bool(findings) and not any(finding.harmful for finding in findings)


def _reason_to_skip(check: Check, proved: set[str], terms: Terms) -> str:
    if check.needs and check.needs not in proved:
        return f"not tried: {check.needs!r} was not proved"
    if check.family == throttle.FAMILY and not terms.provoke:
        return "not tried: --provoke-429 N sends N quick calls, which live traffic would feel"
    return ""


def _skipped(check: Check, reason: str) -> Finding:
    return Finding(check.family, check.name, Standing.SKIPPED, check.relied_on, reason)


async def _run(check: Check, patient: Patient) -> Finding:
    clock = patient.clock
    limit = patient.terms.timeout * (_WAITS + patient.terms.provoke // throttle.AT_ONCE) + patient.terms.ttl
    began = clock.monotonic()
    standing = Standing.FAILED
    try:
        async with clock.timeout(limit):
            detail = await check.run(patient)
        standing = Standing.PROVED
    except TimeoutError:
        detail = f"Not done within {limit:g} s."
    except FanoutError as error:
        detail = shown(str(error))
    except BaseExceptionGroup as group:
        ours, strange = group.split(FanoutError)
        if ours is None or strange is not None:
            raise
        detail = shown(str(ours.exceptions[0]))  # of calls made side by side the first one speaks
    return Finding(check.family, check.name, standing, check.relied_on, detail, clock.monotonic() - began)


async def _clean(patient: Patient) -> str:
    left = await patient.leave()
    if left:
        raise DisprovedError(f"These users are still in groups of hub {patient.terms.hub}: {', '.join(left)}.")
    return "memberships removed, connections closed"
