"""`negotiate` returns what a SignalR client needs: one connects with it and receives."""

import asyncio
import json

import jwt
import pytest
from signalr_fanout import Client, Message, RefusedError
from websockets.asyncio.client import connect as connect_websocket

from tests.client.conftest import KEY, Connect, Service

END = "\x1e"


def claims_of(token: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_the_token_names_the_user_and_its_claims(service: Service, connect: Connect, hub: str) -> None:
    negotiation = connect(service.url).negotiate(hub, user_id="alice", claims={"role": "admin"})
    assert negotiation.url == f"{service.emulator_url.replace('127.0.0.1', 'localhost')}/client/?hub={hub}"
    claims = claims_of(negotiation.access_token)
    assert (claims["asrs.s.uid"], claims["role"]) == ("alice", "admin")
    assert negotiation.as_dict() == {"url": negotiation.url, "accessToken": negotiation.access_token}
    assert negotiation.access_token not in repr(negotiation)


def test_without_a_user_the_client_is_anonymous(service: Service, connect: Connect, hub: str) -> None:
    assert "asrs.s.uid" not in claims_of(connect(service.url).negotiate(hub).access_token)


def test_an_empty_user_is_an_error(service: Service, connect: Connect, hub: str) -> None:
    with pytest.raises(ValueError, match="user_id must not be empty"):
        connect(service.url).negotiate(hub, user_id="")


def test_a_user_that_cannot_be_named_is_refused(service: Service, connect: Connect, hub: str) -> None:
    with pytest.raises(RefusedError) as caught:
        connect(service.url).negotiate(hub, user_id="..")
    assert caught.value.code == "invalidUserId"


async def test_a_client_connects_with_it_and_receives(service: Service, hub: str) -> None:
    def negotiated() -> str:
        with Client(service.url, api_key=KEY) as client:
            answer = client.negotiate(hub, user_id="alice")
        return f"{answer.url.replace('http', 'ws', 1)}&access_token={answer.access_token}"

    def sent() -> None:
        with Client(service.url, api_key=KEY) as client:
            client.send(hub, Message.to_user("alice", "newMessage", "hello"))

    async with connect_websocket(await asyncio.to_thread(negotiated), proxy=None) as socket:
        await socket.send('{"protocol":"json","version":1}' + END)
        assert await socket.recv() == "{}" + END
        await asyncio.to_thread(sent)
        async with asyncio.timeout(20):
            message = json.loads(str(await socket.recv()).rstrip(END))
    assert (message["target"], message["arguments"]) == ("newMessage", ["hello"])
