"""An application that speaks to the service by its SDK speaks to this one, and the service gets the same calls."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from emulator.config import WELL_KNOWN_KEY
from fanout.clock import SystemClock
from service.compat.address import address_of, promised_status
from tests.flow.child import Child
from tests.flow.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

V = "api-version=2022-06-01"
RECORDED = Path(__file__).parents[1] / "recorded" / "sdk.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_bytes().splitlines()]


def signed(path: str) -> dict[str, str]:
    claims = {"aud": f"http://localhost{path}", "exp": int(SystemClock().wall()) + 3600}
    return {"authorization": f"Bearer {jwt.encode(claims, WELL_KNOWN_KEY, algorithm='HS256')}"}


async def call(
    stack: Stack, method: str, target: str, body: bytes = b"", media_type: str = "application/json"
) -> httpx.Response:
    headers = signed(target.partition("?")[0]) | ({"content-type": media_type} if body else {})
    return await stack.http.request(method, stack.ingress.url + target, content=body, headers=headers)


def body_of(row: dict[str, Any]) -> bytes:
    return base64.b64decode(row["bodyBase64"]) if "bodyBase64" in row else row.get("body", "").encode()


def journaled(body: bytes) -> bytes:
    """Return a body as the journal shows it, which is text."""
    return body.decode(errors="replace").encode()


def queued_status(row: dict[str, Any]) -> int | None:
    address = address_of(row["method"], row["target"].partition("?")[0])
    return None if address is None else promised_status(address.operation, "2022-06-01")


@pytest.mark.usefixtures("worker")
async def test_the_recorded_calls_of_the_sdk_arrive_as_they_were_sent(stack: Stack) -> None:
    rows = [row for row in ROWS if queued_status(row)]
    for row in rows:
        answer = await call(stack, row["method"], row["target"], body_of(row), row["headers"].get("Content-Type", ""))
        assert answer.status_code == queued_status(row), (row["call"], answer.text)
    await stack.drained()
    hubs = ("chat", "typed", "myapp_chat")
    arrived = Counter([(c.method, c.target, c.body) for hub in hubs for c in await stack.journal(hub)])
    sent = Counter((row["method"], row["target"], journaled(body_of(row))) for row in rows)
    # A change of a membership that another one of the same member follows while it waits need not be sent.
    assert list((arrived - sent).items()) == []
    assert {key for key in sent if key[0] == "POST"} <= arrived.keys()
    assert all(arrived[key] == sent[key] for key in sent if key[0] == "POST")


async def test_questions_are_answered_by_the_service(stack: Stack) -> None:
    for path, code in (
        ("connections/none", "Warning.Connection.NotExisted"),
        ("users/nobody", "Warning.User.NotExisted"),
        ("groups/none", "Warning.Group.NotExisted"),
        ("users/nobody/groups/none", "Info.User.NotInGroup"),
    ):
        answer = await call(stack, "HEAD", f"/api/hubs/chat/{path}?{V}")
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, code)
    token = await call(stack, "POST", "/api/hubs/chat/:generateToken?api-version=2024-12-01&userId=u")
    assert (token.status_code, set(token.json())) == (200, {"token"})
    listing = await call(stack, "GET", "/api/hubs/chat/groups/g/connections?api-version=2024-12-01")
    assert (listing.status_code, listing.json()["value"]) == (200, [])
    health = await stack.http.head(f"{stack.ingress.url}/api/health?{V}")
    assert health.status_code == 200


@pytest.mark.usefixtures("worker")
async def test_a_caller_reads_what_it_wrote(stack: Stack) -> None:
    group = f"/api/hubs/chat/users/alice/groups/red?{V}"
    for _ in range(20):
        assert (await call(stack, "PUT", group)).status_code == 200
        assert (await call(stack, "GET", group)).status_code == 200
        assert (await call(stack, "DELETE", f"/api/hubs/chat/users/alice/groups?{V}")).status_code == 204
        gone = await call(stack, "GET", group)
        assert (gone.status_code, gone.headers["x-ms-error-code"]) == (404, "Info.User.NotInGroup")
        assert "x-fanout-behind" not in gone.headers


async def test_a_question_is_asked_anyway_when_nothing_is_delivered(stack: Stack) -> None:
    member = f"/api/hubs/chat/users/alice/groups/red?{V}"
    assert (await call(stack, "PUT", member)).status_code == 200
    answer = await call(stack, "GET", member)
    assert (answer.status_code, answer.headers["x-fanout-behind"]) == (404, "1")
    other = await call(stack, "GET", f"/api/hubs/chat/users/bob/groups/blue?{V}")
    assert "x-fanout-behind" not in other.headers


@pytest.mark.usefixtures("worker")
async def test_items_and_the_end_of_a_stream_arrive_in_their_order(stack: Stack) -> None:
    stream, version = "/api/hubs/chat/connections/c/streams/s", "api-version=2024-12-01"
    for item in (b"1", b'{"a":2}', b"null"):
        assert (await call(stack, "POST", f"{stream}/:send?{version}", item)).status_code == 202
    assert (await call(stack, "POST", f"{stream}/:complete?{version}&reason=why")).status_code == 202
    await stack.drained()
    calls = [(c.target.partition("/streams/")[2], c.body) for c in await stack.journal("chat")]
    assert calls == [
        (f"s/:send?{version}", b"1"),
        (f"s/:send?{version}", b'{"a":2}'),
        (f"s/:send?{version}", b"null"),
        (f"s/:complete?{version}&reason=why&error=why", b""),
    ]


async def test_a_service_that_would_deliver_to_itself_does_not_start(stack: Stack, tmp_path: Path) -> None:
    port = stack.ingress.port
    text = f"Endpoint=http://localhost;ServerEndpoint=http://localhost:{port};AccessKey={WELL_KNOWN_KEY};Version=1.0;"
    other = Child("loop", 0, tmp_path / "loop.log", stack.http)
    environment = stack.environment({"AzureSignalRConnectionString": text})
    await other.start(["serve", "--role", "worker", "--port", "0"], environment)
    assert await other.ended() == 2
    assert "would deliver to itself" in other.log.read_text()
