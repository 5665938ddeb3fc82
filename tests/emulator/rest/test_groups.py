"""Membership of connections and users: who receives, which status, how long."""

import asyncio

import pytest

from tests.emulator.running import Service
from tests.fakes import FakeClock

NEWEST = "2024-12-01"


async def test_a_connection_joins_and_leaves(service: Service) -> None:
    async with service.client() as client:
        (connection,) = service.connection_ids()
        assert await service.status("HEAD", "groups/g") == 404
        assert await service.status("PUT", f"groups/g/connections/{connection}") == 200
        assert await service.status("HEAD", "groups/g") == 200
        await service.send("groups/g/:send", '{"target":"in"}')
        assert await service.status("DELETE", f"groups/g/connections/{connection}") == 200
        await service.send("groups/g/:send", '{"target":"out"}')
        await service.send(":send", '{"target":"after"}')
        assert '"in"' in await client.receive()
        assert '"after"' in await client.receive()


async def test_a_connection_leaves_all_its_groups(service: Service) -> None:
    async with service.client():
        (connection,) = service.connection_ids()
        for group in ("a", "b"):
            await service.call("PUT", f"groups/{group}/connections/{connection}")
        assert await service.status("DELETE", f"connections/{connection}/groups") == 200
        assert service.emulator.hubs["chat"].groups == {}
        assert await service.status("DELETE", "connections/gone/groups") == 200


async def test_adding_a_missing_connection_is_404_with_the_code_that_means_it(service: Service) -> None:
    answer = await service.call("PUT", "groups/g/connections/gone")
    assert answer.status_code == 404
    assert answer.headers["x-ms-error-code"] == "Error.Connection.NotExisted"


@pytest.mark.parametrize(("version", "status"), [("2020-10-01", 404), ("2022-06-01", 404), ("2023-07-01", 200)])
async def test_removing_a_missing_connection_stopped_being_an_error(
    service: Service, version: str, status: int
) -> None:
    assert await service.status("DELETE", "groups/g/connections/gone", version=version) == status


@pytest.mark.parametrize(
    ("version", "added", "removed", "everywhere"),
    [("2020-10-01", 202, 200, 200), ("2022-06-01", 200, 204, 204), ("2024-12-01", 200, 204, 204)],
)
async def test_statuses_of_user_membership_follow_the_api_version(
    service: Service, version: str, added: int, removed: int, everywhere: int
) -> None:
    assert await service.status("PUT", "users/u/groups/g", version=version) == added
    assert await service.status("DELETE", "users/u/groups/g", version=version) == removed
    assert await service.status("DELETE", "users/u/groups", version=version) == everywhere


async def test_user_membership_is_asked_by_head_or_get_in_both_orders(service: Service) -> None:
    for method in ("HEAD", "GET"):
        answer = await service.call(method, "users/u/groups/g")
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, "Info.User.NotInGroup")
    assert await service.status("PUT", "groups/g/users/u") == 200
    for path in ("users/u/groups/g", "groups/g/users/u"):
        assert await service.status("HEAD", path) == 200
        assert await service.status("GET", path) == 200


async def test_a_users_later_connections_join_and_removal_reaches_live_ones(service: Service) -> None:
    await service.call("PUT", "users/ann/groups/g")
    async with service.client("ann") as client, service.client("Ann"):
        assert len(service.emulator.hubs["chat"].groups["g"]) == 1
        await service.send("groups/g/:send", '{"target":"in"}')
        assert '"in"' in await client.receive()
        await service.call("DELETE", "users/ann/groups")
        assert service.emulator.hubs["chat"].groups == {}
    async with service.client("ann"):
        assert service.emulator.hubs["chat"].groups == {}


async def test_membership_of_a_connection_dies_with_it(service: Service) -> None:
    async with service.client("ann") as client:
        (connection,) = service.connection_ids()
        await service.call("PUT", f"groups/g/connections/{connection}")
        await client.socket.close()
        async with asyncio.timeout(5):
            while await service.status("HEAD", f"connections/{connection}") == 200:
                pass
    assert await service.status("HEAD", "groups/g") == 404


async def test_after_the_ttl_new_connections_do_not_join_and_old_ones_stay(timed: Service, clock: FakeClock) -> None:
    await timed.call("PUT", "users/ann/groups/g", "ttl=60")
    async with timed.client("ann"):
        clock.jump(61)
        assert len(timed.emulator.hubs["chat"].groups["g"]) == 1
        async with timed.client("ann"):
            assert len(timed.emulator.hubs["chat"].groups["g"]) == 1


async def test_a_ttl_of_zero_is_for_the_connections_of_now(timed: Service) -> None:
    await timed.call("PUT", "users/ann/groups/g", "ttl=3600")
    async with timed.client("ann"):
        await timed.call("PUT", "users/ann/groups/g", "ttl=0")
        async with timed.client("ann"):
            assert len(timed.emulator.hubs["chat"].groups["g"]) == 1


@pytest.mark.parametrize("ttl", ["-1", "x", "1.5", "99999999999"])
async def test_a_ttl_is_a_whole_number_of_seconds(service: Service, ttl: str) -> None:
    assert await service.status("PUT", "users/u/groups/g", f"ttl={ttl}") == 400


async def test_listing_a_group_goes_page_by_page(service: Service) -> None:
    async with service.client("ann"), service.client("bob"), service.client():
        ids = service.connection_ids()
        for connection in ids:
            await service.call("PUT", f"groups/g/connections/{connection}")
        answer = await service.call("GET", "groups/g/connections", "maxPageSize=2", version=NEWEST)
        first = answer.json()
        audience = first["nextLink"].partition("?")[0]
        headers = {"authorization": f"Bearer {service.token(audience)}"}
        second = (await service.http.get(first["nextLink"], headers=headers)).json()
        members = first["value"] + second["value"]
        assert [member["connectionId"] for member in members] == sorted(ids)
        assert {member.get("userId") for member in members} == {"ann", "bob", None}
        assert "nextLink" not in second
        top = (await service.call("GET", "groups/g/connections", "top=1", version=NEWEST)).json()
        assert (len(top["value"]), "nextLink" in top) == (1, False)


@pytest.mark.parametrize("query", ["maxpagesize=0", "maxpagesize=201", "top=0", "top=x"])
async def test_page_sizes_are_bounded(service: Service, query: str) -> None:
    assert await service.status("GET", "groups/g/connections", query, version=NEWEST) == 400


async def test_group_names_are_bounded_and_not_blank(service: Service) -> None:
    assert await service.status("PUT", "users/u/groups/%20%20") == 400
    assert await service.status("PUT", f"users/u/groups/{'g' * 1025}") == 400
    assert await service.status("PUT", f"users/u/groups/{'g' * 1024}") == 200
    assert (await service.send("groups/%20/:send")).status_code == 202
