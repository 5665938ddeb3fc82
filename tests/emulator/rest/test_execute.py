"""`:execute` runs all of its commands for every connection that the filter selects, or none of them."""

import msgspec
import pytest

from emulator.client import Client, Identity
from emulator.config import EmulatorConfig
from emulator.http import HttpError
from emulator.rest.sends import parse_filter
from tests.emulator.running import JSON, Service, running

NEW = "2023-07-01"


async def execute(service: Service, commands: object, query: str = "") -> int:
    body = commands if isinstance(commands, str) else msgspec.json.encode(commands)
    return await service.status("POST", ":execute", query, content=body, headers=JSON, version=NEW)


async def test_messages_keep_their_order_and_their_bytes(service: Service) -> None:
    async with service.client("ann") as ann, service.client("bob") as bob:
        commands = (
            '[{"type":"SendMessage","message":{"target":"a","arguments":[ 1.10 ]}},'
            '{"Type":"SendMessage","Message":{"Target":"b"}}]'
        )
        assert await execute(service, commands, "filter=userId%20eq%20'ann'") == 202
        await service.send(body='{"target":"c"}')
        assert await ann.receive() == '{"type":1,"target":"a","arguments":[ 1.10 ]}'
        assert '"b"' in await ann.receive()
        assert '"c"' in await ann.receive()
        assert '"c"' in await bob.receive()


async def test_joining_leaving_and_closing(service: Service) -> None:
    async with service.client("listener-1") as client, service.client("speaker"):
        only_listeners = "filter=startswith(userId,%20'listener-')"
        await execute(
            service, [{"type": "JoinGroup", "group": "g"}, {"type": "JoinGroup", "group": "h"}], only_listeners
        )
        groups = service.emulator.hubs["chat"].groups
        assert {name: len(members) for name, members in groups.items()} == {"g": 1, "h": 1}
        await execute(service, [{"type": "LeaveGroup", "group": "g"}])
        assert list(groups) == ["h"]
        await execute(service, [{"type": "CloseConnection", "reason": "x"}], only_listeners)
        assert await client.receive() == '{"type":7,"allowReconnect":true}'
        assert len(service.connection_ids()) == 1


@pytest.mark.parametrize(
    "commands",
    [
        {"type": "JoinGroup", "group": "g"},
        [{"type": "JoinGroup", "group": "g"}, {"type": "Dance"}],
        [{"type": "JoinGroup", "group": "g"}, {"type": "LeaveGroup"}],
        [{"type": "JoinGroup", "group": "g"}, {"type": "SendMessage"}],
        [{"type": "JoinGroup", "group": "g"}, 1],
    ],
)
async def test_one_bad_command_refuses_all_of_them(service: Service, commands: object) -> None:
    async with service.client("ann"):
        assert await execute(service, commands) == 400
        assert service.emulator.hubs["chat"].groups == {}


async def test_only_json_is_read(service: Service) -> None:
    headers = {"content-type": "application/octet-stream"}
    assert await service.status("POST", ":execute", content=b"\x80", headers=headers, version=NEW) == 415


async def test_it_can_be_switched_off() -> None:
    async with running(EmulatorConfig(execute=False)) as service:
        assert await execute(service, []) == 404
        assert (await service.send()).status_code == 202


@pytest.mark.parametrize("status", [400, 404, 415, 501])
async def test_a_fault_rule_can_refuse_it_for_a_while(service: Service, status: int) -> None:
    rules = [{"kind": "status", "status": status, "match": {"path": ":execute$"}, "times": 1}]
    await service.http.put(f"{service.base}/emulator/faults", json=rules)
    assert (await service.send()).status_code == 202
    assert [await execute(service, []) for _ in range(2)] == [status, 202]


def a_client(user: str | None) -> Client:
    return Client("c", Identity("chat", user), "webSockets", now=0, unread=1)


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("", ["ann", "O'Neil", None]),
        ("userId eq 'ann'", ["ann"]),
        (" userId  eq  'O''Neil' ", ["O'Neil"]),
        ("startswith(userId,'a')", ["ann"]),
        ("startswith( userId , '' )", ["ann", "O'Neil"]),
    ],
)
def test_filters(text: str, users: list[str | None]) -> None:
    matches = parse_filter(text)
    assert [user for user in ("ann", "O'Neil", None) if matches(a_client(user))] == users


@pytest.mark.parametrize("text", ["userId eq ann", "userId ne 'a'", "'g' in groups", "userId eq 'a' or 1 eq 1", "x"])
def test_undocumented_filters_are_refused(text: str) -> None:
    with pytest.raises(HttpError):
        parse_filter(text)
