"""The outbox keeps the order, ends cleanly and is bounded."""

from emulator.client import Client, Identity, Outbox
from emulator.hubs import Hub
from emulator.protocols.hub import Invocation
from emulator.protocols.hub_json import JsonHubProtocol
from tests.fakes import FakeClock


def test_frames_leave_in_order_and_nothing_is_taken_after_the_end() -> None:
    outbox = Outbox(10)
    assert outbox.put("a")
    assert outbox.put("b")
    outbox.close()
    assert not outbox.put("c")
    assert outbox.take() == ["a", "b"]
    assert len(outbox) == 0


async def test_a_waiting_writer_is_woken_by_frames_and_by_the_end() -> None:
    outbox = Outbox(10)
    outbox.put("a")
    await outbox.wait()
    outbox.take()
    outbox.close()
    await outbox.wait()


def test_a_client_that_never_reads_is_ended_at_the_limit() -> None:
    client = Client("c", Identity("chat"), "webSockets", now=0, unread=2)
    hub = Hub("chat", FakeClock())
    hub.send([client], Invocation('"m"', "[]"))
    assert len(client.outbox) == 0
    client.protocol = JsonHubProtocol()
    for _ in range(3):
        hub.send([client], Invocation('"m"', "[]"))
    assert client.outbox.closed
    assert len(client.outbox) == 2
