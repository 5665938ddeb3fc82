"""@microsoft/signalr, the vendor's client, under node: JSON, and MessagePack with its package."""

import pytest

from tests.clients.conftest import RunScript, Stack
from tests.clients.scenario import TARGETS, Listener, check, expected_count, messages

pytestmark = pytest.mark.node


@pytest.mark.parametrize("protocol", ["json", "messagepack"])
async def test_receives_everything_that_is_addressed_to_it(
    stack: Stack, listener: Listener, run_script: RunScript, protocol: str
) -> None:
    async with run_script("receive.mjs", stack.negotiate_base(listener), protocol, *TARGETS) as client:
        connection_id = (await client.next("connected"))["connectionId"]
        assert await stack.joined(listener) == connection_id
        stack.post(listener.hub, messages(listener, connection_id))
        lines = [await client.next("message") for _ in range(expected_count())]
    check([(line["target"], line["arguments"]) for line in lines])
