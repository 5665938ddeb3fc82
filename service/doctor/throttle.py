"""How the service says that it is asked too much, provoked on request alone.

Source: contract 4.3 (429 with or without Retry-After). Rule guarded: off by default, because it spends the quota that
live traffic of the same service needs; the calls are for a user nobody has, so no client hears them.
"""

import asyncio
from collections import Counter
from typing import Final

from fanout.errors import TransportError
from fanout.http1.exchange import Response
from fanout.signalr.message import Scope
from service.doctor.check import Check
from service.doctor.failure import DisprovedError, shown
from service.doctor.routes import message
from service.doctor.target import Patient
from service.doctor.token_forms import ACCEPTED

FAMILY: Final = "429"
_THROTTLED: Final = 429
AT_ONCE: Final = 32
_TELLING: Final = ("retry-after", "x-ms-", "ratelimit", "x-ratelimit")


def checks() -> tuple[Check, ...]:
    """List the checks of this family."""
    return (Check(FAMILY, "what 429 carries", _provoke, ACCEPTED, relied_on=False),)


async def _provoke(patient: Patient) -> str:
    began = patient.clock.monotonic()
    outcomes = await _quick_calls(patient)
    took = max(patient.clock.monotonic() - began, 0.001)
    counts = Counter(str(outcome.status) if isinstance(outcome, Response) else outcome for outcome in outcomes)
    tally = ", ".join(f"{count} x {name}" for name, count in sorted(counts.items()))
    refused = [each for each in outcomes if isinstance(each, Response) and each.status == _THROTTLED]
    pace = f"{len(outcomes)} calls in {took:.1f} s ({len(outcomes) / took:.0f}/s): {tally}"
    if not refused:
        raise DisprovedError(f"{pace}. No call was refused; try more.")
    told = {f"{name}: {value}" for each in refused for name, value in each.headers if name.startswith(_TELLING)}
    return f"{pace}; with {shown(', '.join(sorted(told))) if told else 'no Retry-After'}"


async def _quick_calls(patient: Patient) -> list[Response | str]:
    item = message(patient, Scope.USER, patient.name("nobody"), "quick")
    outcomes: list[Response | str] = []

    async def some() -> None:
        while left:
            left.pop()
            try:
                outcomes.append(await patient.client.call(patient.terms.hub, item))
            except TransportError as error:
                outcomes.append(error.label)

    left = list(range(patient.terms.provoke))
    async with asyncio.TaskGroup() as calls:
        for _ in range(min(AT_ONCE, len(left))):
            calls.create_task(some())
    return outcomes
