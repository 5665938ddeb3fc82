"""What is sent arrives where it is addressed, and what became of each item is returned."""

import json
from typing import Any

import pytest
from signalr_fanout import (
    CloseConnections,
    FailedItem,
    GroupAction,
    Item,
    Message,
    RefusedError,
    UnauthorizedError,
)

from tests.client.conftest import Connect, Service
from tests.client.gateway import Gateway

EACH_KIND = [
    (Message.to_all("m", 1), "POST", "/:send"),
    (Message.to_user("a/b", "m", 1), "POST", "/users/a%2Fb/:send"),
    (Message.to_group("red team", "m", 1), "POST", "/groups/red%20team/:send"),
    (Message.to_connection("c", "m", 1), "POST", "/connections/c/:send"),
    (GroupAction.add("g", user_id="u"), "PUT", "/users/u/groups/g"),
    (GroupAction.add("g", connection_id="c"), "PUT", "/groups/g/connections/c"),
    (GroupAction.remove("g", user_id="u"), "DELETE", "/users/u/groups/g"),
    (GroupAction.remove("g", connection_id="c"), "DELETE", "/groups/g/connections/c"),
    (GroupAction.remove_all(user_id="u"), "DELETE", "/users/u/groups"),
    (GroupAction.remove_all(connection_id="c"), "DELETE", "/connections/c/groups"),
    (CloseConnections.of_user("u"), "POST", "/users/u/:closeConnections"),
    (CloseConnections.of_group("g"), "POST", "/groups/g/:closeConnections"),
    (CloseConnections.of_connection("c"), "DELETE", "/connections/c"),
]


@pytest.mark.parametrize(("item", "method", "path"), EACH_KIND)
def test_each_item_becomes_its_call(
    service: Service, connect: Connect, hub: str, item: Item, method: str, path: str
) -> None:
    result = connect(service.url).send(hub, item)
    assert (result.accepted, result.results[0].status) == (1, "accepted")
    assert result.results[0].message_id
    (call,) = service.calls(hub, 1)
    assert (call["method"], call["path"]) == (method, f"/api/hubs/{hub}{path}")


def test_a_join_comes_before_the_message_that_follows_it(service: Service, connect: Connect, hub: str) -> None:
    connect(service.url).send(hub, [GroupAction.add("g", user_id="u", ttl=60), Message.to_group("g", "welcome")])
    assert [call["path"].rpartition("/")[2] for call in service.calls(hub, 2)] == ["g", ":send"]


def test_arguments_are_any_json_values(service: Service, connect: Connect, hub: str) -> None:
    arguments = ("zwölf \N{PARTY POPPER}", 2**70, 1.5, None, True, {"a": [1, {"b": ""}]})
    connect(service.url).send(hub, Message.to_user("u", "m", *arguments))
    (call,) = service.calls(hub, 1)
    assert json.loads(call["body"]) == {"target": "m", "arguments": list(arguments)}


def test_what_json_cannot_write_is_converted_where_asked(service: Service, connect: Connect, hub: str) -> None:
    connect(service.url, json_default=str).send(hub, Message.to_user("u", "m", {1, 2}.__class__({3})))
    (call,) = service.calls(hub, 1)
    assert json.loads(call["body"])["arguments"] == ["{3}"]


@pytest.mark.parametrize("value", [object(), float("nan"), "half \ud83d"])
def test_what_json_cannot_write_is_an_error_with_the_index_and_nothing_is_sent(
    gateway: Gateway, connect: Connect, value: Any
) -> None:
    with pytest.raises(ValueError, match="Item 1 cannot be written as JSON"):
        connect(gateway.url).send("chat", [Message.to_all("m"), Message.to_all("m", value)])
    assert gateway.attempts == []


def test_several_addressees_in_one_item(service: Service, connect: Connect, hub: str) -> None:
    connect(service.url).send(hub, Message.to_user(["a", "b"], "m"))
    assert {call["path"].split("/")[-2] for call in service.calls(hub, 2)} == {"a", "b"}


def test_options_of_a_message(gateway: Gateway, connect: Connect, hub: str) -> None:
    message = Message.to_group("g", "m", excluded=["c"], message_id="one", ttl=30, collapse_key="k", at_most_once=True)
    connect(gateway.url).send(hub, message)
    assert json.loads(gateway.attempts[0].body) == [
        {
            "groupName": "g",
            "target": "m",
            "arguments": [],
            "excluded": ["c"],
            "messageId": "one",
            "ttlSeconds": 30,
            "collapseKey": "k",
            "delivery": "atMostOnce",
        }
    ]


def test_a_message_id_that_was_sent_before_is_a_duplicate(service: Service, connect: Connect, hub: str) -> None:
    client = connect(service.url)
    first = client.send(hub, Message.to_user("u", "m", message_id=f"{hub}-1"))
    second = client.send(hub, Message.to_user("u", "m", message_id=f"{hub}-1"))
    assert (first.accepted, first.duplicates, second.accepted, second.duplicates) == (1, 0, 0, 1)
    assert second.results[0].status == "duplicate"


def test_a_wrong_item_is_named_and_nothing_is_queued(service: Service, connect: Connect, hub: str) -> None:
    wrong = Message.to_user("u", "m", ttl=-1)
    with pytest.raises(RefusedError, match="Item 1: ttlSeconds") as caught:
        connect(service.url).send(hub, [Message.to_user("u", "m"), wrong])
    error = caught.value
    assert (error.status, error.code) == (400, "invalidItems")
    assert error.request_id
    (failed,) = error.items
    assert isinstance(failed, FailedItem)
    assert (failed.index, failed.item, failed.code, failed.pointer) == (1, wrong, "invalidTtl", "/1/ttlSeconds")


def test_lenient_handling_queues_the_others(service: Service, connect: Connect, hub: str) -> None:
    items = [Message.to_user("u", "good"), Message.to_user("u", "bad", ttl=-1)]
    result = connect(service.url).send(hub, items, handling="lenient")
    assert (result.accepted, result.rejected) == (1, 1)
    assert (result.results[1].status, result.results[1].code) == ("rejected", "invalidTtl")
    assert '"good"' in service.calls(hub, 1)[0]["body"]


@pytest.mark.parametrize("key", ["", "not the key, but long enough"])
def test_without_the_right_key_the_error_says_so(service: Service, connect: Connect, hub: str, key: str) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        connect(service.url, api_key=key).send(hub, Message.to_all("m"))
    assert (caught.value.status, isinstance(caught.value, RefusedError)) == (401, True)


def test_a_wrong_hub_is_refused(service: Service, connect: Connect) -> None:
    with pytest.raises(RefusedError) as caught:
        connect(service.url).send("no-hub", Message.to_all("m"))
    assert caught.value.code == "invalidHub"


def test_an_empty_batch_makes_no_request(gateway: Gateway, connect: Connect) -> None:
    result = connect(gateway.url).send("chat", [])
    assert (result.accepted, result.results, gateway.attempts) == (0, (), [])


def test_the_connection_is_kept(gateway: Gateway, connect: Connect, hub: str) -> None:
    client = connect(gateway.url)
    for _ in range(5):
        client.send(hub, Message.to_user("u", "m"))
    assert {attempt.connection for attempt in gateway.attempts} == {1}
    keys = {attempt.headers["idempotency-key"] for attempt in gateway.attempts}
    assert len(keys) == 5


def test_a_url_with_a_path_keeps_it(gateway: Gateway, connect: Connect, hub: str) -> None:
    with pytest.raises(RefusedError):
        connect(f"{gateway.url}/behind/a/prefix").send(hub, Message.to_all("m"))
    assert gateway.attempts[0].path == f"/behind/a/prefix/v1/hubs/{hub}/messages"


@pytest.mark.parametrize("url", ["fanout.example.com", "ftp://fanout.example.com", "http://"])
def test_a_url_that_is_none_is_refused_at_once(connect: Connect, url: str) -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        connect(url)


def test_no_repr_shows_the_key(connect: Connect) -> None:
    assert repr(connect("https://fanout.example.com")).endswith("Client https://fanout.example.com/>")
