"""Long polling: the first poll opens the connection, later ones return what waits, a newer one ends an older one."""

import asyncio

import httpx
import pytest

from emulator.protocols.hub_messagepack import framed
from tests.emulator.running import END, HANDSHAKE, Service, until
from tests.fakes import FakeClock

pytestmark = pytest.mark.slow


class Poller:
    """One long-polling client."""

    def __init__(self, service: Service, connection: str) -> None:
        self._service = service
        self.url = f"{service.base}/client/?hub=chat&id={connection}"
        self._headers = {"authorization": f"Bearer {service.client_token('ann')}"}

    async def ask(self, method: str = "GET", content: str | bytes | None = None) -> httpx.Response:
        return await self._service.http.request(method, self.url, headers=self._headers, content=content)

    async def open(self, protocol: str = "json") -> None:
        first = await self.ask()
        assert (first.status_code, first.content) == (200, b"")
        assert (await self.ask("POST", HANDSHAKE % protocol)).status_code == 200
        assert (await self.ask()).content == b"{}" + END.encode()


async def a_poller(service: Service) -> Poller:
    negotiated = await service.http.post(
        f"{service.base}/client/negotiate?hub=chat&negotiateVersion=1",
        headers={"authorization": f"Bearer {service.client_token('ann')}"},
    )
    return Poller(service, negotiated.json()["connectionToken"])


async def test_one_poll_returns_all_that_waits(service: Service) -> None:
    poller = await a_poller(service)
    await poller.open()
    await service.send(body='{"target":"a"}')
    await service.send(body='{"target":"b"}')
    answer = await poller.ask()
    one = '{"type":1,"target":"%s","arguments":[]}' + END
    assert answer.text == one % "a" + one % "b"


async def test_a_poll_waits_for_the_next_message(service: Service) -> None:
    poller = await a_poller(service)
    await poller.open()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(poller.ask())
        await until(lambda: service.emulator.sessions.all()[0].attached)
        await service.send()
        assert '"m"' in (await waiting).text


async def test_messagepack_travels_as_bytes(service: Service) -> None:
    poller = await a_poller(service)
    await poller.open("messagepack")
    await service.send()
    assert (await poller.ask()).content == framed([1, {}, None, "m", [], []])


async def test_a_poll_without_data_ends_empty_after_a_while(timed: Service, clock: FakeClock) -> None:
    poller = await a_poller(timed)
    await poller.open()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(poller.ask())
        await until(lambda: timed.emulator.sessions.all()[0].attached)
        await clock.settle()
        clock.jump(89)
        timed.emulator.sessions.all()[0].client.last_received = clock.monotonic()
        timed.emulator.sessions.all()[0].client.last_sent = clock.monotonic()
        await clock.advance(1)
        answer = await waiting
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_newer_poll_ends_the_older_with_204(service: Service) -> None:
    poller = await a_poller(service)
    await poller.open()
    async with asyncio.TaskGroup() as tasks:
        (session,) = service.emulator.sessions.all()
        older = tasks.create_task(poller.ask())
        await until(lambda: session.poll == 2)
        newer = tasks.create_task(poller.ask())
        assert (await older).status_code == 204
        await service.send()
        assert '"m"' in (await newer).text


async def test_a_poll_whose_caller_disconnected_takes_nothing(service: Service) -> None:
    poller = await a_poller(service)
    await poller.open()
    (session,) = service.emulator.sessions.all()
    async with httpx.AsyncClient() as other, asyncio.TaskGroup() as tasks:
        headers = {"authorization": f"Bearer {service.client_token('ann')}"}
        gone = tasks.create_task(other.get(poller.url, headers=headers))
        await until(lambda: session.poll == 2)
        gone.cancel()
        await until(lambda: session.poll == 3)
    await service.send()
    assert '"m"' in (await poller.ask()).text


async def test_delete_ends_the_connection_and_its_poll(service: Service) -> None:
    poller = await a_poller(service)
    await poller.open()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(poller.ask())
        await until(lambda: service.emulator.sessions.all()[0].attached)
        assert (await poller.ask("DELETE")).status_code == 202
        assert (await waiting).status_code == 204
    assert (await poller.ask("POST", '{"type":6}' + END)).status_code == 404
    assert (await poller.ask()).status_code == 404


async def test_a_closed_connection_delivers_its_close_message_then_204(service: Service) -> None:
    poller = await a_poller(service)
    await poller.open()
    await service.call("POST", ":closeConnections")
    assert '"type":7' in (await poller.ask()).text
    assert (await poller.ask()).status_code == 204


async def test_a_client_that_stops_polling_is_disconnected(timed: Service, clock: FakeClock) -> None:
    poller = await a_poller(timed)
    await poller.open()
    await clock.advance(31)
    assert timed.connection_ids() == []
    assert timed.emulator.sessions.all() == []


async def test_an_expired_token_ends_the_connection(timed: Service, clock: FakeClock) -> None:
    poller = await a_poller(timed)
    await poller.open()
    clock.jump(4000)
    assert (await poller.ask()).status_code == 401
    assert timed.connection_ids() == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_sends_and_ends_need_a_known_id(service: Service, method: str) -> None:
    assert (await Poller(service, "unknown").ask(method)).status_code == 404
    assert (await Poller(service, "").ask(method)).status_code == 400


async def test_too_much_at_once_is_413(service: Service) -> None:
    poller = await a_poller(service)
    await poller.open()
    assert (await poller.ask("POST", b"x" * (1024 * 1024 + 1))).status_code == 413
