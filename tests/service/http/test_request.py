"""A request without the framework: headers as other routes see them, and a short answer."""

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.datastructures import Headers

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.errors import BadRequestError
from fanout.metrics import Metrics
from service.app import RequestMiddleware, RequestTimes
from service.http.request import Hubs, RequestScope
from service.ingress.route import JsonAnswer
from tests.service.apps import BATCH, ITEM, an_app, client_of


async def received(*headers: tuple[bytes, bytes]) -> RequestScope:
    """Send a request through the envelope and give what a route sees of it."""
    seen: list[RequestScope] = []

    async def route(scope: Any, receive: Any, _send: Any) -> None:
        seen.append(RequestScope(scope, receive))

    async def nothing(*_: Any) -> Any: ...

    scope = {"type": "http", "headers": list(headers), "client": ("192.0.2.7", 5), "path_params": {"hub": "chat"}}
    await RequestMiddleware(route, an_app().refusals, RequestTimes(Metrics(), SystemClock()))(scope, nothing, nothing)
    return seen[0]


async def test_a_header_that_is_sent_twice_counts_with_its_first_value() -> None:
    sent = [(b"x-api-key", b"one"), (b"x-api-key", b"two"), (b"host", b"h\xe9")]
    request = await received(*sent)
    assert request.headers["x-api-key"] == Headers(raw=sent)["x-api-key"] == "one"
    assert request.headers["host"] == "h\xe9"
    assert request.all_headers.getlist("x-api-key") == ["one", "two"]


async def test_the_callers_request_id_is_taken_and_the_hub_comes_from_the_path() -> None:
    request = await received((b"x-request-id", b"mine"))
    assert (request.request_id, request.path_param("hub")) == ("mine", "chat")


@pytest.mark.parametrize("headers", [{}, {"Preference-Applied": "handling=lenient"}])
async def test_a_short_answer_is_whole_and_has_its_length(headers: Mapping[str, str]) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def nothing() -> Any: ...

    await JsonAnswer(202, b'{"a":1}', headers)({}, nothing, send)
    start, body = sent
    assert (start["status"], body["body"], body.get("more_body", False)) == (202, b'{"a":1}', False)
    expected = {b"content-length": b"7", b"content-type": b"application/json"}
    expected |= {name.lower().encode(): value.encode() for name, value in headers.items()}
    assert dict(start["headers"]) == expected


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (BATCH, 202),
        ("/v1/hubs/Ch%61t/messages", 202),
        ("/v1/hubs/a%2Fb/messages", 404),
        ("/v1/hubs//messages", 404),
        ("/v1/hubs/chat/messages/", 404),
        ("/v1/hubs/1chat/messages", 400),
    ],
)
async def test_the_way_past_the_framework_leads_where_the_router_leads(path: str, status: int) -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(path, json=ITEM)
        other = await client.get(path)
    assert answer.status_code == status
    assert other.status_code == (404 if status == 404 else 405)
    assert answer.headers["x-request-id"] != other.headers["x-request-id"]


async def test_an_unexpected_error_past_the_framework_is_a_problem_too() -> None:
    class Broken:
        async def append(self, _submissions: object) -> None:
            raise ZeroDivisionError

        async def ping(self) -> None: ...

    async with client_of(an_app(Broken())) as client:  # type: ignore[arg-type] # it breaks on purpose
        answer = await client.post(BATCH, json=ITEM)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["x-request-id"] == answer.json()["requestId"]


def test_a_hub_that_was_asked_for_before_is_still_the_one_it_was_and_a_wrong_one_stays_wrong() -> None:
    hubs = Hubs(load({"FANOUT_HUBS": "chat"}))
    assert [hubs.check("Chat"), hubs.check("Chat"), hubs.check("chat")] == ["chat"] * 3
    for _ in range(2):
        with pytest.raises(BadRequestError, match="There is no hub news here"):
            hubs.check("news")
    assert Hubs(load({})).check("News") == "news"
