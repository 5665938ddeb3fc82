"""What delivery promises its callers and only the service can keep: order, bytes, exclusions, membership TTL.

Source: contract 2.4 (JSON clients get the arguments as sent), 4.3 (a TTL decides which FUTURE connections of a user
join; a live one is not thrown out), 2.1 (`excluded` on everybody and group).
"""

from functools import partial
from typing import Final

from fanout.signalr.message import GroupAction, Message, Scope, Verb
from service.doctor.check import Check
from service.doctor.client_connection import body_of
from service.doctor.failure import DisprovedError, shown
from service.doctor.routes import CONNECTS, message
from service.doctor.target import Patient

FAMILY: Final = "delivery"
MANY: Final = 20
# What parsers lose: digits beyond a double, trailing zeros, repeated keys, escapes, texts that look like dates.
AWKWARD: Final = rb'[ 1.10,1E5,-0,1180591620717411303424,"\u00e9\/","2019-01-01T10:00:00.000Z" ],{"b":1,"a":2,"a":3}'
_LONG: Final = 60  # seconds


def checks() -> tuple[Check, ...]:
    """List the checks of this family."""
    return (
        Check(FAMILY, f"{MANY} messages arrive in order", _in_order, CONNECTS),
        Check(FAMILY, "arguments arrive byte for byte", _bytes, CONNECTS, relied_on=False),
        Check(FAMILY, "excluded, everybody", partial(_excluded, Scope.BROADCAST), CONNECTS),
        Check(FAMILY, "excluded, group", partial(_excluded, Scope.GROUP), CONNECTS),
        Check(FAMILY, "membership with a TTL", _ttl, CONNECTS, relied_on=False),
    )


async def _in_order(patient: Patient) -> str:
    markers = [f"number {number}" for number in range(MANY)]
    async with patient.listening() as ear:
        for marker in markers:
            await patient.send(message(patient, Scope.USER, ear.user, marker))
        await ear.hears(*markers)
        await ear.stays_silent(patient.terms.quiet)
    return "one after another to one user, each once"


async def _bytes(patient: Patient) -> str:
    async with patient.listening() as ear:
        body = body_of(patient.nonce, "bytes", AWKWARD)
        await patient.send(Message(Scope.USER, ear.user, body))
        arguments = await ear.hears("bytes")
    if not body.endswith(arguments + b"}"):
        raise DisprovedError(f"The service writes them anew: {shown(arguments.decode())}")
    return "numbers, escapes and repeated keys as they were sent"


async def _excluded(scope: Scope, patient: Patient) -> str:
    group = patient.name("group")
    to = group if scope is Scope.GROUP else ""
    async with patient.listening() as ear, patient.listening() as left_out:
        for each in (ear, left_out):
            await patient.send(GroupAction(Verb.ADD, Scope.CONNECTION, each.connection_id, group))
        status = await patient.send(message(patient, scope, to, "some", left_out.connection_id))
        await patient.send(message(patient, scope, to, "all"))
        await ear.hears("some", "all")
        await left_out.hears("all")
    return f"{status}, the excluded connection heard nothing"


async def _ttl(patient: Patient) -> str:
    user, group = patient.name("user"), patient.name("group")
    await patient.send(GroupAction(Verb.ADD, Scope.USER, user, group, _LONG))
    async with patient.listening(user) as ear:  # it ends with the user's memberships
        await patient.send(message(patient, Scope.GROUP, group, "in time"))
        await ear.hears("in time")
        await patient.send(GroupAction(Verb.ADD, Scope.USER, user, group, patient.terms.ttl))
        await patient.clock.sleep(patient.terms.ttl + 1)
        async with patient.listening(user) as late:
            await patient.send(message(patient, Scope.GROUP, group, "too late"))
            await ear.hears("too late")
            await patient.send(message(patient, Scope.CONNECTION, late.connection_id, "the end"))
            await late.hears("the end")
    return f"who connected within it joined, who connected after {patient.terms.ttl} s did not"
