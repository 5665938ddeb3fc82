"""How long requests take, by what they are about and how they ended."""

import pytest

from fanout.metrics import ROUTES
from fanout.queue.entry import Depth
from service.app import route_of
from tests.fakes import FakeClock
from tests.service.apps import BATCH, ITEM, KEY, an_app, client_of, metric
from tests.service.memory_queue import MemoryQueue


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/hubs/chat/messages", "messages"),
        ("/chat/negotiate", "negotiate"),
        ("/v1/admin/dead-letters/3:1-0", "admin"),
        ("/livez", "probe"),
        ("/readyz", "probe"),
        ("/metrics", "probe"),
        ("/backlog", "probe"),
        ("/", "other"),
        ("/v1/hubs/chat/messages/", "other"),
        ("/v1/hubs/" + "x" * 10_000, "other"),
    ],
)
def test_a_path_is_about_one_of_few_things(path: str, route: str) -> None:
    assert route_of(path) == route
    assert route in ROUTES


async def test_each_answer_is_counted_with_its_route_and_status() -> None:
    app = an_app(api_key=KEY)
    async with client_of(app) as client:
        await client.post(BATCH, json=ITEM)
        await client.post(BATCH, json=ITEM, headers={"X-API-Key": KEY})
        await client.get("/livez")
        await client.get("/nothing")
    name = "fanout_http_request_seconds_count"
    assert metric(app, name, route="messages", status="4xx") == 1
    assert metric(app, name, route="messages", status="2xx") == 1
    assert metric(app, name, route="probe", status="2xx") == 1
    assert metric(app, name, route="other", status="4xx") == 1


async def test_the_time_is_that_until_the_answer() -> None:
    clock = FakeClock()

    class Slow(MemoryQueue):
        async def depth(self) -> Depth:
            clock.jump(0.75)
            return await super().depth()

    app = an_app(Slow(), clock=clock)
    async with client_of(app) as client:
        await client.get("/metrics")
    assert metric(app, "fanout_http_request_seconds_sum", route="probe", status="2xx") == 0.75
