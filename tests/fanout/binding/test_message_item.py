"""Messages: the REST body holds the sender's bytes of `arguments`, and each destination gets the same body."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.binding.batch import BatchLimits, ParsedItem, RejectedItem, parse_batch
from fanout.signalr.message import Item, Message, Priority, Scope
from tests.examples import examples

LIMITS = BatchLimits(max_items=1000, max_targets=1000, max_message=2_000_000)
B, U, G, C = Scope.BROADCAST, Scope.USER, Scope.GROUP, Scope.CONNECTION
BODY = b'{"target":"t","arguments":[]}'

# JSON text, not JSON values: what matters is that no spelling is lost.
_blank = st.text(alphabet=" \t\r\n", max_size=2)
_number = st.tuples(
    st.integers(-(10**40), 10**40).map(str),
    st.sampled_from(["", ".0", ".10", ".1000000000000000055511151231257827"]),
    st.sampled_from(["", "e5", "E5", "e+05", "E-400", "e99999"]),
).map("".join)
_plain = st.text(st.characters(exclude_characters='"\\', codec="utf-8", min_codepoint=0x20), max_size=8)
_escape = st.sampled_from(
    ["\\/", "\\n", '\\"', "\\\\", "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\u0000", "2019-01-01T10:00:00.000Z"]
)
_string = st.lists(_plain | _escape, max_size=4).map(lambda parts: '"' + "".join(parts) + '"')
_scalar = _number | _string | st.sampled_from(["null", "true", "false", "1.10", "1E5", "-0", "0.1000000000000000055"])


def _spaced(parts: list[str], blank: str) -> str:
    return f"{blank},{blank}".join(parts)


def _containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # Two keys out of three letters: repeated keys are common.
    pair = st.tuples(st.sampled_from(['"a"', '"b"', '"\\u0061"']), _blank, values).map(lambda p: f"{p[0]}{p[1]}:{p[2]}")
    array = st.tuples(st.lists(values, max_size=4), _blank).map(lambda p: f"[{p[1]}{_spaced(*p)}{p[1]}]")
    return array | st.tuples(st.lists(pair, max_size=4), _blank).map(lambda p: f"{{{p[1]}{_spaced(*p)}{p[1]}}}")


_values = st.recursive(_scalar, _containers, max_leaves=8)
json_arrays = st.tuples(st.lists(_values, max_size=3), _blank).map(lambda p: f"[{p[1]}{_spaced(*p)}{p[1]}]")


def items_of(body: str) -> tuple[Item, ...]:
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, ParsedItem), result
    return result.calls


def rejection(body: str) -> tuple[str, str]:
    (result,) = parse_batch(body.encode(), LIMITS).results
    assert isinstance(result, RejectedItem), result
    return result.code, result.pointer


def body_of(document: str) -> bytes:
    (item,) = items_of(document)
    assert isinstance(item, Message)
    return item.body


@settings(max_examples=examples(400), deadline=None)  # a busy machine is no counterexample
@given(json_arrays, st.sampled_from(["arguments", "Arguments", "ARGUMENTS"]), _blank)
def test_arguments_survive_byte_for_byte(arguments: str, name: str, blank: str) -> None:
    document = f'{{"target":"t",{blank}"{name}"{blank}:{blank}{arguments}{blank}}}'
    expected = b'{"target":"t","arguments":%b}' % arguments.encode()
    assert body_of(document) == expected
    assert body_of(f"[{document}]") == expected
    assert body_of(json.dumps(document)) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        "[1180591620717411303424,18446744073709551616,-9223372036854775809]",
        "[1.10,1E5,-0,0.1000000000000000055,1e400]",
        '[{"a":1,"a":2,"A":3}]',
        '["\\u00e9","\\/","\\u0000","\u2028"]',
        '["2019-01-01T10:00:00.000Z","/Date(1)/"]',
        "[ 1 ,\n\t[ ] ,{ } ]",
    ],
)
def test_spellings_that_parsers_lose_are_kept(arguments: str) -> None:
    assert body_of(f'{{"target":"t","arguments":{arguments}}}') == f'{{"target":"t","arguments":{arguments}}}'.encode()


def test_a_blob_of_a_megabyte_is_kept() -> None:
    blob = (string.printable.replace('"', "").replace("\\", "")[:80] + "é😀") * 12_000
    arguments = f'["{blob}"]'
    assert len(arguments.encode()) > 1_000_000
    assert body_of(f'{{"target":"t","arguments":{arguments}}}').endswith(arguments.encode() + b"}")


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_target_makes_a_body_that_is_json(target: str) -> None:
    body = body_of(json.dumps({"target": target, "arguments": [1]}))
    assert json.loads(body) == {"target": target, "arguments": [1]}


# Excluded, ttlSeconds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('"excluded":["c1","c2","c1"]', Message(B, "", BODY, ("c1", "c2"))),
        ('"excluded":["c1"],"groupName":"g"', Message(G, "g", BODY, ("c1",))),
        ('"excluded":[],"userId":"u"', Message(U, "u", BODY)),
        ('"excluded":null,"userId":"u"', Message(U, "u", BODY)),
        ('"ttlSeconds":30', Message(B, "", BODY, ttl=30.0)),
        ('"ttlSeconds":0.5,"userId":"u"', Message(U, "u", BODY, ttl=0.5)),
        ('"TtlSeconds":2678400', Message(B, "", BODY, ttl=2_678_400.0)),
        ('"ttlSeconds":null', Message(B, "", BODY)),
    ],
)
def test_excluded_and_ttl_travel_with_the_message(fields: str, expected: Message) -> None:
    assert items_of(f'{{"target":"t",{fields}}}') == (expected,)


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ('"excluded":["c"],"userId":"u"', "notAllowedHere", "/excluded"),
        ('"excluded":["c"],"connectionId":"d"', "notAllowedHere", "/excluded"),
        ('"excluded":["c"],"groupNames":["g"],"userIds":["u"]', "notAllowedHere", "/excluded"),
        ('"excluded":["c",""]', "invalidConnectionId", "/excluded/1"),
        ('"Excluded":"c"', "notAList", "/Excluded"),
        ('"ttlSeconds":0', "invalidTtl", "/ttlSeconds"),
        ('"ttlSeconds":-1', "invalidTtl", "/ttlSeconds"),
        ('"ttlSeconds":2678400.5', "invalidTtl", "/ttlSeconds"),
        ('"ttlSeconds":"30"', "invalidTtl", "/ttlSeconds"),
        ('"ttlSeconds":true', "invalidTtl", "/ttlSeconds"),
        ('"ttlSeconds":1e400', "invalidTtl", "/ttlSeconds"),
        (f'"ttlSeconds":1{"0" * 400}', "invalidTtl", "/ttlSeconds"),
        (f'"excluded":{json.dumps(["c" * 40 + str(n) for n in range(300)])}', "uriTooLong", ""),
        (f'"connectionId":"{"c" * 13_000}"', "namesTooLong", ""),
    ],
)
def test_excluded_and_ttl_that_cannot_be_honoured_are_refused(fields: str, code: str, pointer: str) -> None:
    assert rejection(f'{{"target":"t",{fields}}}') == (code, pointer)


# collapseKey, delivery ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('"collapseKey":"price"', Message(B, "", BODY, collapse="price")),
        (f'"CollapseKey":"{"k" * 128}","userId":"u"', Message(U, "u", BODY, collapse="k" * 128)),
        ('"collapseKey":7', Message(B, "", BODY, collapse="7")),
        ('"collapseKey":""', Message(B, "", BODY)),
        ('"collapseKey":null', Message(B, "", BODY)),
        ('"delivery":"atLeastOnce"', Message(B, "", BODY, at_most_once=False)),
        ('"delivery":"AtMostOnce","userId":"u"', Message(U, "u", BODY, at_most_once=True)),
        ('"Delivery":"ATMOSTONCE"', Message(B, "", BODY, at_most_once=True)),
        ('"delivery":null', Message(B, "", BODY)),
    ],
)
def test_collapse_key_and_delivery_travel_with_the_message(fields: str, expected: Message) -> None:
    assert items_of(f'{{"target":"t",{fields}}}') == (expected,)


def test_each_destination_of_a_list_gets_collapse_key_and_delivery() -> None:
    items = items_of('{"target":"t","userIds":["a","b"],"collapseKey":"k","delivery":"atMostOnce"}')
    assert items == tuple(Message(U, name, BODY, collapse="k", at_most_once=True) for name in "ab")


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        (f'"collapseKey":"{"k" * 129}"', "invalidCollapseKey", "/collapseKey"),
        ('"CollapseKey":["k"]', "notAString", "/CollapseKey"),
        ('"delivery":"exactlyOnce"', "invalidDelivery", "/delivery"),
        ('"delivery":""', "invalidDelivery", "/delivery"),
        ('"delivery":1', "invalidDelivery", "/delivery"),
        ('"priority":"urgent"', "invalidPriority", "/priority"),
        ('"priority":""', "invalidPriority", "/priority"),
        ('"priority":1', "invalidPriority", "/priority"),
        ('"Delivery":{}', "notAString", "/Delivery"),
    ],
)
def test_collapse_key_and_delivery_that_cannot_be_read_are_refused(fields: str, code: str, pointer: str) -> None:
    assert rejection(f'{{"target":"t",{fields}}}') == (code, pointer)


def test_the_destinations_of_a_list_share_one_body() -> None:
    items: Any = items_of('{"target":"t","userIds":["a","b"]}')
    assert items[0].body is items[1].body


@pytest.mark.parametrize(
    ("word", "priority"),
    [('"high"', Priority.HIGH), ('"LOW"', Priority.LOW), ('"normal"', Priority.NORMAL), ("null", Priority.NORMAL)],
)
def test_a_message_may_be_urgent_or_have_time(word: str, priority: Priority) -> None:
    (item,) = items_of(f'{{"userId":"alice","target":"t","priority":{word}}}')
    assert isinstance(item, Message)
    assert item.priority is priority
