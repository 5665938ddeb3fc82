"""`fanout hub` and `fanout config --running`, against a real ingress in front of the emulator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from click.testing import CliRunner, Result

from emulator.config import connection_string
from fanout.clock import SystemClock
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from fanout.signalr.message import CloseConnections, Scope
from service.cli.main import main
from service.compat.questions import open_service, open_services
from tests.emulator.running import Service, running
from tests.free_ports import free_port
from tests.service.apps import KEY, an_app, client_of, served
from tests.service.memory_queue import MemoryQueue

pytestmark = pytest.mark.slow

LONG = "c" * 2049
SECRET = "a secret that nobody may see"


@dataclass(frozen=True)
class Place:
    """An ingress, its queue, and the emulator behind it."""

    url: str
    queue: MemoryQueue
    service: Service

    async def fanout(self, *arguments: str, answer: str = "", key: str = KEY) -> Result:
        command, environ = [*arguments, "--url", self.url], {"FANOUT_API_KEY": key}
        return await asyncio.to_thread(CliRunner().invoke, main, command, env=environ, input=answer)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with a_place() as place:
        yield place


@asynccontextmanager
async def a_place() -> AsyncIterator[Place]:
    queue = MemoryQueue()
    async with running() as service:
        parsed = ConnectionString.parse(connection_string(service.port))
        app = an_app(queue, api_key=KEY, service=parsed, redis_url=f"redis://:{SECRET}@redis.example/0")
        async with (
            open_service(parsed, app.settings, SystemClock()) as asked,
            served(replace(app, asked={"": asked})) as url,
        ):
            yield Place(url, queue, service)


@asynccontextmanager
async def two_places(home: Service, east: Service, port: int = 0) -> AsyncIterator[Place]:
    """An ingress in front of two emulators; the second is not found where `port` is another one's."""
    queue = MemoryQueue()
    services = [ConnectionString.parse(connection_string(each)) for each in (home.port, port or east.port)]
    endpoints = Endpoints.of([ServiceEndpoint("", services[0]), ServiceEndpoint("East", services[1])])
    app = replace(an_app(queue, api_key=KEY), endpoints=endpoints)
    async with (
        open_services(endpoints, app.settings, SystemClock()) as asked,
        served(replace(app, asked=asked)) as url,
    ):
        yield Place(url, queue, home)


async def test_the_service_says_who_is_there_and_who_is_a_member(place: Place) -> None:
    async with place.service.client("al/ice"):
        [connection] = place.service.connection_ids()
        await place.service.status("PUT", f"groups/red/connections/{connection}")
        user, group = ("--user", "al/ice"), ("--group", "red")
        for names in (("--connection", connection), user, group, (*user, *group)):
            found = await place.fanout("hub", "exists", "chat", *names)
            assert (found.exit_code, found.output) == (0, "yes\n"), names
        for names in (("--connection", "x"), ("--user", "a.b"), ("--group", "r"), ("--user", "bob", "--group", "red")):
            found = await place.fanout("hub", "exists", "chat", *names)
            assert (found.exit_code, found.output) == (1, "no\n"), names
        listed = await place.fanout("hub", "connections", "chat", "--group", "red")
        assert listed.output.split() == ["CONNECTION", "USER", connection, "al/ice"]
    assert (await place.fanout("hub", "connections", "chat", "--group", "empty")).output == "There are none.\n"


async def test_a_long_list_is_read_page_by_page(place: Place) -> None:
    async with place.service.client("a"), place.service.client("b"), place.service.client("c"):
        for connection in place.service.connection_ids():
            await place.service.status("PUT", f"groups/red/connections/{connection}")
        limited = await place.fanout("hub", "connections", "chat", "--group", "red", "--limit", "2")
        assert (len(limited.stdout.splitlines()), "There may be more" in limited.stderr) == (3, True)


@pytest.mark.parametrize(
    "arguments",
    [(), ("--connection", "c", "--group", "g"), ("--user", "u", "--connection", "c"), ("--user", "u" * 5000)],
)
async def test_a_question_about_nothing_is_refused(place: Place, arguments: tuple[str, ...]) -> None:
    found = await place.fanout("hub", "exists", "chat", *arguments)
    assert (found.exit_code, found.stdout) == (2, "")


async def test_a_service_that_is_away_or_refuses_is_told(place: Place) -> None:
    found = await place.fanout("hub", "exists", "chat", "--user", "alice", key="the-key-of-somebody-else")
    assert (found.exit_code, found.stdout) == (2, "")  # 1 would be a no
    app = an_app(api_key=KEY)  # without a service to ask
    async with client_of(app, X_API_Key=KEY) as client:
        assert (await client.get("/v1/admin/hubs/chat/exists?user=a")).json()["code"] == "notConfigured"
        for query in (
            "user=a&user=b",
            "users=a",
            "group=g&limit=0",
            "group=g&limit=201",
            f"group=g&cursor={'c' * 2049}",
        ):
            address = "connections" if "group" in query else "exists"
            assert (await client.get(f"/v1/admin/hubs/chat/{address}?{query}")).status_code == 400, query


async def test_closing_a_hub_says_first_what_it_does_and_is_queued_when_confirmed(place: Place) -> None:
    for refused in (("--dry-run",), ()):
        found = await place.fanout("hub", "close", "chat", *refused, answer="n\n")
        assert found.exit_code == (0 if refused else 1)
        assert found.stderr.startswith("This closes every connection of hub chat. Entries of it that wait: 0.\n")
    assert place.queue.stored == []
    found = await place.fanout("hub", "close", "Chat", "--reason", "maintenance", answer="y\n")
    [stored] = place.queue.stored
    assert found.stdout == f"Queued as {stored.entry.message_id}.\n"
    assert (stored.entry.hub, stored.entry.item) == ("chat", CloseConnections(Scope.BROADCAST, "", "maintenance", ()))


async def test_with_several_endpoints_each_is_asked_and_closed_or_the_one_that_is_named() -> None:
    async with running() as home, running() as east, two_places(home, east) as place:
        async with home.client("ann"), east.client("bob"):
            for service in (home, east):
                await service.status("PUT", f"groups/red/connections/{service.connection_ids()[0]}")
            for names, output in (
                (("--user", "bob"), "yes (east)\n"),
                (("--group", "red"), "yes (default, east)\n"),
                (("--user", "bob", "--endpoint", "default"), "no\n"),
                (("--user", "cy"), "no\n"),
            ):
                assert (await place.fanout("hub", "exists", "chat", *names)).output == output
            listed = (await place.fanout("hub", "connections", "chat", "--group", "red")).output.splitlines()
            assert [line.split()[1:] for line in listed] == [["USER", "ENDPOINT"], ["ann", "default"], ["bob", "east"]]
            named = ("--group", "red", "--endpoint", "EAST")
            assert "ann" not in (await place.fanout("hub", "connections", "chat", *named)).output
        assert (await place.fanout("hub", "connections", "chat", "--group", "red")).output == "There are none.\n"
        unknown = await place.fanout("hub", "close", "chat", "--endpoint", "west", "--yes")
        assert (unknown.exit_code, "known: default, east." in unknown.output) == (2, True)
        await place.fanout("hub", "close", "chat", "--yes", "--endpoint", "east")
        assert [stored.entry.endpoint for stored in place.queue.stored] == ["east"]
        await place.fanout("hub", "close", "chat", "--yes")
        assert [stored.entry.endpoint for stored in place.queue.stored[1:]] == ["", "east"]


async def test_no_is_no_answer_while_an_endpoint_does_not_answer() -> None:
    async with (
        running() as home,
        two_places(home, home, port=free_port()) as place,
        home.client("ann"),
    ):
        found = await place.fanout("hub", "exists", "chat", "--user", "ann")
        assert (found.exit_code, found.stdout, found.stderr) == (0, "yes\n", "Not answered: east.\n")
        missing = await place.fanout("hub", "exists", "chat", "--user", "bob")
        assert (missing.exit_code, missing.stdout, "east: The SignalR service" in missing.stderr) == (2, "", True)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", "/all"), (b'{"all":false}', "/all"), (b'{"all":true,"dryRun":1}', "/dryRun"),
        (b'{"all":true,"reason":7}', "/reason"), (b'{"all":true,"hub":"x"}', "/hub"),
        (b'{"all":true,"endpoint":"west"}', "/endpoint"), (b'{"all":true,"endpoint":7}', "/endpoint"),
    ],
)  # fmt: skip
async def test_no_hub_is_closed_by_accident(body: bytes, pointer: str) -> None:
    queue = MemoryQueue()
    async with client_of(an_app(queue, api_key=KEY), X_API_Key=KEY) as client:
        answer = await client.post(
            "/v1/admin/hubs/chat/close", content=body, headers={"Content-Type": "application/json"}
        )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)
    assert queue.stored == []


async def test_the_settings_of_the_running_service_are_printed_without_secrets(place: Place) -> None:
    found = await place.fanout("config", "--running")
    assert found.exit_code == 0
    assert "FANOUT_PARTITIONS=16\n" in found.output
    assert "FANOUT_API_KEY=***  (set)" in found.output
    assert "redis.example" in found.output
    for secret in (SECRET, KEY, place.service.token("x")[:20]):
        assert secret not in found.output
    changed = (await place.fanout("config", "--running", "--changed")).output.splitlines()
    assert all(line.endswith("(set)") for line in changed)
    assert (await place.fanout("config", "--running", "--check")).exit_code == 2
