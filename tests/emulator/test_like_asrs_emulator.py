"""The differences of the vendor's own emulator: each is played by its preset and by a switch of its own."""

from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from emulator.config import LIKE_ASRS_EMULATOR, EmulatorConfig
from fanout.signalr.credentials import rest_token
from tests.emulator.running import Service, running

ENCODED = {"content-type": "application/octet-stream"}
FRAMES = msgspec.msgpack.encode({"json": b'{"type":1,"target":"m","arguments":[]}\x1e'})


@pytest.fixture
async def vendors() -> AsyncIterator[Service]:
    """A running emulator that behaves like the vendor's."""
    async with running(LIKE_ASRS_EMULATOR) as started:
        yield started


async def test_a_message_for_an_id_with_a_slash_reaches_the_user_with_the_escape_in_the_id(vendors: Service) -> None:
    async with vendors.client("a/b") as meant, vendors.client("a%2Fb") as other:
        assert (await vendors.send("users/a%2Fb/:send", '{"target":"misled"}')).status_code == 202
        assert (await vendors.send("users/a%252Fb/:send", '{"target":"own"}')).status_code == 202
        assert [msgspec.json.decode(await other.receive())["target"] for _ in range(2)] == ["misled", "own"]
        await vendors.send(":send", '{"target":"all"}')
        assert '"all"' in await meant.receive()


async def test_other_escapes_are_decoded(vendors: Service) -> None:
    async with vendors.client("a b%c") as client:
        await vendors.send("users/a%20b%25c/:send", '{"target":"own"}')
        assert '"own"' in await client.receive()


@pytest.mark.parametrize(
    ("method", "path", "version"),
    [
        ("HEAD", "connections/gone", "2022-06-01"),
        ("HEAD", "users/gone", "2022-06-01"),
        ("HEAD", "groups/gone", "2022-06-01"),
        ("HEAD", "users/u/groups/g", "2022-06-01"),
        ("PUT", "groups/g/connections/gone", "2022-06-01"),
        ("DELETE", "groups/g/connections/gone", "2022-06-01"),
    ],
)
async def test_a_404_has_no_code(vendors: Service, method: str, path: str, version: str) -> None:
    answer = await vendors.call(method, path, version=version)
    assert (answer.status_code, "x-ms-error-code" in answer.headers) == (404, False)


async def test_a_user_it_does_not_know_cannot_be_removed_from_all_groups(vendors: Service) -> None:
    assert await vendors.status("DELETE", "users/stranger/groups") == 500
    await vendors.status("PUT", "users/member/groups/g")
    assert await vendors.status("DELETE", "users/member/groups") == 204
    async with vendors.client("connected"):
        assert await vendors.status("DELETE", "users/connected/groups") == 204


async def test_encoded_bodies_are_415(vendors: Service) -> None:
    assert (await vendors.send(body=FRAMES, headers=ENCODED)).status_code == 415


async def test_execute_does_not_exist(vendors: Service) -> None:
    assert (await vendors.send(":execute", "[]", version="2023-07-01")).status_code == 404


async def test_health_needs_a_token(vendors: Service) -> None:
    assert (await vendors.http.head(f"{vendors.base}/api/health")).status_code == 401
    assert await vendors.status("HEAD", "/api/health") == 200


async def test_arguments_are_written_anew(vendors: Service) -> None:
    async with vendors.client() as client:
        await vendors.send(body=r'{"target":"m","arguments":[ 1.50, "\u00e9\/", {"a":1,"a":2} ]}')
        assert '"arguments":[1.5,"é/",{"a":2}]' in await client.receive()


async def test_neither_audience_nor_lifetime_of_a_token_is_checked(vendors: Service) -> None:
    token = rest_token("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH", "https://elsewhere.example", 1)
    assert (await vendors.send(headers={"authorization": f"Bearer {token}"})).status_code == 202
    assert (await vendors.send(headers={"authorization": "Bearer none"})).status_code == 401


async def test_by_default_the_emulator_is_like_the_service() -> None:
    assert (
        replace(
            LIKE_ASRS_EMULATOR,
            execute=True,
            check_audience=True,
            check_expiry=True,
            decode_slashes=True,
            error_codes=True,
            encoded_bodies=True,
            keep_arguments=True,
            open_health=True,
            unknown_users=True,
        )
        == EmulatorConfig()
    )
