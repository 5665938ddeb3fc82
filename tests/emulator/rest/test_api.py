"""The checks of every REST call (route, api-version, names, sizes), and the v1 routes."""

from typing import Any

import pytest

from emulator.config import EmulatorConfig
from tests.emulator.running import JSON, Service, running


@pytest.mark.parametrize("version", ["", "latest", "2019-01-01", "2030-01-01", "2022-6-1"])
async def test_an_api_version_is_required_and_must_exist(service: Service, version: str) -> None:
    answer = await service.send(version=version)
    assert answer.status_code == 400
    assert "api-version" in answer.json()["message"]


async def test_the_api_version_check_can_be_switched_off() -> None:
    async with running(EmulatorConfig(check_api_version=False)) as service:
        assert (await service.send(version="")).status_code == 202
        assert await service.status("POST", ":execute", content="[]", headers=JSON) == 202


@pytest.mark.parametrize(
    ("method", "path", "since"),
    [
        ("POST", ":closeConnections", "2022-06-01"),
        ("POST", ":generateToken", "2022-11-01"),
        ("POST", ":execute", "2023-07-01"),
        ("GET", "groups/g/connections", "2024-12-01"),
    ],
)
async def test_an_operation_exists_from_its_first_api_version_on(
    service: Service, method: str, path: str, since: str
) -> None:
    body: dict[str, Any] = {"content": "[]", "headers": JSON} if path == ":execute" else {}
    before = await service.call(method, path, version="2020-10-01", **body)
    assert before.status_code == 404
    assert "x-ms-error-code" not in before.headers
    assert await service.status(method, path, version=since, **body) < 300


async def test_a_wrong_path_is_404_without_a_code_and_a_wrong_method_405(service: Service) -> None:
    for path in ("/api/hubs/chat/nothing", "/api/hubs", "/api/other", "/api/hubs/chat/users/u/"):
        answer = await service.call("POST", path)
        assert answer.status_code == 404
        assert "x-ms-error-code" not in answer.headers
    answer = await service.call("DELETE", "groups/g")
    assert (answer.status_code, "HEAD" in answer.headers["allow"]) == (405, True)


@pytest.mark.parametrize("hub", ["1chat", "my-hub", "a%20b", "h" * 129, "%C3%A4"])
async def test_bad_hub_names_are_400(service: Service, hub: str) -> None:
    answer = await service.send(f"/api/hubs/{hub}/:send")
    assert (answer.status_code, answer.json()["target"]) == (400, "hub")


async def test_hubs_have_no_case_and_may_carry_odd_characters(service: Service) -> None:
    async with service.client(hub="Chat`,.[]_1") as client:
        await service.send("/api/hubs/cHAT%60%2C.%5B%5D_1/:send", '{"target":"m"}')
        assert '"m"' in await client.receive()


async def test_the_application_is_a_prefix_of_the_hub(service: Service) -> None:
    async with service.client(hub="app_chat") as client:
        await service.send(":send", '{"target":"m"}', query="application=App")
        assert '"m"' in await client.receive()
    assert (await service.send(query="application=9")).status_code == 400


@pytest.mark.parametrize("path", ["users//:send", "connections//:send", "groups//:send"])
async def test_an_empty_name_is_400(service: Service, path: str) -> None:
    assert (await service.send(path)).status_code == 400


async def test_long_uris_and_headers_are_refused(service: Service) -> None:
    assert await service.status("HEAD", "groups/g", "x=" + "y" * 12_300) == 414
    assert await service.status("HEAD", "groups/g", headers={"x-long": "y" * 16_400}) == 431


async def test_health_needs_neither_token_nor_version(service: Service) -> None:
    for path in ("/api/health", "/api/v1/health"):
        assert (await service.http.head(service.base + path)).status_code == 200
        assert (await service.http.get(service.base + path)).status_code == 200


async def test_v1_sends_without_the_colon_routes(service: Service) -> None:
    root = "/api/v1/hubs/chat"
    async with service.client("ann") as client:
        (connection,) = service.connection_ids()
        for path in ("", "/users/ann", f"/connections/{connection}"):
            answer = await service.send(root + path, '{"Target":"m","Arguments":[1]}', version="")
            assert (answer.status_code, answer.content) == (202, b"")
            assert await client.receive() == '{"type":1,"target":"m","arguments":[1]}'
        assert await service.status("PUT", f"{root}/groups/g/users/ann", version="") == 202
        assert await service.status("GET", f"{root}/groups/g/users/ann", version="") == 200
        await service.send(f"{root}/groups/g", version="")
        assert '"m"' in await client.receive()
        assert await service.status("DELETE", f"{root}/groups/g/users/ann", version="") == 202
        assert await service.status("DELETE", f"{root}/users/ann/groups", version="") == 200
        assert await service.status("DELETE", f"{root}/connections/{connection}", version="") == 202
    assert (await service.send(f"{root}/:send", version="")).status_code == 404


async def test_v1_explains_a_400_in_plain_text(service: Service) -> None:
    answer = await service.send("/api/v1/hubs/chat", "{}", version="")
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert "target" in answer.text
