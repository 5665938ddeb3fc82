"""Checks how the service throttles, only on request.

Source: docs/sources.md, limits (429 with or without Retry-After). Rule guarded: off by default, because it uses up the
quota of live traffic. The calls address a user that does not exist, so no client receives anything.
"""

import asyncio
from collections import Counter
from typing import Final

from fanout.errors import TransportError
from fanout.http1.exchange import Response
from fanout.signalr.message import Scope
from service.doctor.findings import CheckFailedError, printable
from service.doctor.routes import message
from service.doctor.target import Check, Target
from service.doctor.token_forms import ACCEPTED

FAMILY: Final = "429"
_THROTTLED: Final = 429
AT_ONCE: Final = 32
_INFORMATIVE: Final = ("retry-after", "x-ms-", "ratelimit", "x-ratelimit")


def checks() -> tuple[Check, ...]:
    """Return the checks of this family."""
    return (Check(FAMILY, "what 429 carries", _provoke, ACCEPTED, relied_on=False),)


async def _provoke(target: Target) -> str:
    began = target.clock.monotonic()
    outcomes = await _quick_calls(target)
    took = max(target.clock.monotonic() - began, 0.001)
    counts = Counter(str(outcome.status) if isinstance(outcome, Response) else outcome for outcome in outcomes)
    tally = ", ".join(f"{count} x {name}" for name, count in sorted(counts.items()))
    refused = [each for each in outcomes if isinstance(each, Response) and each.status == _THROTTLED]
    pace = f"{len(outcomes)} calls in {took:.1f} s ({len(outcomes) / took:.0f}/s): {tally}"
    if not refused:
        raise CheckFailedError(f"{pace}. No call was refused; try a larger number.")
    answered = {f"{name}: {value}" for each in refused for name, value in each.headers if name.startswith(_INFORMATIVE)}
    return f"{pace}; with {printable(', '.join(sorted(answered))) if answered else 'no Retry-After'}"


async def _quick_calls(target: Target) -> list[Response | str]:
    item = message(target, Scope.USER, target.unique_name("nobody"), "quick")
    outcomes: list[Response | str] = []

    async def some() -> None:
        while left:
            left.pop()
            try:
                outcomes.append(await target.delivery.call(target.options.hub, item))
            except TransportError as error:
                outcomes.append(error.label)

    left = list(range(target.options.provoke))
    async with asyncio.TaskGroup() as calls:
        for _ in range(min(AT_ONCE, len(left))):
            calls.create_task(some())
    return outcomes
