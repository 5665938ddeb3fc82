"""What may not be meant as it is read is said in a warning, or refused where that is asked for."""

from typing import Any

import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, RejectedItem, parse_batch
from fanout.binding.refusals import WARNING_CODES
from fanout.signalr.message import GroupAction, Item, Message, Scope, Verb

LIMITS = BatchLimits(max_items=10, max_targets=100, max_message=10_000, endpoints=("https://ours.example",))
B, U, G, C = Scope.BROADCAST, Scope.USER, Scope.GROUP, Scope.CONNECTION


def message(scope: Scope, to: str, arguments: bytes = b"[]", target: str = "t", **more: Any) -> Message:
    return Message(scope, to, b'{"target":"%b","arguments":%b}' % (target.encode(), arguments), **more)


def parsed(body: str) -> ParsedItem:
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, ParsedItem), result
    return result


WARNED: list[tuple[str, Item, str, str, list[str]]] = [
    (
        '{"target":"t","action":"add","userId":"u"}',
        message(U, "u"),
        "targetAndAction",
        "/action",
        ["Both target and action"],
    ),
    (
        '{"target":"t","connectionId":"c","userId":"u","groupName":"g"}',
        message(C, "c"),
        "severalScopes",
        "/userId",
        ["connection is addressed", "userId and groupName ignored"],
    ),
    (
        '{"target":"t","userId":"u","GroupName":"g"}',
        message(U, "u"),
        "severalScopes",
        "/GroupName",
        ["user is addressed", "groupName ignored"],
    ),
    (
        '{"action":"add","connectionId":"c","userId":"u","groupName":"g"}',
        GroupAction(Verb.ADD, C, "c", "g"),
        "severalScopes",
        "/userId",
        ["userId ignored"],
    ),
    ('{"target":"t","Reason":"x"}', message(B, ""), "ignoredProperty", "/Reason", ["Reason"]),
    (
        '{"action":"removeAll","userId":"u","groupName":"g"}',
        GroupAction(Verb.REMOVE_ALL, U, "u"),
        "ignoredProperty",
        "/groupName",
        ["groupName"],
    ),
    (
        '{"action":2,"userId":"u","Arguments":[]}',
        GroupAction(Verb.REMOVE_ALL, U, "u"),
        "ignoredProperty",
        "/Arguments",
        ["Arguments"],
    ),
    ('{"target":"t","foo":1,"Bar":2}', message(B, ""), "unknownProperty", "/foo", ["foo, Bar"]),
    ('{"target":"t","a/b~c":1}', message(B, ""), "unknownProperty", "/a~1b~0c", ["a/b~c"]),
    ('{"target":"t","args":["hi"]}', message(B, ""), "unknownProperty", "/args", ["args (did you mean arguments?)"]),
    (
        '{"target":"t","userId":"u","ttl":5,"message_id":"m"}',
        message(U, "u"),
        "unknownProperty",
        "/ttl",
        ["ttl (did you mean ttlSeconds?)", "message_id (did you mean messageId?)"],
    ),
    (
        '{"target":"t","endpoints":[{"endpoint":"https://ours.example"},{"endpoint":"https://other.example"}]}',
        message(B, ""),
        "unknownEndpoint",
        "/endpoints",
        ["1 of the endpoints"],
    ),
    ('{"target":"t","arguments":[],"userId":""}', message(B, ""), "emptyAddress", "/userId", ["userId is empty"]),
    ('{"target":"t","arguments":[],"userId":null}', message(B, ""), "emptyAddress", "/userId", ["userId is empty"]),
    ('{"target":"t","GroupName":""}', message(B, ""), "emptyAddress", "/GroupName", ["everybody"]),
    ('{"target":"t","userIds":null}', message(B, ""), "emptyAddress", "/userIds", ["userIds is empty"]),
    (
        '{"ConnectionId":null,"UserId":null,"GroupName":null,"Target":"t","Arguments":[],"Endpoints":null}',
        message(B, ""),
        "emptyAddress",
        "/ConnectionId",
        ["connectionId and userId and groupName are empty"],
    ),
]


@pytest.mark.parametrize(("body", "item", "code", "pointer", "words"), WARNED)
def test_what_may_not_be_meant_so_is_said_in_a_warning(
    body: str, item: Item, code: str, pointer: str, words: list[str]
) -> None:
    result = parsed(body)
    assert result.calls == (item,)
    (warning,) = result.warnings
    assert (warning.code, warning.pointer) == (code, pointer)
    assert all(word in warning.detail for word in words)


@pytest.mark.parametrize(("body", "item", "code", "pointer", "words"), WARNED)
def test_a_warning_becomes_a_refusal_where_it_is_asked_for(
    body: str, item: Item, code: str, pointer: str, words: list[str]
) -> None:
    batch = parse_batch(f'[{{"target":"ok"}},{body}]'.encode(), LIMITS, refused={code})
    assert isinstance(batch.results[0], ParsedItem)
    refused = batch.results[1]
    assert isinstance(refused, RejectedItem), item
    assert (refused.code, refused.pointer) == (code, f"/1{pointer}")
    assert all(word in refused.detail for word in words)
    others = parse_batch(body.encode(), LIMITS, refused=WARNING_CODES.keys() - {code})
    assert isinstance(others.results[0], ParsedItem)


def test_every_warning_there_is_has_an_example_here() -> None:
    elsewhere = {"replacedSurrogate"}  # test_batch.py
    assert {code for _, _, code, _, _ in WARNED} | elsewhere == set(WARNING_CODES)


@pytest.mark.parametrize(
    "body",
    [
        '{"target":"t","arguments":[]}',
        '{"target":"t","arguments":[],"userId":"u","groupName":"","connectionId":null}',
        '{"target":"t","groupName":"g","userId":null}',
        '{"target":"t","userIds":["u"],"userId":""}',
        '{"action":"add","userId":"u","groupName":"g","connectionId":""}',
        '{"ConnectionId":null,"UserId":"u","GroupName":null,"Target":"t","Arguments":[],"Endpoints":null}',
    ],
)
def test_an_empty_name_beside_a_destination_is_no_reason_to_warn(body: str) -> None:
    assert parsed(body).warnings == ()


def test_a_warning_names_ten_unknown_properties_and_counts_the_rest() -> None:
    body = '{"target":"t",' + ",".join(f'"unknown{n}":{n}' for n in range(12)) + "}"
    (warning,) = parsed(body).warnings
    assert "unknown9 and 2 more" in warning.detail
    assert "unknown10" not in warning.detail


def test_a_warning_shortens_a_long_unknown_name() -> None:
    (warning,) = parsed('{"target":"t","%s":1}' % ("x" * 5000)).warnings
    assert len(warning.detail) < 200
    assert warning.pointer == ""


# What looks like an address -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("user_id", "userId"),
        ("user", "userId"),
        ("userid?", "userId"),
        ("User-Id ", "userId"),
        ("u\u017ferId", "userId"),
        ("usrId", "userId"),
        ("uesrId", "userId"),
        ("users", "userIds"),
        ("user_ids", "userIds"),
        ("group", "groupName"),
        ("group_name", "groupName"),
        ("gruopName", "groupName"),
        ("grpName", "groupName"),
        ("groups", "groupNames"),
        ("connection", "connectionId"),
        ("connection_id", "connectionId"),
        ("conectoinId", "connectionId"),
        ("connnectionId", "connectionId"),
        ("to", "userId, groupName or connectionId"),
        ("recipient", "userId, groupName or connectionId"),
        ("excludedConnectionIds", "excluded"),
        ("exlude", "excluded"),
    ],
)
def test_a_property_that_looks_like_an_address_is_refused_with_what_was_meant(name: str, meant: str) -> None:
    for item in (f'{{"target":"t","arguments":[],"{name}":"bob"}}', f'{{"action":"removeAll","{name}":"bob"}}'):
        (ok, refused) = parse_batch(f'[{{"target":"t"}},{item}]'.encode(), LIMITS).results
        assert isinstance(ok, ParsedItem)
        assert isinstance(refused, RejectedItem)
        assert (refused.code, refused.pointer) == ("misnamedAddress", f"/1/{name}")
        assert f"Did you mean {meant}?" in refused.detail


@pytest.mark.parametrize("value", ['""', "null", "{}", "[]", "7"])
def test_it_is_refused_whatever_it_holds_and_whoever_else_is_named(value: str) -> None:
    (refused,) = parse_batch(f'{{"target":"t","userId":"u","group":{value}}}'.encode(), LIMITS).results
    assert isinstance(refused, RejectedItem)
    assert refused.code == "misnamedAddress"


@pytest.mark.parametrize(
    "name",
    [
        *("hub", "foo", "extra", "type", "version", "name", "uuid", "orderId", "included", "use", "clientIp", "source"),
        *("timestamp", "traceparent", "correlationId", "tenantId", "sessionId", "senderId", "createdBy", "userAgent"),
        *("topic", "guid", "token", "x" * 41, "\u00fc", "", "_"),
    ],
)
def test_other_names_are_ignored_with_a_warning(name: str) -> None:
    result = parsed(f'{{"target":"t","userId":"u","{name}":"x"}}')
    assert [warning.code for warning in result.warnings] == ["unknownProperty"]


def test_a_misspelling_is_found_among_ten_thousand_unknown_names() -> None:
    names = ",".join(f'"n{n}":0' for n in range(10_000))
    (refused,) = parse_batch(f'{{"target":"t",{names},"user":"bob"}}'.encode(), LIMITS).results
    assert isinstance(refused, RejectedItem)
