"""What an SDK sends to the compatible routes is queued as the same call, and refused as the service would refuse it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from fanout.errors import QueueError
from fanout.queue.allowances import Allowances
from fanout.queue.entry import Admission
from fanout.redis.client import RedisClient
from fanout.signalr.client import MARK
from fanout.signalr.message import CloseConnections, GroupAction, Message, Scope, Verb
from fanout.signalr.routes import route_of
from service.compat.address import ROUTES, address_of, promised_status
from tests.service.apps import ACCESS_KEY, KEY, App, an_app, client_of, metric
from tests.service.memory_queue import MemoryQueue

pytestmark = pytest.mark.lengthy

V = "api-version=2022-06-01"
HUB, V1 = "/api/hubs/chat", "/api/v1/hubs/chat"
HELLO = b'{"Target":"m","Arguments":["hello"]}'
OTHER_KEY = "0123456789ABCDEFGHABCDEFGHIJKLMNOPQRSTUVWXYZ"
RECORDED = Path(__file__).parents[2] / "recorded" / "sdk.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_bytes().splitlines()]


def is_queued(row: dict[str, Any]) -> bool:
    address = address_of(row["method"], row["target"].partition("?")[0])
    return address is not None and promised_status(address.operation, "2022-06-01") is not None


def body_of(row: dict[str, Any]) -> bytes:
    return base64.b64decode(row["bodyBase64"]) if "bodyBase64" in row else row.get("body", "").encode()


def signed(path: str, key: str = ACCESS_KEY) -> dict[str, str]:
    audience = f"https://example.service.signalr.net{path.partition('?')[0]}"
    return {"authorization": f"Bearer {jwt.encode({'aud': audience, 'exp': 4_000_000_000}, key, algorithm='HS256')}"}


async def call(
    app: App, method: str, target: str, body: bytes = b"", key: str = ACCESS_KEY, **headers: str
) -> httpx.Response:
    async with client_of(app, peer="203.0.113.9") as client:
        sent = signed(target, key) | {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, target, content=body, headers=sent)


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 50):
        yield body[at : at + 50]


@pytest.mark.parametrize(
    "row", [row for row in ROWS if is_queued(row)], ids=lambda row: f"{row['call']}-{row['options']}"
)
async def test_what_the_sdk_sends_is_queued_as_the_same_call(row: dict[str, Any]) -> None:
    queue = MemoryQueue()
    body = body_of(row)
    headers = {name: value for name, value in row["headers"].items() if name in {"Content-Type", "Asrs-User-Agent"}}
    claims = row["claims"] | {"exp": 4_000_000_000}
    headers["Authorization"] = f"Bearer {jwt.encode(claims, ACCESS_KEY, algorithm='HS256', headers=row['tokenHeader'])}"
    async with client_of(an_app(queue, api_key=KEY), peer="203.0.113.9") as client:
        content = chunks(body) if body else b""
        answer = await client.request(row["method"], row["target"], content=content, headers=headers)
    address = address_of(row["method"], row["target"].partition("?")[0])
    assert address is not None
    assert (answer.status_code, answer.content) == (promised_status(address.operation, "2022-06-01"), b"")
    [stored] = queue.stored
    item = stored.entry.item
    route = route_of(stored.entry.hub, item)
    assert (route.method, route.target) == (row["method"], row["target"])
    if body:
        assert isinstance(item, Message)
        assert item.body == body
        assert item.binary == (row["headers"]["Content-Type"] == "application/octet-stream")


@pytest.mark.parametrize(
    ("method", "target", "status", "hub", "item"),
    [
        ("POST", f"/api/hubs/Chat/:send?{V}", 202, "chat", Message(Scope.BROADCAST, "", HELLO)),
        ("POST", "/api/v1/hubs/chat", 202, "chat", Message(Scope.BROADCAST, "", HELLO)),
        ("POST", f"{HUB}/users/a%2Fb/:send?application=App&{V}", 202, "app/chat", Message(Scope.USER, "a/b", HELLO)),
        ("DELETE", f"{V1}/connections/c?reason=r", 202, "chat", CloseConnections(Scope.CONNECTION, "c", "r")),
        ("POST", f"{HUB}/:closeConnections?{V}", 204, "chat", CloseConnections(Scope.BROADCAST, "")),
        ("PUT", f"{V1}/groups/g/users/u?ttl=5", 202, "chat", GroupAction(Verb.ADD, Scope.USER, "u", "g", 5)),
        ("PUT", f"/api/hubs/chat/users/u/groups/g?{V}", 200, "chat", GroupAction(Verb.ADD, Scope.USER, "u", "g")),
        ("DELETE", f"/api/hubs/chat/users/u/groups?{V}", 204, "chat", GroupAction(Verb.REMOVE_ALL, Scope.USER, "u")),
        (
            "POST", "/api/hubs/chat/connections/c/streams/s/:send?api-version=2024-12-01&completed=true", 202, "chat",
            Message(Scope.CONNECTION, "c", HELLO, stream="s", completion=""),
        ),
        (
            "POST", "/api/hubs/chat/connections/c/streams/s/:complete?api-version=2024-12-01&error=e", 202, "chat",
            Message(Scope.CONNECTION, "c", b"", stream="s", completion="e"),
        ),
    ],
)  # fmt: skip
async def test_each_form_is_answered_with_what_its_version_promises(
    method: str, target: str, status: int, hub: str, item: Any
) -> None:
    queue = MemoryQueue()
    body = HELLO if isinstance(item, Message) and item.body else b""
    answer = await call(an_app(queue), method, target, body, content_type="application/json")
    assert answer.status_code == status, answer.text
    [stored] = queue.stored
    assert (stored.entry.hub, stored.entry.item) == (hub, item)


async def test_an_application_that_every_call_names_is_not_written_into_the_hub() -> None:
    queue = MemoryQueue()
    app = an_app(queue, application="app")
    await call(app, "POST", f"/api/hubs/chat/:send?application=App&{V}", HELLO)
    await call(app, "POST", f"/api/hubs/chat/:send?{V}", HELLO)
    assert [stored.entry.hub for stored in queue.stored] == ["chat", "/chat"]


@pytest.mark.parametrize(
    ("target", "body", "sentence"),
    [
        ("/api/hubs/chat/:send", b'{"Target":"","Arguments":[]}', "The target, the client method's name, is empty.\n"),
        ("/api/hubs/chat/:send", b'{"Target":"m","Arguments":{}}', "The arguments must be an array or null.\n"),
        ("/api/hubs/chat/:send", b"[", 'The body must be a JSON object with a string "target" and an array'),
        ("/api/hubs/1chat/:send", HELLO, "The hub name must start with a letter"),
    ],
)
async def test_a_400_begins_with_a_sentence(target: str, body: bytes, sentence: str) -> None:
    queue = MemoryQueue()
    answer = await call(an_app(queue), "POST", f"{target}?{V}", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.text.startswith(sentence)
    assert answer.headers["x-ms-error-code"] == "Error.Request.Invalid"
    assert not queue.stored


async def test_a_ttl_that_is_no_number_of_seconds_is_refused() -> None:
    answer = await call(an_app(), "PUT", f"/api/hubs/chat/users/u/groups/g?{V}&ttl=1.5")
    assert (answer.status_code, answer.text.partition("\n")[0][:9]) == (400, "ttl must ")


@pytest.mark.parametrize("body", [b"", b"\x93\x01", b"\x80", b"\x81\xa4json\x01", b"{}"])
async def test_frames_that_are_no_map_are_refused(body: bytes) -> None:
    answer = await call(an_app(), "POST", f"/api/hubs/chat/:send?{V}", body, content_type="application/octet-stream")
    assert answer.status_code == 400
    assert answer.text.startswith("An application/octet-stream body must be a MessagePack map")


async def test_a_body_of_another_type_or_size_is_refused_in_the_services_shape() -> None:
    app = an_app(max_message=1024)
    other = await call(app, "POST", f"/api/hubs/chat/:send?{V}", HELLO, content_type="application/x-msgpack")
    large = await call(app, "POST", f"/api/hubs/chat/:send?{V}", b"x" * 1025, content_type="application/json")
    assert (other.status_code, other.json()["code"]) == (415, "unsupportedMediaType")
    assert (large.status_code, large.json()["code"]) == (413, "bodyTooLarge")


async def test_the_access_key_opens_and_the_key_of_this_service_does_not() -> None:
    app, target = an_app(api_key=KEY), f"/api/hubs/chat/:send?{V}"
    async with client_of(app, peer="203.0.113.9") as client:
        without = await client.post(target, content=HELLO)
        api_key = await client.post(target, content=HELLO, headers={"authorization": f"Bearer {KEY}", "x-api-key": KEY})
    wrong = await call(app, "POST", target, HELLO, key=OTHER_KEY)
    assert [answer.status_code for answer in (without, api_key, wrong)] == [401, 401, 401]
    assert without.text.startswith("The call carries no token: ")
    assert wrong.text.startswith("The signature is invalid: ")
    assert wrong.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    assert metric(app, "fanout_refused_requests_total", code="wrongKey") == 2
    assert metric(app, "fanout_compatible_requests_total", status="4xx") == 3


async def test_the_second_key_signs_as_well() -> None:
    app = an_app(second_access_key=OTHER_KEY)
    answer = await call(app, "POST", f"/api/hubs/chat/:send?{V}", HELLO, key=OTHER_KEY)
    assert answer.status_code == 202


async def test_behind_a_prefix_the_token_may_name_the_address_with_it_or_without() -> None:
    app = an_app(path_prefix="/signalr")
    for path in ("/signalr/api/hubs/chat/users/a%2Fb/:send", "/api/hubs/chat/users/a%2Fb/:send"):
        async with client_of(app, peer="203.0.113.9") as client:
            target = "/signalr/api/hubs/chat/users/a%2Fb/:send"
            answer = await client.post(target, content=HELLO, headers=signed(path))
        assert answer.status_code == 202


async def test_a_call_waits_for_room() -> None:
    queue = MemoryQueue()
    queue.outcomes[0] = Admission.FULL
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(call(an_app(queue), "POST", f"/api/hubs/chat/:send?{V}", HELLO))
        while queue.appends < 3:  # noqa: ASYNC110 - the queue in memory tells nobody of an append
            await asyncio.sleep(0.001)
        assert not asking.done()
        queue.outcomes.clear()
    assert asking.result().status_code == 202
    assert len(queue.stored) == 1


@pytest.mark.parametrize("full", [True, False])
async def test_without_room_in_time_the_answer_is_503(*, full: bool) -> None:
    queue = MemoryQueue()
    queue.outcomes[0] = Admission.FULL
    queue.error = None if full else QueueError("Redis is away.")
    app = an_app(queue, compat_hold=0)
    answer = await call(app, "POST", f"/api/hubs/chat/:send?{V}", HELLO)
    assert (answer.status_code, answer.json()["code"]) == (503, "queueFull" if full else "queueUnavailable")
    assert metric(app, "fanout_backpressure_total") == 1


async def test_past_the_limit_of_callers_the_answer_is_503_and_not_429(one_redis: RedisClient) -> None:
    app = replace(an_app(caller_rate="1/h", compat_hold=1), allowances=Allowances(one_redis))
    assert (await call(app, "POST", f"{HUB}/:send?{V}", HELLO, content_type="application/json")).status_code == 202
    answer = await call(app, "POST", f"{HUB}/:send?{V}", HELLO, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (503, "rateLimited")
    assert int(answer.headers["Retry-After"]) > 3000


async def test_a_call_past_the_limit_waits_for_its_turn(one_redis: RedisClient) -> None:
    queue = MemoryQueue()
    app = replace(an_app(queue, caller_rate="10/s", caller_bytes="1MiB/s"), allowances=Allowances(one_redis))
    async with client_of(app, peer="203.0.113.9") as client:
        headers = signed(f"{HUB}/:send?{V}") | {"content-type": "application/json"}
        answers = await asyncio.gather(
            *[client.post(f"{HUB}/:send?{V}", content=chunks(HELLO), headers=headers) for _ in range(13)]
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len(queue.stored) == 13


async def test_what_may_be_stored_is_not_stored_again() -> None:
    queue = MemoryQueue()
    queue.outcomes[0] = Admission.UNKNOWN
    answer = await call(an_app(queue), "POST", f"/api/hubs/chat/:send?{V}", HELLO)
    assert (answer.status_code, queue.appends) == (503, 1)


async def test_a_call_of_this_service_is_refused() -> None:
    answer = await call(an_app(), "POST", f"/api/hubs/chat/:send?{V}", HELLO, **{MARK: "1"})
    assert (answer.status_code, answer.json()["code"]) == (508, "loop")


@pytest.mark.parametrize("target", ["/server", "/server/?hub=chat", "/server/negotiate?hub=chat"])
async def test_the_persistent_transport_is_answered_with_what_to_set(target: str) -> None:
    answer = await call(an_app(), "GET", target)
    assert answer.status_code == 400
    assert "AzureSignalRServiceTransportType=Transient" in answer.text.partition("\n")[0]


@pytest.mark.parametrize("path", ["/api/auth/accessKey", "/api/v1/auth/accessKey"])
async def test_who_asks_for_a_key_of_entra_is_told_what_to_use(path: str) -> None:
    answer = await call(an_app(), "GET", f"{path}?{V}")
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (400, "text/plain")
    assert "use a connection string with AccessKey=" in answer.text.partition("\n")[0]


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/api/hubs/chat/:send"), ("POST", "/api/hubs/chat/nothing")])
async def test_what_the_service_has_not_is_not_found(method: str, path: str) -> None:
    answer = await call(an_app(), method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "notFound")


async def test_without_a_service_nobody_is_recognised() -> None:
    answer = await call(an_app(service=None), "POST", f"/api/hubs/chat/:send?{V}", HELLO)
    assert (answer.status_code, answer.json()["code"]) == (503, "notConfigured")


async def test_a_hub_that_is_not_listed_is_refused() -> None:
    answer = await call(an_app(hubs=("news",)), "POST", f"/api/hubs/chat/:send?{V}", HELLO)
    assert answer.text.startswith("There is no hub chat here, only news.")


CALLS = [
    (method, "/".join(["/api/hubs/chat", *(word if word not in "UGCS" else "x" for word in shape)]))
    for shape, methods in ROUTES.items()
    for method in methods
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_every_route_is_opened_by_the_access_key_alone(method: str, path: str) -> None:
    client_audience = "https://example.service.signalr.net/client/?hub=chat"
    client_token = jwt.encode({"aud": client_audience, "exp": 4_000_000_000}, ACCESS_KEY, algorithm="HS256")
    callers: list[dict[str, str]] = [
        {},
        {"x-api-key": KEY},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"Bearer {client_token}"},
        signed(path, OTHER_KEY),
        signed("/api/hubs/other/:send"),
    ]
    for api_key in (KEY, ""):  # without one this machine is served, these routes excepted
        async with client_of(an_app(api_key=api_key)) as client:
            statuses = [(await client.request(method, path, headers=headers)).status_code for headers in callers]
            opened = (await client.request(method, path, headers=signed(path))).status_code
        assert statuses == [401] * len(callers)
        assert opened != 401
