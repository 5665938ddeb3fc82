"""A call is repeated within its deadline, always with the same key and bytes, so that nothing is stored twice."""

import socket
from datetime import UTC, datetime

import pytest
from signalr_fanout import FanoutError, Message, UnavailableError
from signalr_fanout.calls import retry_after_of

from tests.client.conftest import Connect, Service
from tests.client.gateway import Gateway, LostAnswer, Refusal

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_refusal_for_the_moment_is_repeated_with_the_same_key_and_bytes(
    service: Service, gateway: Gateway, connect: Connect, hub: str, status: int
) -> None:
    gateway.script.extend([Refusal(status, {}), Refusal(status, {"Retry-After": "0"})])
    result = connect(gateway.url).send(hub, Message.to_user("u", "m"))
    assert result.accepted == 1
    assert len(gateway.attempts) == 3
    assert len({(attempt.body, attempt.headers["idempotency-key"]) for attempt in gateway.attempts}) == 1
    assert len(service.calls(hub, 1)) == 1


def test_a_lost_answer_is_repeated_and_delivered_once(
    service: Service, gateway: Gateway, connect: Connect, hub: str
) -> None:
    gateway.script.append(LostAnswer())
    client = connect(gateway.url)
    result = client.send(hub, Message.to_user("u", "m"))
    assert (result.accepted, result.duplicates) == (0, 1)
    client.send(hub, Message.to_user("u", "last"))
    assert [("last" in call["body"]) for call in service.calls(hub, 2)] == [False, True]


def test_a_pause_longer_than_the_deadline_ends_the_call_at_once(gateway: Gateway, connect: Connect, hub: str) -> None:
    problem = b'{"title":"The queue is full","detail":"It holds 10 items.","code":"queueFull","requestId":"r1"}'
    gateway.script.append(Refusal(503, {"Retry-After": "3600", "content-type": "application/problem+json"}, problem))
    with pytest.raises(UnavailableError, match=r"Given up after 1 attempt.*The queue is full") as caught:
        connect(gateway.url).send(hub, Message.to_user("u", "m"))
    error = caught.value
    assert (error.status, error.code, error.request_id) == (503, "queueFull", "r1")
    assert error.idempotency_key == gateway.attempts[0].headers["idempotency-key"]


def test_items_that_were_not_stored_are_named(gateway: Gateway, connect: Connect, hub: str) -> None:
    problem = (
        b'{"title":"The queue does not answer","results":[{"index":0,"status":"accepted","messageId":"a"},'
        b'{"index":1,"status":"failed","code":"queueUnavailable","detail":"not known"}]}'
    )
    gateway.script.append(Refusal(503, {"Retry-After": "3600"}, problem))
    items = [Message.to_user("u", "stored"), Message.to_user("u", "failed")]
    with pytest.raises(UnavailableError) as caught:
        connect(gateway.url).send(hub, items)
    assert [(each.index, each.item, each.code) for each in caught.value.items] == [(1, items[1], "queueUnavailable")]


def test_the_call_can_be_repeated_later_with_its_key(
    service: Service, gateway: Gateway, connect: Connect, hub: str
) -> None:
    client = connect(gateway.url, deadline=2)
    gateway.script.extend([LostAnswer(), *[Refusal(503, {})] * 100])
    with pytest.raises(UnavailableError) as caught:
        client.send(hub, Message.to_user("u", "m"))
    gateway.script.clear()
    again = client.send(hub, Message.to_user("u", "m"), idempotency_key=caught.value.idempotency_key, deadline=20)
    assert again.duplicates == 1
    client.send(hub, Message.to_user("u", "last"), deadline=20)
    assert len(service.calls(hub, 2)) == 2


def test_a_service_that_is_not_there_is_unavailable(connect: Connect, hub: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(
        UnavailableError, match=r"Given up after \d+ attempts?, the deadline is 0\.5 s\. No answer"
    ) as caught:
        connect(url, deadline=0.5).send(hub, Message.to_user("u", "m"))
    assert (caught.value.status, bool(caught.value.idempotency_key)) == (None, True)


def test_a_service_that_does_not_answer_is_given_up_at_the_deadline(connect: Connect, hub: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnavailableError, match="No answer"):
            connect(url, deadline=0.5, timeout=0.2).send(hub, Message.to_user("u", "m"))


def test_an_answer_of_something_else_is_an_error(gateway: Gateway, connect: Connect, hub: str) -> None:
    gateway.script.append(Refusal(200, {"content-type": "text/html"}, b"<h1>Welcome</h1>"))
    with pytest.raises(FanoutError, match="something that is not JSON"):
        connect(gateway.url).send(hub, Message.to_user("u", "m"))


def test_a_server_error_is_not_repeated(gateway: Gateway, connect: Connect, hub: str) -> None:
    gateway.script.append(Refusal(500, {}))
    with pytest.raises(FanoutError) as caught:
        connect(gateway.url).send(hub, Message.to_user("u", "m"))
    assert (caught.value.status, len(gateway.attempts)) == (500, 1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("2", 2.0),
        (" 2 ", 2.0),
        ("Thu, 01 Jan 2026 12:00:07 GMT", 7.0),
        ("Thu, 01 Jan 2026 11:59:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_of(header, NOW) == seconds
