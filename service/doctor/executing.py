"""Checks of `:execute`, with which several messages become one call.

Source: docs/sources.md, bodies. The operation is documented in outline only, so everything that coalescing relies on is
proved here. The filter selects one user whatever the id contains. No filter means everybody. All commands arrive in
order, with their bytes. A request with one bad command does nothing, so falling back to single sends repeats nothing.
"""

import asyncio
from typing import Final

from fanout.signalr.message import Scope
from fanout.signalr.routes import EXECUTE_API_VERSION, execute_body, execute_route
from service.doctor.client_connection import body_of
from service.doctor.delivery import AWKWARD, MANY
from service.doctor.findings import CheckFailedError, printable
from service.doctor.routes import CONNECTS, message
from service.doctor.target import Check, SignedRequest, Target, accepted

FAMILY: Final = ":execute"
EXISTS: Final = "the route exists"
_LARGE: Final = 9  # messages of 100,000 bytes in one call
_BAD_REQUEST: Final = range(400, 500)
_BETWEEN: Final = 5


def checks(*, relied_on: bool) -> tuple[Check, ...]:
    """Return the checks of this family; `relied_on` is True when coalescing with `:execute` is configured."""
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


async def _execute(target: Target, scope: Scope, to: str, *markers: str) -> int:
    bodies = [body_of(target.nonce, marker) for marker in markers]
    return accepted(await target.execute(scope, to, bodies))


async def _exists(target: Target) -> str:
    status = await _execute(target, Scope.USER, target.unique_name("nobody"), "for nobody")
    return f"{status}, api-version {max(target.settings.api_version, EXECUTE_API_VERSION)}"


async def _for_a_user(target: Target) -> str:
    markers = [f"number {number}" for number in range(MANY)]
    async with target.connected_client() as client, target.connected_client() as other:
        status = await _execute(target, Scope.USER, client.user, *markers)
        await client.receive(*markers)
        await _execute(target, Scope.USER, other.user, "for the other")
        await other.receive("for the other")
    return f"{status}, {MANY} messages to one user in order, to no other"


async def _quotes(target: Target) -> str:
    stem = target.unique_name("user")
    users = (f"{stem}'s", f"{stem}''s", f"{stem}%27s", f"x' or userId ne '{stem}")
    async with target.connected_client() as other:
        for user in users:
            async with target.connected_client(user) as client:
                await _execute(target, Scope.USER, user, "for one")
                await client.receive("for one")
        await _execute(target, Scope.USER, other.user, "for the other")
        await other.receive("for the other")
    return "ids that try to end the filter reach their own user and no other"


async def _for_everybody(target: Target) -> str:
    markers = [f"number {number}" for number in range(MANY)]
    async with target.connected_client() as one, target.connected_client() as other:
        status = await _execute(target, Scope.BROADCAST, "", *markers)
        for client in (one, other):
            await client.receive(*markers)
    return f"{status}, {MANY} messages to two clients in order"


async def _all_or_nothing(target: Target) -> str:
    async with target.connected_client() as client:
        good = execute_body([body_of(target.nonce, "half of it")])
        status = await _raw(target, client.user, good[:-1] + b',{"type":"NoSuchCommand"}]')
        if status not in _BAD_REQUEST:
            raise CheckFailedError(f"A command that does not exist was answered with {status}.")
        await target.send(message(target, Scope.USER, client.user, "the end"))
        await client.receive("the end")
        await client.receive_nothing(target.options.quiet)
    return f"{status}, and the good command before it was not done"


async def _raw(target: Target, user: str, body: bytes) -> int:
    application = target.settings.application.lower()
    hub = f"{application}_{target.options.hub}" if application else target.options.hub
    version = max(target.settings.api_version, EXECUTE_API_VERSION)
    route = execute_route(hub, Scope.USER, user, api_version=version)
    answer = await target.request(
        SignedRequest("POST", route.path, route.query, target.audience_base + route.path, body)
    )
    return answer.status_code


async def _undivided(target: Target) -> str:
    markers = [f"number {number}" for number in range(MANY)]
    async with target.connected_client() as client:
        async with asyncio.TaskGroup() as calls:
            for number in range(_BETWEEN):
                single = message(target, Scope.USER, client.user, f"single {number}")
                calls.create_task(target.call(single))
                if number == _BETWEEN // 2:
                    calls.create_task(_execute(target, Scope.USER, client.user, *markers))
        received = await client.receive_any(MANY + _BETWEEN)
    first = received.index(markers[0])
    if received[first : first + MANY] != markers:
        raise CheckFailedError("Single messages arrived between those of one call.")
    return f"{MANY} messages of one call arrived together, among single ones"


async def _bytes(target: Target) -> str:
    async with target.connected_client() as client:
        body = body_of(target.nonce, "bytes", AWKWARD)
        accepted(await target.execute(Scope.USER, client.user, [body]))
        arguments = await client.receive("bytes")
    if not body.endswith(arguments + b"}"):
        raise CheckFailedError(f"The service rewrites them: {printable(arguments.decode())}")
    return "numbers, escapes and repeated keys as they were sent"


async def _large(target: Target) -> str:
    body = body_of(target.nonce, "large", b'"%b"' % (b"x" * 99_900))
    bodies = [body] * _LARGE
    nobody = target.unique_name("nobody")
    return f"{accepted(await target.execute(Scope.USER, nobody, bodies))}, to nobody"
