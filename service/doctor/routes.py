"""Checks of each route that delivery uses, called as delivery calls it, with real clients that receive the result.

Source: docs/sources.md, operations. Rule guarded: a status alone proves nothing. Every check sends what should arrive,
and after it a second message: a client that should not receive the first one must receive the second one next.
"""

from functools import partial
from typing import Final

from fanout.signalr.message import CloseConnections, GroupAction, Message, Scope, Verb
from service.doctor.client_connection import ClientConnection, body_of
from service.doctor.findings import CheckFailedError
from service.doctor.target import Check, Target
from service.doctor.token_forms import ACCEPTED

FAMILY: Final = "routes"
CONNECTS: Final = "a client connects by WebSocket"
_EXISTS, _MISSING = 200, 404
_WORDS: Final = {Verb.ADD: "add {} to a group", Verb.REMOVE: "remove {} from a group"}
_ALL: Final = "remove {} from all groups"


def checks() -> tuple[Check, ...]:
    """Return the checks of this family."""
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


def message(target: Target, scope: Scope, to: str, marker: str, *excluded: str) -> Message:
    """Return a message that clients of this run receive as `marker`."""
    return Message(scope, to, body_of(target.nonce, marker), excluded)


def id_of(client: ClientConnection, scope: Scope) -> str:
    """Return the id under which a client is reached as a user or as a connection."""
    return client.user if scope is Scope.USER else client.connection_id


async def _connects(target: Target) -> str:
    async with target.connected_client():
        return f"through {target.service.client_endpoint}/client"


async def _everybody(target: Target) -> str:
    async with target.connected_client() as one, target.connected_client() as other:
        status = await target.send(message(target, Scope.BROADCAST, "", "everybody"))
        await one.receive("everybody")
        await other.receive("everybody")
    return f"{status}, received by two clients"


async def _one(scope: Scope, target: Target) -> str:
    async with target.connected_client() as one, target.connected_client() as other:
        status = await target.send(message(target, scope, id_of(one, scope), "for one"))
        await one.receive("for one")
        await target.send(message(target, scope, id_of(other, scope), "for the other"))
        await other.receive("for the other")
    return f"{status}, received by that {scope} and no other"


async def _group(target: Target) -> str:
    group = target.unique_name("group")
    async with target.connected_client() as member, target.connected_client() as stranger:
        await target.send(GroupAction(Verb.ADD, Scope.CONNECTION, member.connection_id, group))
        status = await target.send(message(target, Scope.GROUP, group, "for the group"))
        await member.receive("for the group")
        await target.send(message(target, Scope.CONNECTION, stranger.connection_id, "for the stranger"))
        await stranger.receive("for the stranger")
    return f"{status}, received by its member and no other"


async def _membership(verb: Verb, scope: Scope, target: Target) -> str:
    group = target.unique_name("group")
    async with target.connected_client() as client:
        member = id_of(client, scope)
        status = await target.send(GroupAction(Verb.ADD, scope, member, group))
        await target.send(message(target, Scope.GROUP, group, "as a member"))
        await client.receive("as a member")
        if verb is Verb.ADD:
            return f"{status}, the member received what the group was sent"
        status = await target.send(GroupAction(verb, scope, member, "" if verb is Verb.REMOVE_ALL else group))
        await target.send(message(target, Scope.GROUP, group, "after leaving"))
        await target.send(message(target, Scope.CONNECTION, client.connection_id, "the end"))
        await client.receive("the end")
        await client.receive_nothing(target.options.quiet)
    return f"{status}, received nothing more of the group"


async def _close(scope: Scope, target: Target) -> str:
    group = target.unique_name("group")
    async with target.connected_client() as client, target.connected_client() as other:
        await target.send(GroupAction(Verb.ADD, Scope.CONNECTION, client.connection_id, group))
        to = group if scope is Scope.GROUP else id_of(client, scope)
        status = await target.send(CloseConnections(scope, to, "doctor"))
        await client.wait_closed()
        await target.send(message(target, Scope.CONNECTION, other.connection_id, "still here"))
        await other.receive("still here")
    return f"{status}, the client was disconnected, another was not"


async def _exists(target: Target) -> str:
    group = target.unique_name("group")
    async with target.connected_client() as client:
        await target.send(GroupAction(Verb.ADD, Scope.USER, client.user, group))
        places = {
            "connection": f"/connections/{client.connection_id}",
            "user": f"/users/{client.user}",
            "group": f"/groups/{group}",
            "user in group": f"/users/{client.user}/groups/{group}",
        }
        present = {name: await target.status_of(place) for name, place in places.items()}
        missing = {name: await target.status_of(place[:-1] + "0x") for name, place in places.items()}
    wrong = [f"{name} {status}" for name, status in present.items() if status != _EXISTS]
    wrong += [f"missing {name} {status}" for name, status in missing.items() if status != _MISSING]
    if wrong:
        raise CheckFailedError(f"Not answered with 200 and 404: {', '.join(wrong)}.")
    return "connection, user, group, user in group: 200, and 404 when missing"
