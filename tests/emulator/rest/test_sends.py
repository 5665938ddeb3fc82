"""Sends reach the connections they address, byte for byte, and are answered 202 also without receivers."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.emulator.running import JSON, Service

AWKWARD = '[ 1.10, 12345678901234567890123, {"b":1,"a":2,"a":3}, "\\u00e9\\/é", "2024-01-01T00:00:00Z",\n 1e400 ]'


async def test_arguments_reach_json_clients_byte_for_byte(service: Service) -> None:
    async with service.client() as client:
        answer = await service.send(body=f'{{"target":"t\\u0041", "arguments": {AWKWARD} }}')
        assert (answer.status_code, answer.content) == (202, b"")
        assert await client.receive() == f'{{"type":1,"target":"t\\u0041","arguments":{AWKWARD}}}'


@pytest.mark.parametrize("body", ['{"target":"m"}', '{"Target":"m","Arguments":null}', '{"TARGET":"m","arguments":[]}'])
async def test_property_names_have_no_case_and_no_arguments_are_an_empty_list(service: Service, body: str) -> None:
    async with service.client() as client:
        assert (await service.send(body=body)).status_code == 202
        assert await client.receive() == '{"type":1,"target":"m","arguments":[]}'


async def test_each_send_reaches_the_connections_it_addresses(service: Service) -> None:
    async with service.client("ann") as ann, service.client("bob") as bob:
        first, second = service.connection_ids()
        await service.call("PUT", f"groups/g/connections/{second}")
        await service.send("users/ann/:send", '{"target":"user"}')
        await service.send("groups/g/:send", '{"target":"group"}')
        await service.send(f"connections/{first}/:send", '{"target":"connection"}')
        await service.send(":send", '{"target":"all"}')
        assert [msgspec.json.decode(await ann.receive())["target"] for _ in range(3)] == ["user", "connection", "all"]
        assert [msgspec.json.decode(await bob.receive())["target"] for _ in range(2)] == ["group", "all"]


async def test_excluded_connections_are_left_out_of_broadcast_and_group(service: Service) -> None:
    async with service.client("ann") as ann, service.client("ann") as other:
        first, second = service.connection_ids()
        await service.call("PUT", "users/ann/groups/g")
        await service.send(":send", '{"target":"a"}', query=f"excluded=x&excluded={first}")
        await service.send("groups/g/:send", '{"target":"b"}', query=f"excluded={second}")
        assert '"b"' in await ann.receive()
        assert '"a"' in await other.receive()


async def test_a_user_id_with_a_slash_is_one_segment_and_keeps_its_case(service: Service) -> None:
    async with service.client("User/ä b") as client:
        await service.send("users/user%2F%C3%A4%20b/:send", '{"target":"other"}')
        await service.send("users/User%2F%C3%A4%20b/:send", '{"target":"mine"}')
        assert '"mine"' in await client.receive()


@pytest.mark.parametrize("path", [":send", "users/nobody/:send", "groups/none/:send", "connections/gone/:send"])
async def test_a_send_without_receivers_is_accepted(service: Service, path: str) -> None:
    assert (await service.send(path)).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "nonsense",
        "{}",
        '{"target":""}',
        '{"target":1}',
        '{"target":"m","arguments":{}}',
        b'{"target":"\xff"}',
    ],
)
async def test_a_malformed_body_is_400_with_an_error_detail(service: Service, body: str | bytes) -> None:
    answer = await service.send(body=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "BadRequest"


async def test_other_content_types_are_415(service: Service) -> None:
    for content_type in ("text/plain", "application/x-msgpack", ""):
        answer = await service.call("POST", ":send", content=b"{}", headers={"content-type": content_type})
        assert answer.status_code == 415


async def test_a_body_over_one_megabyte_is_413(service: Service) -> None:
    body = '{"target":"m","arguments":["%s"]}' % ("x" * (1024 * 1024))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536].encode()

    assert (await service.send(body=body)).status_code == 413
    assert (await service.call("POST", ":send", content=chunks(), headers=JSON)).status_code == 413
    largest = '{"target":"m","arguments":["%s"]}' % ("x" * (1024 * 1024 - 31))
    assert len(largest) == 1024 * 1024
    assert (await service.send(body=largest)).status_code == 202


async def test_encoded_bodies_are_sent_unchanged_and_only_to_their_protocols(service: Service) -> None:
    frame = b'{"type":1,"target":"newMessage","arguments":["hello"]}\x1e'
    body = msgspec.msgpack.encode({"json": frame})
    framed = {"content-type": "application/octet-stream"}
    async with service.client() as text, service.client(protocol="messagepack") as binary:
        assert (await service.call("POST", ":send", content=body, headers=framed)).status_code == 202
        await service.send(body='{"target":"after"}')
        assert (await text.receive()).encode() + b"\x1e" == frame
        assert b"after" in await binary.receive_bytes()


@pytest.mark.parametrize("frames", [{}, {"json": b"{}"}, {"messagepack": b"\x05\x91\x06"}, {"json": "text"}])
async def test_badly_encoded_bodies_are_400(service: Service, frames: dict[str, bytes]) -> None:
    framed = {"content-type": "application/octet-stream"}
    body = msgspec.msgpack.encode(frames)
    assert (await service.call("POST", ":send", content=body, headers=framed)).status_code == 400


async def test_messages_keep_the_order_of_their_calls(service: Service) -> None:
    async with service.client("ann") as client:
        for number in range(50):
            await service.send("users/ann/:send", f'{{"target":"m","arguments":[{number}]}}')
        got = [msgspec.json.decode(await client.receive())["arguments"][0] for _ in range(50)]
        assert got == list(range(50))


async def test_stream_items_and_the_end_of_a_stream(service: Service) -> None:
    async with service.client() as client:
        (connection,) = service.connection_ids()
        path = f"connections/{connection}/streams/s1"
        newest = {"version": "2024-12-01"}
        assert (await service.send(f"{path}/:send", '{"a":1.0}', **newest)).status_code == 202
        await service.send(f"{path}/:send", "null", query="completed=true", **newest)
        assert await service.status("POST", f"{path}/:complete", "reason=broken", **newest) == 202
        assert await client.receive() == '{"type":2,"invocationId":"s1","item":{"a":1.0}}'
        assert await client.receive() == '{"type":2,"invocationId":"s1","item":null}'
        assert await client.receive() == '{"type":3,"invocationId":"s1"}'
        assert await client.receive() == '{"type":3,"invocationId":"s1","error":"broken"}'
