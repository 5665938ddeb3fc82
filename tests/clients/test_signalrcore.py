"""signalrcore, a client with its own threads, connects through the product's negotiate and receives what is POSTed.

The product ends the connection with `closeConnection`, because the client's own `stop` waits for a byte from the server
before it returns.
"""

import queue
import threading
from typing import Any

import pytest
from signalrcore.hub_connection_builder import HubConnectionBuilder
from signalrcore.types import HubProtocolEncoding

from tests.clients.conftest import ANSWERS_WITHIN, Stack
from tests.clients.scenario import TARGETS, Listener, check, expected_count, messages

Received = tuple[str, list[Any]]


@pytest.mark.parametrize(
    "encoding", [HubProtocolEncoding.text, HubProtocolEncoding.binary], ids=["json", "messagepack"]
)
async def test_receives_everything_that_is_addressed_to_it_and_its_end(
    stack: Stack, listener: Listener, encoding: HubProtocolEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")  # it negotiates with urllib, which reads the proxy from the environment
    opened, closed = threading.Event(), threading.Event()
    arrivals: queue.SimpleQueue[Received] = queue.SimpleQueue()
    connection = HubConnectionBuilder().with_url(stack.negotiate_base(listener)).with_hub_protocol(encoding).build()
    connection.on_open(opened.set)
    connection.on_close(closed.set)
    for target in TARGETS:
        connection.on(target, lambda values, target=target: arrivals.put((target, values)))

    assert connection.start()
    assert opened.wait(ANSWERS_WITHIN)
    connection_id = await stack.joined(listener)
    stack.post(listener.hub, messages(listener, connection_id))
    check([arrivals.get(timeout=ANSWERS_WITHIN) for _ in range(expected_count())])

    stack.post(listener.hub, {"action": "closeConnection", "userId": listener.user, "reason": "the test is over"})
    assert closed.wait(ANSWERS_WITHIN)
    assert arrivals.empty()
