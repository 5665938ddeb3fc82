"""pysignalr, an asyncio client, connects through the product's negotiate and receives what is POSTed.

It takes the service's URL and token from negotiate and opens the WebSocket without a second negotiation. It is the only
client here that connects without a connection id.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from pysignalr.client import SignalRClient
from pysignalr.protocol.abstract import Protocol
from pysignalr.protocol.json import JSONProtocol
from pysignalr.protocol.messagepack import MessagepackProtocol

from tests.clients.conftest import ANSWERS_WITHIN, Stack
from tests.clients.scenario import TARGETS, Listener, check, expected_count, messages


@pytest.mark.parametrize("protocol", [JSONProtocol(), MessagepackProtocol()], ids=["json", "messagepack"])
async def test_receives_everything_that_is_addressed_to_it(
    stack: Stack, listener: Listener, protocol: Protocol
) -> None:
    client = SignalRClient(stack.negotiate_base(listener), protocol=protocol)
    received: list[tuple[str, list[Any]]] = []
    complete = asyncio.Event()

    def receiver(target: str) -> Any:
        async def receive(values: list[Any]) -> None:
            received.append((target, values))
            if len(received) == expected_count():
                complete.set()

        return receive

    for target in TARGETS:
        client.on(target, receiver(target))
    async with connected(client), asyncio.timeout(ANSWERS_WITHIN):
        connection_id = await stack.joined(listener)
        stack.post(listener.hub, messages(listener, connection_id))
        await complete.wait()
    check(received)


@asynccontextmanager
async def connected(client: SignalRClient) -> AsyncIterator[None]:
    """Run the client for the duration of the block, which begins when the handshake is complete."""
    opened = asyncio.Event()

    async def note() -> None:
        opened.set()

    client.on_open(note)
    running = asyncio.ensure_future(client.run())
    try:
        waiting = asyncio.ensure_future(opened.wait())
        await asyncio.wait({running, waiting}, timeout=ANSWERS_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if running.done():
            running.result()
        assert opened.is_set()
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        socket = client._transport._ws
        if socket is not None:  # cancelled, the client leaves it to the garbage collector
            await socket.close()
