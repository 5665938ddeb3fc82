"""Negotiated ids are valid for five seconds and one transport."""

import asyncio

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from emulator.config import EmulatorConfig
from tests.emulator.running import HANDSHAKE, Service, running
from tests.fakes import FakeClock


async def negotiate(
    service: Service, query: str = "hub=chat&negotiateVersion=1", token: str | None = None
) -> httpx.Response:
    bearer = service.client_token("ann") if token is None else token
    url = f"{service.base}/client/negotiate?{query}"
    return await service.http.post(url, headers={"authorization": f"Bearer {bearer}"})


async def test_version_1_keeps_the_request_id_apart_from_the_connection_id(service: Service) -> None:
    answer = (await negotiate(service)).json()
    assert answer["negotiateVersion"] == 1
    assert answer["connectionToken"] != answer["connectionId"]
    assert [transport["transport"] for transport in answer["availableTransports"]] == [
        "WebSockets",
        "ServerSentEvents",
        "LongPolling",
    ]


async def test_version_0_has_one_id_for_both(service: Service) -> None:
    answer = (await negotiate(service, "hub=chat")).json()
    assert answer["negotiateVersion"] == 0
    assert "connectionToken" not in answer
    url = service.client_url(service.client_token("ann"), extra=f"&id={answer['connectionId']}")
    async with connect(url) as socket:
        await socket.send(HANDSHAKE % "json")
        await socket.recv()
        assert service.connection_ids() == [answer["connectionId"]]


async def test_a_negotiated_id_is_for_one_transport_and_unknown_afterwards(service: Service) -> None:
    answer = (await negotiate(service)).json()
    url = service.client_url(service.client_token("ann"), extra=f"&id={answer['connectionToken']}")
    async with connect(url) as socket:
        await socket.send(HANDSHAKE % "json")
        await socket.recv()
        assert service.connection_ids() == [answer["connectionId"]]
        with pytest.raises(InvalidStatus, match="409"):
            await connect(url)
    async with asyncio.timeout(5):
        while await service.status("HEAD", f"connections/{answer['connectionId']}") == 200:
            pass
    with pytest.raises(InvalidStatus, match="404"):
        await connect(url)


async def test_an_id_unused_for_five_seconds_is_unknown(timed: Service, clock: FakeClock) -> None:
    early, late = [(await negotiate(timed)).json()["connectionToken"] for _ in range(2)]
    clock.jump(4.9)
    await (await connect(timed.client_url(timed.client_token("ann"), extra=f"&id={early}"))).close()
    clock.jump(0.1)
    with pytest.raises(InvalidStatus, match="404"):
        await connect(timed.client_url(timed.client_token("ann"), extra=f"&id={late}"))


@pytest.mark.parametrize(
    ("query", "status"), [("hub=chat&hub=other", 400), ("", 400), ("hub=1", 400), ("hub=other", 401), ("hub=CHAT", 200)]
)
async def test_exactly_one_hub_that_the_token_is_for(service: Service, query: str, status: int) -> None:
    assert (await negotiate(service, query)).status_code == status


async def test_the_token_must_be_in_the_header(service: Service) -> None:
    answer = await service.http.post(
        f"{service.base}/client/negotiate?hub=chat&access_token={service.client_token('ann')}"
    )
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_the_client_audience_may_leave_out_the_port(service: Service) -> None:
    for audience, status in (
        ("http://localhost/client/?hub=chat", 200),
        (f"{service.base}/client?hub=chat", 200),
        ("http://localhost/client/", 401),
    ):
        token = service.client_token("ann", aud=audience)
        assert (await negotiate(service, token=token)).status_code == status


async def test_over_the_connection_quota_it_is_429_with_the_text_of_the_service() -> None:
    async with running(EmulatorConfig(max_connections=1)) as service, service.client("ann"):
        answer = await negotiate(service)
        assert (answer.status_code, answer.text) == (429, "Connection count reaches limit.")
        with pytest.raises(InvalidStatus, match="429"):
            await connect(service.client_url(service.client_token("bob")))


async def test_browsers_of_any_origin_may_negotiate_with_credentials(service: Service) -> None:
    url = f"{service.base}/client/negotiate?hub=chat"
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-signalr-user-agent",
    }
    allowed = (await service.http.options(url, headers=asked)).headers
    assert allowed["access-control-allow-origin"] == "https://app.example"
    assert allowed["access-control-allow-credentials"] == "true"
    assert allowed["access-control-allow-methods"] == "POST"
    assert allowed["access-control-allow-headers"] == "authorization,x-signalr-user-agent"
    answer = await service.http.post(url, headers={"origin": "https://app.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "https://app.example")


async def test_the_rest_api_allows_browsers_without_credentials(service: Service) -> None:
    answer = await service.call("HEAD", "users/u", headers={"origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in answer.headers
