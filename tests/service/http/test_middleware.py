"""What surrounds every request."""

import re

import pytest
from starlette.types import Message, Receive, Scope, Send

from fanout.clock import SystemClock
from fanout.metrics import Metrics
from service.app import RequestMiddleware, RequestTimes
from service.http.exchange import SECURITY_HEADERS
from tests.service.apps import BATCH, ITEM, an_app, client_of

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}


async def nothing() -> Message:
    raise AssertionError("no test here reads a body")


def times() -> RequestTimes:
    return RequestTimes(Metrics(), SystemClock())


async def test_every_answer_carries_a_new_request_id() -> None:
    async with client_of(an_app()) as client:
        ids = [(await client.get(path)).headers["X-Request-Id"] for path in ("/livez", "/livez", "/none")]
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in ids)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("a.B_c-9", True), ("x" * 64, True), ("x" * 65, False), ("", False), ("a b", False), ("<a>", False)],
)
async def test_a_sane_request_id_is_kept(sent: str, *, kept: bool) -> None:
    async with client_of(an_app()) as client:
        answer = await client.get("/livez", headers={"X-Request-Id": sent})
    assert (answer.headers["X-Request-Id"] == sent) is kept


async def test_an_error_in_the_middle_of_an_answer_is_left_to_the_server() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("half way")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError, match="half way"):
        await RequestMiddleware(breaks, an_app().refusals, times())(dict(SCOPE), nothing, send)
    assert [m["status"] for m in sent] == [200]


async def test_what_is_not_http_passes_untouched() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def send(_message: Message) -> None:
        raise AssertionError("nothing is sent")

    await RequestMiddleware(app, an_app().refusals, times())({"type": "lifespan"}, nothing, send)
    assert seen == [{"type": "lifespan"}]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/none", "/problems/internal"])
async def test_every_answer_has_the_security_headers(path: str) -> None:
    async with client_of(an_app()) as client:
        headers = (await client.get(path)).headers
    assert {name.decode(): headers.get(name.decode()) for name, _ in SECURITY_HEADERS} == {
        name.decode(): value.decode() for name, value in SECURITY_HEADERS
    }


async def test_a_batch_and_a_refused_batch_have_them_too() -> None:
    async with client_of(an_app()) as client:
        answers = [await client.post(BATCH, json=ITEM), await client.post(BATCH, json={})]
    assert [answer.status_code for answer in answers] == [202, 400]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_page_replaces_the_policy_by_its_own_and_cannot_be_framed() -> None:
    async with client_of(an_app()) as client:
        page, script = await client.get("/docs"), await client.get("/docs/swagger-ui-bundle.js")
    assert page.headers.get_list("Content-Security-Policy") == [page.headers["Content-Security-Policy"]]
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert script.headers.get_list("Cache-Control") == ["max-age=3600"]
