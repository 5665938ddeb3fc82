"""What `:execute` means here: the ground on which several messages may become one call.

Source: contract 2.4: documented in outline only, so each thing that coalescing leans on is proved: the filter names one
user whatever the id holds, no filter is everybody, all commands arrive in order with their bytes, and a request with
one bad command does nothing at all, so that falling back to single sends repeats nothing.
"""

import asyncio
from typing import Final

from fanout.signalr.message import Scope
from fanout.signalr.routes import EXECUTE_API_VERSION, execute_body, execute_route
from service.doctor.check import Check
from service.doctor.client_connection import body_of
from service.doctor.delivery import AWKWARD, MANY
from service.doctor.failure import DisprovedError, shown
from service.doctor.routes import CONNECTS, message
from service.doctor.target import Errand, Patient, accepted

FAMILY: Final = ":execute"
EXISTS: Final = "the route exists"
_LARGE: Final = 9  # messages of 100,000 bytes in one call
_BAD_REQUEST: Final = range(400, 500)
_BETWEEN: Final = 5


def checks(*, relied_on: bool) -> tuple[Check, ...]:
    """List the checks of this family; `relied_on` tells whether coalescing with it is configured."""
    return (
        Check(FAMILY, EXISTS, _exists, CONNECTS, relied_on=relied_on),
        Check(FAMILY, "userId eq, in order", _for_a_user, EXISTS, relied_on=relied_on),
        Check(FAMILY, "userId eq, quotes in ids", _quotes, EXISTS, relied_on=relied_on),
        Check(FAMILY, "no filter, in order", _for_everybody, EXISTS, relied_on=relied_on),
        Check(FAMILY, "one bad command and nothing happens", _all_or_nothing, EXISTS, relied_on=relied_on),
        Check(FAMILY, "nothing comes in between", _undivided, EXISTS, relied_on=False),
        Check(FAMILY, "arguments byte for byte", _bytes, EXISTS, relied_on=False),
        Check(FAMILY, f"{_LARGE * 100} KB in one call", _large, EXISTS, relied_on=False),
    )


async def _execute(patient: Patient, scope: Scope, to: str, *markers: str) -> int:
    bodies = [body_of(patient.nonce, marker) for marker in markers]
    return accepted(await patient.execute(scope, to, bodies))


async def _exists(patient: Patient) -> str:
    status = await _execute(patient, Scope.USER, patient.name("nobody"), "for nobody")
    return f"{status}, api-version {max(patient.settings.api_version, EXECUTE_API_VERSION)}"


async def _for_a_user(patient: Patient) -> str:
    markers = [f"number {number}" for number in range(MANY)]
    async with patient.listening() as ear, patient.listening() as other:
        status = await _execute(patient, Scope.USER, ear.user, *markers)
        await ear.hears(*markers)
        await _execute(patient, Scope.USER, other.user, "for the other")
        await other.hears("for the other")
    return f"{status}, {MANY} messages to one user in order, to no other"


async def _quotes(patient: Patient) -> str:
    stem = patient.name("user")
    users = (f"{stem}'s", f"{stem}''s", f"{stem}%27s", f"x' or userId ne '{stem}")
    async with patient.listening() as other:
        for user in users:
            async with patient.listening(user) as ear:
                await _execute(patient, Scope.USER, user, "for one")
                await ear.hears("for one")
        await _execute(patient, Scope.USER, other.user, "for the other")
        await other.hears("for the other")
    return "ids that try to end the filter reach their user and no other"


async def _for_everybody(patient: Patient) -> str:
    markers = [f"number {number}" for number in range(MANY)]
    async with patient.listening() as one, patient.listening() as other:
        status = await _execute(patient, Scope.BROADCAST, "", *markers)
        for ear in (one, other):
            await ear.hears(*markers)
    return f"{status}, {MANY} messages to two clients in order"


async def _all_or_nothing(patient: Patient) -> str:
    async with patient.listening() as ear:
        good = execute_body([body_of(patient.nonce, "half of it")])
        status = await _raw(patient, ear.user, good[:-1] + b',{"type":"NoSuchCommand"}]')
        if status not in _BAD_REQUEST:
            raise DisprovedError(f"A command that does not exist was answered with {status}.")
        await patient.send(message(patient, Scope.USER, ear.user, "the end"))
        await ear.hears("the end")
        await ear.stays_silent(patient.terms.quiet)
    return f"{status}, and the good command before it was not done"


async def _raw(patient: Patient, user: str, body: bytes) -> int:
    application = patient.settings.application.lower()
    hub = f"{application}_{patient.terms.hub}" if application else patient.terms.hub
    version = max(patient.settings.api_version, EXECUTE_API_VERSION)
    route = execute_route(hub, Scope.USER, user, api_version=version)
    answer = await patient.ask(Errand("POST", route.path, route.query, patient.audience_base + route.path, body))
    return answer.status_code


async def _undivided(patient: Patient) -> str:
    markers = [f"number {number}" for number in range(MANY)]
    async with patient.listening() as ear:
        async with asyncio.TaskGroup() as calls:
            for number in range(_BETWEEN):
                single = message(patient, Scope.USER, ear.user, f"single {number}")
                calls.create_task(patient.call(single))
                if number == _BETWEEN // 2:
                    calls.create_task(_execute(patient, Scope.USER, ear.user, *markers))
        heard = await ear.collects(MANY + _BETWEEN)
    first = heard.index(markers[0])
    if heard[first : first + MANY] != markers:
        raise DisprovedError("Single messages came between those of one call.")
    return f"{MANY} messages of one call in one piece among single ones"


async def _bytes(patient: Patient) -> str:
    async with patient.listening() as ear:
        body = body_of(patient.nonce, "bytes", AWKWARD)
        accepted(await patient.execute(Scope.USER, ear.user, [body]))
        arguments = await ear.hears("bytes")
    if not body.endswith(arguments + b"}"):
        raise DisprovedError(f"The service writes them anew: {shown(arguments.decode())}")
    return "numbers, escapes and repeated keys as they were sent"


async def _large(patient: Patient) -> str:
    body = body_of(patient.nonce, "large", b'"%b"' % (b"x" * 99_900))
    bodies = [body] * _LARGE
    nobody = patient.name("nobody")
    return f"{accepted(await patient.execute(Scope.USER, nobody, bodies))}, to nobody"
