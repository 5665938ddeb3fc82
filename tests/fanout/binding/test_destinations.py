"""Lists name every destination once and in order; an empty list is never a broadcast."""

import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, RejectedItem, parse_batch
from fanout.signalr.message import Item, Message, Scope

LIMITS = BatchLimits(max_items=10, max_targets=100, max_message=10_000)
U, G, C = Scope.USER, Scope.GROUP, Scope.CONNECTION
BODY = b'{"target":"t","arguments":[]}'


def items_of(body: str) -> tuple[Item, ...]:
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, ParsedItem), result
    return result.calls


def rejection(body: str) -> tuple[str, str]:
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, RejectedItem), result
    return result.code, result.pointer


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('"userIds":["a","b"]', [(U, "a"), (U, "b")]),
        ('"UserIds":["b","a","b"]', [(U, "b"), (U, "a")]),
        ('"groupNames":["g"]', [(G, "g")]),
        ('"connectionIds":["c",7,true]', [(C, "c"), (C, "7"), (C, "True")]),
        ('"userIds":["a","b"],"userId":"b"', [(U, "b"), (U, "a")]),
        ('"userIds":["a"],"userId":""', [(U, "a")]),
        ('"groupNames":["g"],"userIds":["u"],"connectionIds":["c"]', [(C, "c"), (U, "u"), (G, "g")]),
        ('"groupNames":["g"],"userId":"u","connectionId":"c"', [(C, "c"), (U, "u"), (G, "g")]),
        ('"userIds":null,"groupName":"g"', [(G, "g")]),
        ('"userIds":["x"],"groupNames":["x"]', [(U, "x"), (G, "x")]),
    ],
)
def test_a_list_names_every_destination_once_and_in_order(fields: str, expected: list[tuple[Scope, str]]) -> None:
    assert items_of(f'{{"target":"t",{fields}}}') == tuple(Message(scope, to, BODY) for scope, to in expected)


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ('"userIds":[]', "emptyList", "/userIds"),
        ('"userId":"u","GroupNames":[]', "emptyList", "/GroupNames"),
        ('"userIds":"u"', "notAList", "/userIds"),
        ('"userIds":{}', "notAList", "/userIds"),
        ('"userIds":["a",["b"]]', "notAString", "/userIds/1"),
        ('"userIds":["a",null]', "invalidUserId", "/userIds/1"),
        ('"userIds":["a","b",""]', "invalidUserId", "/userIds/2"),
        ('"connectionIds":["a",".."]', "invalidConnectionId", "/connectionIds/1"),
        ('"groupNames":["g"],"userId":"."', "invalidUserId", "/userId"),
    ],
)
def test_a_list_that_names_nobody_or_somebody_impossible_is_refused(fields: str, code: str, pointer: str) -> None:
    assert rejection(f'{{"target":"t",{fields}}}') == (code, pointer)
