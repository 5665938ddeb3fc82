"""The ingress accepts what the Functions binding accepts, and says per item what it refuses."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.binding.batch import ERROR_CODES, BatchLimits, ParsedItem, RejectedItem, batch_fingerprint, parse_batch
from fanout.binding.properties import KNOWN
from fanout.errors import BadRequestError
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from tests.examples import examples

LIMITS = BatchLimits(
    max_items=1000, max_targets=1000, max_message=1_000_000, endpoints=("https://east-1.service.signalr.net",)
)
B, U, G, C = Scope.BROADCAST, Scope.USER, Scope.GROUP, Scope.CONNECTION


def message(scope: Scope, to: str, arguments: bytes = b"[]", target: str = "t", **more: Any) -> Message:
    return Message(scope, to, b'{"target":"%b","arguments":%b}' % (target.encode(), arguments), **more)


def verdicts(body: bytes | str, limits: BatchLimits = LIMITS) -> list[tuple[Item, ...] | tuple[str, str]]:
    """Return the items of what is accepted, and code and pointer of what is refused."""
    batch = parse_batch(body.encode() if isinstance(body, str) else body, limits)
    assert [result.index for result in batch.results] == list(range(len(batch.results)))
    return [r.calls if isinstance(r, ParsedItem) else (r.code, r.pointer) for r in batch.results]


def refused(body: bytes | str, limits: BatchLimits = LIMITS) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        parse_batch(body.encode() if isinstance(body, str) else body, limits)
    return caught.value


# The rows of docs/sources.md, binding-items and binding-kinds ---------------------------------------------------------

ACCEPTED: list[tuple[str, Item]] = [
    ('{"target":"t","arguments":[1]}', message(B, "", b"[1]")),
    ('{"target":"t"}', message(B, "")),
    ('{"target":"t","arguments":null}', message(B, "")),
    ('{"Target":"t","Arguments":[ 1,2 ],"UserId":"u"}', message(U, "u", b"[ 1,2 ]")),
    ('{"TARGET":"t","aRGUMENTS":[1],"groupname":"g"}', message(G, "g", b"[1]")),
    ('{"target":null,"userId":"u","groupName":"g","action":"add"}', GroupAction(Verb.ADD, U, "u", "g")),
    ('{"userId":"u","groupName":"g","action":"Add"}', GroupAction(Verb.ADD, U, "u", "g")),
    ('{"userId":"u","action":"REMOVEALL"}', GroupAction(Verb.REMOVE_ALL, U, "u")),
    ('{"userId":"u","groupName":"g","action":0}', GroupAction(Verb.ADD, U, "u", "g")),
    ('{"userId":"u","groupName":"g","action":1}', GroupAction(Verb.REMOVE, U, "u", "g")),
    ('{"userId":"u","action":2}', GroupAction(Verb.REMOVE_ALL, U, "u")),
    ('{"connectionId":"c","action":"removeAll"}', GroupAction(Verb.REMOVE_ALL, C, "c")),
    ('{"target":"t","connectionId":"","userId":"","groupName":""}', message(B, "")),
    ('{"target":"t","connectionId":null,"userId":null,"groupName":null,"endpoints":null}', message(B, "")),
    ('{"target":"t","userId":42}', message(U, "42")),
    ('{"target":"t","userId":-0}', message(U, "0")),
    ('{"target":"t","userId":1180591620717411303424}', message(U, "1180591620717411303424")),
    ('{"target":"t","userId":true,"groupName":false}', message(U, "True")),
    ('{"target":42}', message(B, "", target="42")),
    ('{"target":"t","extra":{"any":[1e400,{}]}}', message(B, "")),
    ('{"target":"t","target":"u"}', message(B, "", target="u")),
    ('{"Target":"t","userId":"a","target":"u","UserId":null}', message(B, "", target="u")),
    (' \r\n\t{"target":"t"} \n', message(B, "")),
    ('\ufeff{"target":"t"}', message(B, "")),
]

REFUSED: list[tuple[str, str, str]] = [
    ('{"target":null,"arguments":[]}', "noTargetOrAction", ""),
    ('{"target":""}', "emptyTarget", "/target"),
    ('{"Target":"","action":"add","userId":"u","groupName":"g"}', "emptyTarget", "/Target"),
    ('{"userId":"u","arguments":[]}', "noTargetOrAction", ""),
    ("{}", "noTargetOrAction", ""),
    ('{"userId":"u","groupName":"g","action":"delete"}', "unknownAction", "/action"),
    ('{"userId":"u","groupName":"g","action":7}', "unknownAction", "/action"),
    ('{"userId":"u","groupName":"g","action":-1}', "unknownAction", "/action"),
    ('{"userId":"u","groupName":"g","action":1.0}', "unknownAction", "/action"),
    ('{"userId":"u","groupName":"g","Action":true}', "unknownAction", "/Action"),
    ('{"userId":"u","groupName":"g","action":""}', "unknownAction", "/action"),
    ('{"target":"t","arguments":"x"}', "argumentsNotAnArray", "/arguments"),
    ('{"target":"t","Arguments":{"0":1}}', "argumentsNotAnArray", "/Arguments"),
    ('{"target":"t","arguments":0}', "argumentsNotAnArray", "/arguments"),
    ('{"groupName":"g","action":"add"}', "noMember", ""),
    ('{"userId":"","connectionId":null,"groupName":"g","action":"add"}', "noMember", ""),
    ('{"userId":"u","action":"add"}', "noGroup", ""),
    ('{"userId":"u","groupName":"","action":"remove"}', "noGroup", ""),
    ('{"target":["t"]}', "notAString", "/target"),
    ('{"target":"t","USERID":{}}', "notAString", "/USERID"),
    ('{"target":"t","userId":1e400}', "notAString", "/userId"),
    ('{"target":"t","userId":".."}', "invalidUserId", "/userId"),
    ('{"target":"t","groupName":"  "}', "invalidGroupName", "/groupName"),
    ('{"target":"t","connectionId":"\\u0000"}', "invalidConnectionId", "/connectionId"),
]


@pytest.mark.parametrize(("body", "item"), ACCEPTED)
def test_what_the_binding_sends_is_accepted(body: str, item: Item) -> None:
    assert verdicts(body) == [(item,)]


@pytest.mark.parametrize(("body", "code", "pointer"), REFUSED)
def test_what_the_binding_refuses_or_drops_is_refused_with_its_place(body: str, code: str, pointer: str) -> None:
    assert verdicts(body) == [(code, pointer)]


@pytest.mark.parametrize(("body", "code", "pointer"), REFUSED)
def test_in_an_array_a_pointer_starts_with_the_index_and_the_others_stand(body: str, code: str, pointer: str) -> None:
    good = (message(B, ""),)
    assert verdicts(f'[{{"target":"t"}},{body},{{"target":"t"}}]') == [good, (code, f"/1{pointer}"), good]


@pytest.mark.parametrize(
    ("element", "code"),
    [
        ("null", "notAnObject"),
        ("1", "notAnObject"),
        ("true", "notAnObject"),
        ('[{"target":"t"}]', "nestedArray"),
        ("[]", "nestedArray"),
        ('"{\\"target\\":\\"t\\"}"', "nestedString"),
    ],
)
def test_an_element_that_is_no_object_is_refused_alone(element: str, code: str) -> None:
    assert verdicts(f'[{element},{{"target":"t"}}]') == [(code, "/0"), (message(B, ""),)]


# Items as the languages of Azure Functions send them ------------------------------------------------------------------

EXAMPLES: list[tuple[str, list[Item]]] = [
    (
        '{"target":"newMessage","arguments":[{"text":"hi"}]}',
        [message(B, "", b'[{"text":"hi"}]', "newMessage")],
    ),
    (
        """[{"userId":"userId1","target":"newMessage","arguments":[{"a":1}]},
 {"groupName":"myGroup","target":"newMessage","arguments":["x",null,1.50]},
 {"connectionId":"gqbkVBqBIEPZgrDmS5fc4Q","target":"newMessage","arguments":[]}]""",
        [
            message(U, "userId1", b'[{"a":1}]', "newMessage"),
            message(G, "myGroup", b'["x",null,1.50]', "newMessage"),
            message(C, "gqbkVBqBIEPZgrDmS5fc4Q", b"[]", "newMessage"),
        ],
    ),
    (
        """[{"userId":"userId1","groupName":"myGroup","action":"add"},
 {"userId":"userId1","groupName":"myGroup","action":"remove"},
 {"userId":"userId1","action":"removeAll"},
 {"connectionId":"c1","groupName":"myGroup","action":"add"}]""",
        [
            GroupAction(Verb.ADD, U, "userId1", "myGroup"),
            GroupAction(Verb.REMOVE, U, "userId1", "myGroup"),
            GroupAction(Verb.REMOVE_ALL, U, "userId1"),
            GroupAction(Verb.ADD, C, "c1", "myGroup"),
        ],
    ),
    (
        """[{"UserId":"userA","GroupName":"groupA","Action":"Add","ConnectionId":null,"Endpoints":null},
 {"ConnectionId":null,"UserId":null,"GroupName":"groupA","Target":"NewUserConnected","Arguments":["userA"],"Endpoints":null}]""",
        [GroupAction(Verb.ADD, U, "userA", "groupA"), message(G, "groupA", b'["userA"]', "NewUserConnected")],
    ),
    (
        '{"connectionId":"","userId":"userId1","groupName":"","target":"newMessage","arguments":["hello"]}',
        [message(U, "userId1", b'["hello"]', "newMessage")],
    ),
    (
        r'"{\"userId\": \"userId1\", \"target\": \"newMessage\", \"arguments\": [\"hi\"]}"',
        [message(U, "userId1", b'["hi"]', "newMessage")],
    ),
    (
        """{"target":"chat","arguments":["hello-world"],
 "endpoints":[{"endpointType":"Primary","name":"east-1","endpoint":"https://east-1.service.signalr.net","online":true}]}""",
        [message(B, "", b'["hello-world"]', "chat")],
    ),
]


@pytest.mark.parametrize(("body", "items"), EXAMPLES)
def test_the_examples_of_the_binding_are_accepted_without_a_warning(body: str, items: list[Item]) -> None:
    batch = parse_batch(body.encode(), LIMITS)
    assert verdicts(body) == [(item,) for item in items]
    assert all(isinstance(result, ParsedItem) and result.warnings == () for result in batch.results)


@pytest.mark.parametrize(("body", "items"), EXAMPLES[:5])
def test_a_json_string_that_holds_a_batch_is_the_batch(body: str, items: list[Item]) -> None:
    assert verdicts(msgspec.json.encode(f" {body}\n")) == verdicts(body)


def test_an_array_of_nothing_is_a_batch_of_nothing() -> None:
    assert parse_batch(b"[]", LIMITS).results == ()


# Limits ---------------------------------------------------------------------------------------------------------------


def test_a_message_may_have_as_many_bytes_as_the_limit_and_no_more() -> None:
    limits = BatchLimits(max_items=1, max_targets=1, max_message=100)
    text = "x" * (100 - len('{"target":"t","arguments":[""]}'))
    assert verdicts(f'{{"target":"t","arguments":["{text}"]}}', limits) == [
        (message(B, "", f'["{text}"]'.encode()),),
    ]
    assert verdicts(f'{{"target":"t","arguments":["{text}x"]}}', limits) == [("messageTooLarge", "/arguments")]
    assert verdicts(f'{{"Target":"{"x" * 100}"}}', limits) == [("messageTooLarge", "/Target")]


def test_an_item_beyond_any_message_with_its_lists_is_refused_unread() -> None:
    junk = "x" * 10_300_000
    assert verdicts(f'[{{"target":"t","junk":"{junk}"}},{{"target":"t"}}]') == [
        ("itemTooLarge", "/0"),
        (message(B, ""),),
    ]


def test_targets_are_limited_per_item_and_per_batch() -> None:
    limits = BatchLimits(max_items=10, max_targets=3, max_message=1000)
    assert verdicts('{"target":"t","userIds":["a","b","c","a"]}', limits) == [tuple(message(U, x) for x in "abc")]
    assert verdicts('{"target":"t","userIds":["a","b","c","d"]}', limits) == [("tooManyTargets", "")]
    assert verdicts('{"action":"add","userIds":["a","b"],"groupNames":["g","h"]}', limits) == [("tooManyTargets", "")]
    error = refused('[{"target":"t","userIds":["a","b"]},{"target":"t","userIds":["a","b"]}]', limits)
    assert (error.label, error.pointer) == ("tooManyTargets", "/1")


def test_closing_connections_may_stand_among_messages_and_keeps_its_place() -> None:
    body = '[{"target":"t","userId":"u"},{"action":"closeConnection","userId":"u","reason":"bye"}]'
    assert verdicts(body) == [(message(U, "u"),), (CloseConnections(U, "u", "bye"),)]


# Anything at all ------------------------------------------------------------------------------------------------------


_names = st.sampled_from(sorted(KNOWN)).flatmap(lambda name: st.sampled_from([name, name.upper(), name.title()]))
_text = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["add", "removeAll", "closeConnection", ".."]
)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text
_values = _scalars | st.lists(_scalars | st.lists(_text), max_size=3) | st.dictionaries(_text, _scalars, max_size=2)
_objects = st.dictionaries(_names | _text, _values, max_size=6)


@settings(max_examples=examples(400), deadline=None)  # a busy machine is no counterexample
@given(st.lists(_objects | _values, max_size=4))
def test_every_json_array_gets_one_verdict_per_element(elements: list[object]) -> None:
    results = parse_batch(msgspec.json.encode(elements), LIMITS).results
    assert [result.index for result in results] == list(range(len(elements)))
    for result in results:
        if isinstance(result, RejectedItem):
            assert result.code in ERROR_CODES
            assert result.pointer.startswith(f"/{result.index}")
            assert result.detail.endswith((".", "?"))
        else:
            assert result.calls


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=3), st.integers(0, 200), st.integers(0, 3), st.sampled_from(range(len(EXAMPLES))))
def test_a_damaged_body_is_read_or_refused_and_nothing_else(patch: bytes, start: int, cut: int, example: int) -> None:
    body = EXAMPLES[example][0].encode()
    try:
        parse_batch(body[:start] + patch + body[start + cut :], LIMITS)
    except BadRequestError as error:
        code = error.label
    else:
        code = ""
    assert not code or code in ERROR_CODES


# Half of a surrogate pair -------------------------------------------------------------------------------------------


UNPAIRED = r"\ud83d"
HALVES: list[tuple[str, str]] = [
    (r'{"target":"t","arguments":["a\ud83d"]}', "/arguments"),
    (r'{"target":"t","arguments":["\ude00",{"\ud83d\ud83d\ude00":1}]}', "/arguments"),
    (r'{"target":"t\ud83d"}', "/target"),
    (r'{"target":"t","UserId":"\ud83du"}', "/UserId"),
    (r'{"target":"t","userIds":["a","\udc00"],"arguments":["\udc00"]}', "/userIds"),
    (r'{"target":"t","other":"\udc00"}', ""),
    (r'{"target":"t","x\udc00":1}', ""),
]


@pytest.mark.parametrize(("item", "pointer"), HALVES)
def test_half_of_a_surrogate_pair_refuses_its_item_alone(item: str, pointer: str) -> None:
    good = (message(B, "", b'["\\ud83d\\ude00"]'),)
    whole = r'{"target":"t","arguments":["\ud83d\ude00"]}'
    expected = [good, ("loneSurrogate", f"/1{pointer}"), good]
    body = f"[{whole}, {item} ,{whole}]"
    assert verdicts(body) == expected
    assert verdicts(msgspec.json.encode(body)) == expected
    assert verdicts(item) == [("loneSurrogate", pointer)]


def test_half_a_pair_written_into_a_string_that_holds_the_batch_refuses_its_item_alone() -> None:
    body = r'''"[{\"target\":\"t\"},{\"target\":\"t\",\"arguments\":[\"\ud83dx\"]}]"'''
    assert verdicts(body) == [(message(B, ""),), ("loneSurrogate", "/1/arguments")]


def test_in_arguments_it_is_replaced_where_that_is_asked_for_and_nothing_else_changes() -> None:
    item = r'{"target":"t","userId":"u","arguments":[ "a\ud83d", 1.10, "\ud83d\ude00\u00e9"]}'
    batch = parse_batch(f'[{item},{{"target":"t"}}]'.encode(), LIMITS, replace_surrogates=True)
    first, second = batch.results
    assert isinstance(first, ParsedItem)
    assert first.calls == (message(U, "u", rb'[ "a\ufffd", 1.10, "\ud83d\ude00\u00e9"]'),)
    assert [warning.code for warning in first.warnings] == ["replacedSurrogate"]
    assert isinstance(second, ParsedItem)
    assert second.warnings == ()


@pytest.mark.parametrize("item", [r'{"target":"t\ud83d"}', r'{"target":"t","userId":"u\ud83d","arguments":["\ud83d"]}'])
def test_a_name_is_never_changed_into_another_one(item: str) -> None:
    (result,) = parse_batch(item.encode(), LIMITS, replace_surrogates=True).results
    assert isinstance(result, RejectedItem)
    assert result.code == "loneSurrogate"


def test_of_many_items_those_that_hold_a_half_are_refused() -> None:
    texts = [f"{n} {UNPAIRED if n % 3 == 0 else '.'}" for n in range(300)]
    items = [f'{{"target":"t","arguments":["{text}"]}}' for text in texts]
    refused_ones = [index for index, found in enumerate(verdicts(f"[{','.join(items)}]")) if len(found) == 2]
    assert refused_ones == list(range(0, 300, 3))


def test_a_body_of_nothing_but_halves_is_no_json() -> None:
    assert refused(b'["' + rb"\ud83d" * 20_000 + b'"]').label == "invalidJson"


# Escapes --------------------------------------------------------------------------------------------------------------


def test_a_message_is_as_long_as_it_would_be_sent() -> None:
    """A body of escapes over 1 MB that is 600 KB as UTF-8."""
    text = "\u4e2d" * 200_000
    body = f'[{{"target":"t","arguments":["{text.encode("ascii", "backslashreplace").decode()}",1.10]}}]'
    assert len(body) > 1_200_000
    assert verdicts(body) == [(message(B, "", f'["{text}",1.10]'.encode()),)]


def test_escapes_of_what_fits_stay_as_they_are() -> None:
    text = r"\u4e2d" * 100_000
    assert verdicts(f'{{"target":"t","arguments":["{text}"]}}') == [(message(B, "", f'["{text}"]'.encode()),)]


def test_what_is_too_long_even_without_escapes_is_refused() -> None:
    text = r"\u4e2d" * 340_000
    assert verdicts(f'[{{"target":"t","arguments":["{text}"]}},{{"target":"t"}}]') == [
        ("messageTooLarge", "/0/arguments"),
        (message(B, ""),),
    ]


# The same batch again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ('{"target" : "t",\n "arguments":[ 1.10, "a b" ]}', True),
        ('\ufeff{"target":"t","arguments":[1.10,"a b"]}', True),
        (msgspec.json.encode('{"target":"t", "arguments":[1.10,"a b"]}').decode(), True),
        ('{"target":"t","arguments":[1.1,"a b"]}', False),
        ('{"target":"t","arguments":[1.10,"ab"]}', False),
        ('{"arguments":[1.10,"a b"],"target":"t"}', False),
        ('[{"target":"t","arguments":[1.10,"a b"]}]', False),
    ],
)
def test_a_batch_is_known_again_by_its_tokens(other: str, same: bool) -> None:
    first = batch_fingerprint(b'{"target":"t","arguments":[1.10,"a b"]}')
    assert (batch_fingerprint(other.encode()) == first) is same


@pytest.mark.parametrize("target", ['"userId":"u"', '"userIds":["u","v"]', '"ttlSeconds":5'])
def test_white_space_in_arguments_is_no_other_content_under_a_message_id(target: str) -> None:
    def fingerprint(arguments: str) -> bytes:
        body = f'{{"target":"t",{target},"messageId":"m","arguments":{arguments}}}'
        (result,) = parse_batch(body.encode(), LIMITS).results
        assert isinstance(result, ParsedItem)
        return result.fingerprint

    assert fingerprint('[1.10,"a b"]') == fingerprint('[ 1.10 , "a b" ]') != fingerprint('[1.1,"a b"]')
