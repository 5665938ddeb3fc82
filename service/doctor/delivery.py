"""Checks of what delivery promises and only the service can keep: order, bytes, exclusions, membership TTL.

Source: docs/sources.md, operations, bodies and limits. JSON clients receive the arguments as sent. A membership TTL
decides which future connections of a user join the group; a connected one is not removed. `excluded` works for
broadcasts and groups. An id is one segment of the path, percent-escaped.
"""

from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from fanout.signalr.message import GroupAction, Message, Scope, Verb
from service.doctor.client_connection import body_of
from service.doctor.findings import CheckFailedError, printable
from service.doctor.routes import CONNECTS, message
from service.doctor.target import Check, Target

FAMILY: Final = "delivery"
MANY: Final = 20
# What parsers lose: digits beyond a double, trailing zeros, repeated keys, escapes, strings that look like dates.
AWKWARD: Final = rb'[ 1.10,1E5,-0,1180591620717411303424,"\u00e9\/","2019-01-01T10:00:00.000Z" ],{"b":1,"a":2,"a":3}'
_LONG: Final = 60  # seconds


def checks() -> tuple[Check, ...]:
    """Return the checks of this family."""
    return (
        Check(FAMILY, f"{MANY} messages arrive in order", _in_order, CONNECTS),
        Check(FAMILY, "arguments arrive byte for byte", _bytes, CONNECTS, relied_on=False),
        Check(FAMILY, "excluded, everybody", partial(_excluded, Scope.BROADCAST), CONNECTS),
        Check(FAMILY, "excluded, group", partial(_excluded, Scope.GROUP), CONNECTS),
        Check(FAMILY, "ids with / and % reach their own user and no other", _ids, CONNECTS),
        Check(FAMILY, "membership with a TTL", _ttl, CONNECTS, relied_on=False),
    )


async def _in_order(target: Target) -> str:
    markers = [f"number {number}" for number in range(MANY)]
    async with target.connected_client() as client:
        for marker in markers:
            await target.send(message(target, Scope.USER, client.user, marker))
        await client.receive(*markers)
        await client.receive_nothing(target.options.quiet)
    return "one after another to one user, each once"


async def _bytes(target: Target) -> str:
    async with target.connected_client() as client:
        body = body_of(target.nonce, "bytes", AWKWARD)
        await target.send(Message(Scope.USER, client.user, body))
        arguments = await client.receive("bytes")
    if not body.endswith(arguments + b"}"):
        raise CheckFailedError(f"The service rewrites them: {printable(arguments.decode())}")
    return "numbers, escapes and repeated keys as they were sent"


async def _excluded(scope: Scope, target: Target) -> str:
    group = target.unique_name("group")
    to = group if scope is Scope.GROUP else ""
    async with target.connected_client() as client, target.connected_client() as left_out:
        for each in (client, left_out):
            await target.send(GroupAction(Verb.ADD, Scope.CONNECTION, each.connection_id, group))
        status = await target.send(message(target, scope, to, "some", left_out.connection_id))
        await target.send(message(target, scope, to, "all"))
        await client.receive("some", "all")
        await left_out.receive("all")
    return f"{status}, the excluded connection received nothing"


async def _ids(target: Target) -> str:
    name = target.unique_name("user")
    ids = (f"{name}/a", f"{name}%2Fa", f"{name}%252Fa")  # each is what a wrong decoding makes of its neighbour
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(target.connected_client(each)) for each in ids]
        for each in ids:
            await target.send(message(target, Scope.USER, each, f"for {each}"))
        for client in reversed(clients):  # the first to receive another one's message says so without a wait
            await client.receive(f"for {client.user}")
        for client in clients:
            await client.receive_nothing(target.options.quiet)
    return "a slash and its escapes are three users"


async def _ttl(target: Target) -> str:
    user, group = target.unique_name("user"), target.unique_name("group")
    await target.send(GroupAction(Verb.ADD, Scope.USER, user, group, _LONG))
    async with target.connected_client(user) as client:  # it ends with the user's memberships
        await target.send(message(target, Scope.GROUP, group, "in time"))
        await client.receive("in time")
        await target.send(GroupAction(Verb.ADD, Scope.USER, user, group, target.options.ttl))
        await target.clock.sleep(target.options.ttl + 1)
        async with target.connected_client(user) as late:
            await target.send(message(target, Scope.GROUP, group, "too late"))
            await client.receive("too late")
            await target.send(message(target, Scope.CONNECTION, late.connection_id, "the end"))
            await late.receive("the end")
    return f"a connection within the TTL joined, one after {target.options.ttl} s did not"
