"""What stands at the address an operator names, and what is not told of the key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fanout.errors import ConfigurationError
from service.cli.api import Api, RefusedError
from service.cli.dead_letters.client import DeadLetterClient
from tests.service.apps import KEY

pytestmark = pytest.mark.slow


@asynccontextmanager
async def answering(status: bytes, body: bytes) -> AsyncIterator[str]:
    """The address of a server that answers everything with this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        writer.write(head + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"\xff", b'{"events":[]}'])
@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
async def test_something_else_at_the_address_is_a_configuration_error(status: bytes, body: bytes) -> None:
    async with answering(status, body) as url:
        with pytest.raises(ConfigurationError, match="is not a fanout ingress"):
            await asyncio.to_thread(DeadLetterClient(Api(url, KEY)).letter, "0:1-0")
        with pytest.raises(ConfigurationError, match="is not a fanout ingress"):
            await asyncio.to_thread(lambda: list(DeadLetterClient(Api(url, KEY)).pages({}, 10)))
        with pytest.raises(ConfigurationError, match="is not a fanout ingress"):
            await asyncio.to_thread(lambda: list(DeadLetterClient(Api(url, KEY)).run("purge", {"all": True}, None)))


async def test_a_refusal_is_told_in_the_words_of_the_ingress() -> None:
    async with answering(b"503 Service Unavailable", b'{"detail":"The queue is away."}') as url:
        with pytest.raises(RefusedError, match=r"The queue is away\."):
            await asyncio.to_thread(DeadLetterClient(Api(url, KEY)).letter, "0:1-0")


async def test_numbers_no_program_reads_come_as_they_are() -> None:
    document = b'{"message":{"arguments":[1e400,1.50,12345678901234567890123]}}'
    async with answering(b"200 OK", document) as url:
        assert await asyncio.to_thread(DeadLetterClient(Api(url, KEY)).letter, "0:1-0") == document.decode()


def test_the_key_is_in_no_repr() -> None:
    assert KEY not in repr(Api("http://x", KEY)) + repr(DeadLetterClient(Api("http://x", KEY)))
