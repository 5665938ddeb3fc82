"""Server-Sent Events carry messages to the client, and POSTs those from the client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from emulator.transports.http import event_of
from tests.emulator.running import END, HANDSHAKE, Service, until
from tests.fakes import FakeClock


class EventStream:
    """One SSE client."""

    def __init__(self, service: Service, connection: str, token: str, answer: httpx.Response) -> None:
        self._service = service
        self._token = token
        self._chunks = answer.aiter_bytes()
        self._buffer = b""
        self.url = f"{service.base}/client/?hub=chat&id={connection}"

    async def post(self, text: str) -> int:
        headers = {"authorization": f"Bearer {self._token}"}
        return (await self._service.http.post(self.url, headers=headers, content=text)).status_code

    async def event(self) -> str:
        """Return the next event's data."""
        async with asyncio.timeout(5):
            while True:
                event, end, rest = self._buffer.partition(b"\r\n\r\n")
                if not end:
                    chunk = await anext(self._chunks, b"")
                    if not chunk:
                        return ""
                    self._buffer += chunk
                    continue
                self._buffer = rest
                if event.startswith(b"data: "):
                    return "\n".join(line.removeprefix("data: ") for line in event.decode().split("\r\n"))


@asynccontextmanager
async def event_stream(service: Service, user: str = "ann") -> AsyncIterator[EventStream]:
    token = service.client_token(user)
    negotiated = await service.http.post(
        f"{service.base}/client/negotiate?hub=chat&negotiateVersion=1", headers={"authorization": f"Bearer {token}"}
    )
    connection = negotiated.json()["connectionToken"]
    url = f"{service.base}/client/?hub=chat&id={connection}&access_token={token}"
    async with service.http.stream("GET", url, headers={"accept": "text/event-stream"}) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        yield EventStream(service, connection, token, answer)


async def test_events_down_posts_up(service: Service) -> None:
    async with event_stream(service) as stream:
        assert await stream.post(HANDSHAKE % "json") == 200
        assert await stream.event() == "{}" + END
        await service.send("users/ann/:send", '{"target":"m","arguments":[1,\n2]}')
        assert await stream.event() == '{"type":1,"target":"m","arguments":[1,\n2]}' + END
    await until(lambda: not service.connection_ids())


async def test_closing_ends_the_stream(service: Service) -> None:
    async with event_stream(service) as stream:
        await stream.post(HANDSHAKE % "json")
        await stream.event()
        await service.call("POST", ":closeConnections")
        assert '"type":7' in await stream.event()
        assert await stream.event() == ""


async def test_binary_protocols_are_refused_over_text(service: Service) -> None:
    async with event_stream(service) as stream:
        assert await stream.post(HANDSHAKE % "messagepack") == 200
        assert "binary" in await stream.event()


async def test_an_expired_token_ends_the_connection_at_the_next_request(timed: Service, clock: FakeClock) -> None:
    async with event_stream(timed) as stream:
        await stream.post(HANDSHAKE % "json")
        await stream.event()
        clock.jump(4000)
        assert await stream.post('{"type":6}' + END) == 401
        assert await stream.event() == ""
        assert timed.connection_ids() == []


async def test_a_stream_needs_a_negotiated_id(service: Service) -> None:
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {service.client_token()}"}
    for query, status in (("hub=chat", 400), ("hub=chat&id=unknown", 404)):
        answer = await service.http.get(f"{service.base}/client/?{query}", headers=headers)
        assert answer.status_code == status


def test_each_line_of_a_message_is_a_data_line() -> None:
    assert event_of("a\r\nb\rc\nd") == b"data: a\r\ndata: b\r\ndata: c\r\ndata: d\r\n\r\n"
