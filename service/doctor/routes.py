"""Each route that delivery uses, called as delivery calls it, with a real client that tells what came of it.

Source: contract 2.1. Rule guarded: a status alone proves nothing; every check sends what should arrive, and behind it
something that would arrive too late if the first had arrived where it should not.
"""

from functools import partial
from typing import Final

from fanout.signalr.message import CloseConnections, GroupAction, Message, Scope, Verb
from service.doctor.check import Check
from service.doctor.client_connection import Ear, body_of
from service.doctor.failure import DisprovedError
from service.doctor.target import Patient
from service.doctor.token_forms import ACCEPTED

FAMILY: Final = "routes"
CONNECTS: Final = "a client connects by WebSocket"
_EXISTS, _MISSING = 200, 404
_WORDS: Final = {Verb.ADD: "add {} to a group", Verb.REMOVE: "remove {} from a group"}
_ALL: Final = "remove {} from all groups"


def checks() -> tuple[Check, ...]:
    """List the checks of this family."""
    members = [(verb, scope) for scope in (Scope.CONNECTION, Scope.USER) for verb in Verb]
    return (
        Check(FAMILY, CONNECTS, _connects, ACCEPTED),
        Check(FAMILY, "send to everybody", _everybody, CONNECTS),
        Check(FAMILY, "send to a user", partial(_one, Scope.USER), CONNECTS),
        Check(FAMILY, "send to a connection", partial(_one, Scope.CONNECTION), CONNECTS),
        Check(FAMILY, "send to a group", _group, CONNECTS),
        *(
            Check(FAMILY, _WORDS.get(verb, _ALL).format(f"a {scope}"), partial(_membership, verb, scope), CONNECTS)
            for verb, scope in members
        ),
        *(
            Check(FAMILY, f"close a {scope}'s connections", partial(_close, scope), CONNECTS)
            for scope in (Scope.USER, Scope.GROUP)
        ),
        Check(FAMILY, "close a connection", partial(_close, Scope.CONNECTION), CONNECTS),
        Check(FAMILY, "ask what exists", _exists, CONNECTS, relied_on=False),
    )


def message(patient: Patient, scope: Scope, to: str, marker: str, *excluded: str) -> Message:
    """Make a message that ears of this run hear as `marker`."""
    return Message(scope, to, body_of(patient.nonce, marker), excluded)


def id_of(ear: Ear, scope: Scope) -> str:
    """Give the name under which a client is reached as a user or as a connection."""
    return ear.user if scope is Scope.USER else ear.connection_id


async def _connects(patient: Patient) -> str:
    async with patient.listening():
        return f"through {patient.service.client_endpoint}/client"


async def _everybody(patient: Patient) -> str:
    async with patient.listening() as one, patient.listening() as other:
        status = await patient.send(message(patient, Scope.BROADCAST, "", "everybody"))
        await one.hears("everybody")
        await other.hears("everybody")
    return f"{status}, two clients heard it"


async def _one(scope: Scope, patient: Patient) -> str:
    async with patient.listening() as one, patient.listening() as other:
        status = await patient.send(message(patient, scope, id_of(one, scope), "for one"))
        await one.hears("for one")
        await patient.send(message(patient, scope, id_of(other, scope), "for the other"))
        await other.hears("for the other")
    return f"{status}, heard by that {scope} and no other"


async def _group(patient: Patient) -> str:
    group = patient.name("group")
    async with patient.listening() as member, patient.listening() as stranger:
        await patient.send(GroupAction(Verb.ADD, Scope.CONNECTION, member.connection_id, group))
        status = await patient.send(message(patient, Scope.GROUP, group, "for the group"))
        await member.hears("for the group")
        await patient.send(message(patient, Scope.CONNECTION, stranger.connection_id, "for the stranger"))
        await stranger.hears("for the stranger")
    return f"{status}, heard by its member and no other"


async def _membership(verb: Verb, scope: Scope, patient: Patient) -> str:
    group = patient.name("group")
    async with patient.listening() as ear:
        member = id_of(ear, scope)
        status = await patient.send(GroupAction(Verb.ADD, scope, member, group))
        await patient.send(message(patient, Scope.GROUP, group, "as a member"))
        await ear.hears("as a member")
        if verb is Verb.ADD:
            return f"{status}, heard what the group was sent"
        status = await patient.send(GroupAction(verb, scope, member, "" if verb is Verb.REMOVE_ALL else group))
        await patient.send(message(patient, Scope.GROUP, group, "after leaving"))
        await patient.send(message(patient, Scope.CONNECTION, ear.connection_id, "the end"))
        await ear.hears("the end")
        await ear.stays_silent(patient.terms.quiet)
    return f"{status}, heard nothing more of the group"


async def _close(scope: Scope, patient: Patient) -> str:
    group = patient.name("group")
    async with patient.listening() as ear, patient.listening() as other:
        await patient.send(GroupAction(Verb.ADD, Scope.CONNECTION, ear.connection_id, group))
        to = group if scope is Scope.GROUP else id_of(ear, scope)
        status = await patient.send(CloseConnections(scope, to, "doctor"))
        await ear.is_closed()
        await patient.send(message(patient, Scope.CONNECTION, other.connection_id, "still here"))
        await other.hears("still here")
    return f"{status}, the client was disconnected, another was not"


async def _exists(patient: Patient) -> str:
    group = patient.name("group")
    async with patient.listening() as ear:
        await patient.send(GroupAction(Verb.ADD, Scope.USER, ear.user, group))
        places = {
            "connection": f"/connections/{ear.connection_id}",
            "user": f"/users/{ear.user}",
            "group": f"/groups/{group}",
            "user in group": f"/users/{ear.user}/groups/{group}",
        }
        present = {name: await patient.head(place) for name, place in places.items()}
        missing = {name: await patient.head(place[:-1] + "0x") for name, place in places.items()}
    wrong = [f"{name} {status}" for name, status in present.items() if status != _EXISTS]
    wrong += [f"missing {name} {status}" for name, status in missing.items() if status != _MISSING]
    if wrong:
        raise DisprovedError(f"Answered otherwise than 200 and 404: {', '.join(wrong)}.")
    return "connection, user, group, user in group: 200, and 404 when missing"
