"""Actions: membership of users and connections in groups, and closing connections."""

import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, RejectedItem, parse_batch
from fanout.signalr.message import CloseConnections, GroupAction, Item, Scope, Verb

LIMITS = BatchLimits(max_items=10, max_targets=100, max_message=100_000)
U, G, C = Scope.USER, Scope.GROUP, Scope.CONNECTION
ADD, REMOVE, ALL = Verb.ADD, Verb.REMOVE, Verb.REMOVE_ALL


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"action":" ADD ","userId":"u","groupName":"g"}', [GroupAction(ADD, U, "u", "g")]),
        ('{"action":"2","connectionId":"c"}', [GroupAction(ALL, C, "c")]),
        ('{"action":"remove","connectionId":"c","groupName":"g"}', [GroupAction(REMOVE, C, "c", "g")]),
        (
            '{"action":"add","userIds":["a","b"],"groupNames":["g","h"]}',
            [GroupAction(ADD, U, member, group) for member in "ab" for group in "gh"],
        ),
        (
            '{"action":"add","connectionIds":["c"],"userId":"u","groupName":"g","groupNames":["h","g"]}',
            [GroupAction(ADD, scope, member, group) for scope, member in ((C, "c"), (U, "u")) for group in "gh"],
        ),
        ('{"action":"removeAll","userIds":["a","b"]}', [GroupAction(ALL, U, "a"), GroupAction(ALL, U, "b")]),
        ('{"action":"add","userId":"u","groupName":"g","ttlSeconds":0}', [GroupAction(ADD, U, "u", "g", 0)]),
        ('{"action":"add","userId":"u","groupName":"g","ttlSeconds":3600}', [GroupAction(ADD, U, "u", "g", 3600)]),
        ('{"action":"add","userId":"u","groupName":"g","ttlSeconds":null}', [GroupAction(ADD, U, "u", "g")]),
        ('{"action":"closeConnection","connectionId":"c"}', [CloseConnections(C, "c")]),
        ('{"Action":"CLOSECONNECTION","UserId":"u","Reason":"bye"}', [CloseConnections(U, "u", "bye")]),
        (
            '{"action":"closeConnection","groupNames":["g"],"userIds":["u"],"excluded":["x"]}',
            [CloseConnections(U, "u", "", ("x",)), CloseConnections(G, "g", "", ("x",))],
        ),
    ],
)
def test_an_action_becomes_its_calls_in_order(body: str, expected: list[Item]) -> None:
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, ParsedItem), result
    assert list(result.calls) == expected
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ('"add","userId":"u","groupNames":[]', "emptyList", "/groupNames"),
        ('"add","userIds":[],"groupName":"g"', "emptyList", "/userIds"),
        ('"add","userId":"u","groupNames":["g"," "]', "invalidGroupName", "/groupNames/1"),
        ('"removeAll","userId":"u","groupNames":["g"]', "notAllowedHere", "/groupNames"),
        ('"add","connectionId":"c","groupName":"g","ttlSeconds":1', "notAllowedHere", "/ttlSeconds"),
        ('"add","connectionIds":["c"],"userId":"u","groupName":"g","ttlSeconds":1', "notAllowedHere", "/ttlSeconds"),
        ('"remove","userId":"u","groupName":"g","ttlSeconds":1', "notAllowedHere", "/ttlSeconds"),
        ('"removeAll","userId":"u","ttlSeconds":1', "notAllowedHere", "/ttlSeconds"),
        ('"closeConnection","userId":"u","ttlSeconds":1', "notAllowedHere", "/ttlSeconds"),
        ('"add","userId":"u","groupName":"g","ttlSeconds":-1', "invalidTtl", "/ttlSeconds"),
        ('"add","userId":"u","groupName":"g","ttlSeconds":1.5', "invalidTtl", "/ttlSeconds"),
        ('"add","userId":"u","groupName":"g","ttlSeconds":2147483648', "invalidTtl", "/ttlSeconds"),
        ('"add","userId":"u","groupName":"g","ttlSeconds":"1"', "invalidTtl", "/ttlSeconds"),
        ('"add","userId":"u","groupName":"g","excluded":["c"]', "notAllowedHere", "/excluded"),
        ('"closeConnection"', "noDestination", ""),
        ('"closeConnection","userIds":[]', "emptyList", "/userIds"),
        ('"closeConnection","connectionId":"c","excluded":["d"]', "notAllowedHere", "/excluded"),
        ('"closeConnection","userId":"u","reason":[]', "notAString", "/reason"),
        (f'"closeConnection","userId":"u","reason":"{"x" * 12_000}"', "uriTooLong", ""),
        ('"closeConnections","userId":"u"', "unknownAction", "/action"),
        ('"add,remove","userId":"u","groupName":"g"', "unknownAction", "/action"),
        ('{},"userId":"u"', "unknownAction", "/action"),
    ],
)
def test_an_action_that_cannot_be_done_as_asked_is_refused(fields: str, code: str, pointer: str) -> None:
    (result,) = parse_batch(f'{{"action":{fields}}}'.encode(), LIMITS).results
    assert isinstance(result, RejectedItem), result
    assert (result.code, result.pointer) == (code, pointer)


@pytest.mark.parametrize("action", ['"add","groupName":"g"', '"closeConnection"'])
def test_what_only_messages_have_is_named_as_ignored_on_an_action(action: str) -> None:
    body = f'{{"action":{action},"userId":"u","collapseKey":"k","Delivery":"whatever"}}'
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, ParsedItem)
    assert "collapseKey, Delivery" in result.warnings[0].detail


def test_a_reason_on_a_group_action_is_named_as_ignored() -> None:
    (result,) = parse_batch(b'{"action":"removeAll","userId":"u","Reason":"x"}', LIMITS).results
    assert isinstance(result, ParsedItem)
    assert "Reason" in result.warnings[0].detail
