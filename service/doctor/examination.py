"""The examination: runs every check in order, each with a time limit.

Rules guarded: a check whose prerequisite was not proved is skipped and says so, so a dead endpoint costs one timeout
instead of forty. A check that hangs is ended by the clock. An error that a check raises becomes its finding, and the
others still run.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from fanout.clock import Clock
from fanout.errors import FanoutError
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.doctor import delivery, executing, reach, routes, throttle, token_forms
from service.doctor.findings import CheckFailedError, Finding, Outcome, printable
from service.doctor.target import Check, Options, Target, open_target

_MAX_WAITS: Final = 4  # timeouts that one check may use up
_NOTHING_LEFT: Final = "nothing is left behind"


def checks_of(service: ConnectionString, settings: Settings) -> tuple[Check, ...]:
    """Return every check for a service as configured."""
    return (
        *reach.checks(),
        *token_forms.checks(service, settings),
        *routes.checks(),
        *delivery.checks(),
        *executing.checks(relied_on=settings.execute == "true"),
        *throttle.checks(),
        Check("end", _NOTHING_LEFT, _clean, token_forms.ACCEPTED, relied_on=False),
    )


async def examine(
    service: ConnectionString, settings: Settings, options: Options, clock: Clock, checks: Sequence[Check] = ()
) -> AsyncIterator[Finding]:
    """Run `checks`, or all of them, and yield each finding as soon as it is known."""
    proved: set[str] = set()
    async with open_target(service, settings, options, clock) as target:
        for check in checks or checks_of(service, settings):
            reason = _reason_to_skip(check, proved, options)
            finding = _skipped(check, reason) if reason else await _run(check, target)
            if finding.outcome is Outcome.PROVED:
                proved.add(check.name)
            yield finding


def holds(findings: Sequence[Finding]) -> bool:
    """Return whether everything that the configuration relies on was proved."""
    return bool(findings) and not any(finding.harmful for finding in findings)


def _reason_to_skip(check: Check, proved: set[str], options: Options) -> str:
    if check.needs and check.needs not in proved:
        return f"not tried, because {check.needs!r} was not proved"
    if check.family == throttle.FAMILY and not options.provoke:
        return "not tried: --provoke-429 N sends N quick calls, which slow down live traffic"
    return ""


def _skipped(check: Check, reason: str) -> Finding:
    return Finding(check.family, check.name, Outcome.SKIPPED, check.relied_on, reason)


async def _run(check: Check, target: Target) -> Finding:
    clock = target.clock
    limit = target.options.timeout * (_MAX_WAITS + target.options.provoke // throttle.AT_ONCE) + target.options.ttl
    began = clock.monotonic()
    outcome = Outcome.FAILED
    try:
        async with clock.timeout(limit):
            detail = await check.run(target)
        outcome = Outcome.PROVED
    except TimeoutError:
        detail = f"Not done within {limit:g} s."
    except FanoutError as error:
        detail = printable(str(error))
    except BaseExceptionGroup as group:
        ours, strange = group.split(FanoutError)
        if ours is None or strange is not None:
            raise
        detail = printable(str(ours.exceptions[0]))  # report the first of several concurrent calls
    return Finding(check.family, check.name, outcome, check.relied_on, detail, clock.monotonic() - began)


async def _clean(target: Target) -> str:
    left = await target.clean_up()
    if left:
        raise CheckFailedError(f"These users are still in groups of hub {target.options.hub}: {', '.join(left)}.")
    return "memberships removed, connections closed"
