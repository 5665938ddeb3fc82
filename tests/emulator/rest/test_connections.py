"""Existence and closing of connections, with the 404s that are answers."""

import msgspec
import pytest

from tests.emulator.running import Service


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("connections/gone", "Warning.Connection.NotExisted"),
        ("users/nobody", "Warning.User.NotExisted"),
        ("groups/none", "Warning.Group.NotExisted"),
    ],
)
async def test_what_does_not_exist_is_404_with_its_code(service: Service, path: str, code: str) -> None:
    for method in ("HEAD", "GET"):
        answer = await service.call(method, path)
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, code)


async def test_what_exists_is_200_by_head_and_get(service: Service) -> None:
    async with service.client("ann"):
        (connection,) = service.connection_ids()
        for method in ("HEAD", "GET"):
            assert await service.status(method, f"connections/{connection}") == 200
            assert await service.status(method, "users/ann") == 200
            assert await service.status(method, "users/Ann") == 404


async def test_a_closed_connection_may_reconnect_and_stops_existing_at_once(service: Service) -> None:
    async with service.client() as client:
        (connection,) = service.connection_ids()
        assert await service.status("DELETE", f"connections/{connection}", "reason=enough") == 200
        assert await service.status("HEAD", f"connections/{connection}") == 404
        assert await client.receive() == '{"type":7,"allowReconnect":true}'
        assert await client.closed() == 1000
        again = await service.call("DELETE", f"connections/{connection}")
        assert (again.status_code, again.headers["x-ms-error-code"]) == (404, "Warning.Connection.NotExisted")


async def test_the_reason_is_sent_to_clients_with_detailed_errors_only(service: Service) -> None:
    async with service.client("ann", **{"asrs.s.derror": "True"}) as client:
        assert await service.status("POST", "users/ann/:closeConnections", "reason=bye%20now") == 204
        assert await client.receive() == '{"type":7,"error":"bye now","allowReconnect":true}'


@pytest.mark.parametrize("path", [":closeConnections", "groups/g/:closeConnections", "users/ann/:closeConnections"])
async def test_closing_many_leaves_the_excluded_open(service: Service, path: str) -> None:
    async with service.client("ann") as kept, service.client("ann") as closed:
        first, _second = service.connection_ids()
        await service.call("PUT", "users/ann/groups/g")
        assert await service.status("POST", path, f"excluded={first}") == 204
        assert msgspec.json.decode(await closed.receive())["type"] == 7
        assert service.connection_ids() == [first]
        await service.send(body='{"target":"still"}')
        assert '"still"' in await kept.receive()


async def test_closing_a_user_bounds_the_name(service: Service) -> None:
    assert await service.status("POST", f"users/{'u' * 1025}/:closeConnections") == 400
    assert await service.status("POST", f"users/{'u' * 1024}/:closeConnections") == 204
