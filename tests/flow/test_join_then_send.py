"""A batch that joins a group and then sends to it: who just joined gets the message.

Rule guarded: a group action rides its group's lane, so the send waits until the service has answered
the join. A client that is really connected is the witness.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.flow.child import Child
from tests.flow.oracle import Call
from tests.flow.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")
_END = b"\x1e"


class Witness:
    """A client connected over a WebSocket with the JSON protocol."""

    def __init__(self, socket: ClientConnection, connection_id: str) -> None:
        self._socket = socket
        self.connection_id = connection_id

    async def received(self, count: int) -> list[tuple[str, list[Any]]]:
        """Wait for `count` invocations and give their targets and arguments."""
        invocations: list[tuple[str, list[Any]]] = []
        async with asyncio.timeout(10):
            while len(invocations) < count:
                for frame in str(await self._socket.recv()).encode().split(_END)[:-1]:
                    message = orjson.loads(frame)
                    if message.get("type") == 1:
                        invocations.append((message["target"], message["arguments"]))
        return invocations


@asynccontextmanager
async def connected(stack: Stack, hub: str, user: str) -> AsyncIterator[Witness]:
    """Negotiate with the ingress as `user`, connect, and shake hands."""
    headers = {"x-ms-client-principal-id": user}
    answer = await stack.http.post(f"{stack.ingress.url}/{hub}/negotiate", headers=headers)
    assert answer.status_code == 200, answer.text
    ticket = answer.json()
    url = f"{ticket['url'].replace('http', 'ws', 1)}&access_token={ticket['accessToken']}"
    async with connect(url, ping_interval=None) as socket:
        await socket.send(b'{"protocol":"json","version":1}' + _END)
        assert str(await socket.recv()).encode() == b"{}" + _END
        clients = (await stack.http.get(f"{stack.emulator.url}/emulator/clients")).json()
        (own,) = [client["connectionId"] for client in clients if client["userId"] == user]
        yield Witness(socket, own)


async def test_a_user_who_joins_in_a_batch_gets_what_the_batch_sends_to_the_group(
    stack: Stack, worker: Child, hub: str
) -> None:
    """The service takes half a second for the join; the message still comes after it."""
    async with connected(stack, hub, "alice") as alice:
        await stack.faults({"kind": "latency", "seconds": 0.5, "match": {"method": "PUT"}})
        batch = [
            {"userId": "alice", "groupName": "room", "action": "add"},
            {"groupName": "room", "target": "welcome", "arguments": [1, "to the room"]},
        ]
        await stack.post(hub, batch)
        assert await alice.received(1) == [("welcome", [1, "to the room"])]
    join, send = await stack.journal(hub)
    assert (join.method, send.method) == ("PUT", "POST")
    assert _answered(join) <= send.arrived


async def test_a_connection_joins_hears_leaves_and_hears_no_more(stack: Stack, worker: Child, hub: str) -> None:
    """The whole of a membership in one batch, while every call to the group fails every second time."""
    async with connected(stack, hub, "bob") as bob:
        await stack.faults({"kind": "status", "status": 503, "every": 2, "match": {"path": "groups/room"}})
        own = {"connectionId": bob.connection_id, "groupName": "room"}
        batch = [
            {"groupName": "room", "target": "before", "arguments": []},
            own | {"action": "add"},
            {"groupName": "room", "target": "during", "arguments": [1]},
            {"groupName": "room", "target": "during", "arguments": [2]},
            own | {"action": "remove"},
            {"groupName": "room", "target": "after", "arguments": []},
        ]
        await stack.post(hub, batch)
        await stack.drained()
        await stack.post(hub, {"userId": "bob", "target": "end"})
        assert await bob.received(3) == [("during", [1]), ("during", [2]), ("end", [])]


async def test_who_is_closed_in_a_batch_gets_what_stood_before_it(stack: Stack, worker: Child, hub: str) -> None:
    async with connected(stack, hub, "carol") as carol:
        batch = [
            {"userId": "carol", "target": "last words", "arguments": [1]},
            {"userId": "carol", "action": "closeConnection", "reason": "bye"},
            {"userId": "carol", "target": "never received", "arguments": []},
        ]
        await stack.post(hub, batch)
        assert await carol.received(1) == [("last words", [1])]
        await stack.drained()
    assert [call.status for call in await stack.journal(hub)] == [202, 204, 202]


def _answered(call: Call) -> float:
    assert call.answered is not None
    return call.answered
