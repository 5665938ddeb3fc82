"""The short way through a batch: where it answers, it answers what the long way answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.binding import batch as batch_module
from fanout.binding.batch import Batch, BatchLimits, parse_batch, read_plain_batch
from fanout.errors import BadRequestError

LIMITS = BatchLimits(max_items=50, max_targets=50, max_message=2000)
PLAIN: dict[str, Any] = {"target": "newMessage", "arguments": [1, {"a": "\u00e9"}]}

_names = st.one_of(
    st.none(), st.sampled_from(["", ".", "..", "alice", " ", "a\nb", "\0", "x" * 513, "x" * 1025]), st.text()
)
_values = st.one_of(_names, st.integers(), st.booleans(), st.lists(st.integers(), max_size=2))
_properties = st.sampled_from(
    ["userId", "groupName", "connectionId", "messageId", "UserId", "userIds", "ttlSeconds", "action", "odd", "target"]
)
_items = st.builds(
    lambda target, arguments, rest: {"target": target, "arguments": arguments} | rest,
    st.one_of(st.sampled_from(["", "t"]), st.text(max_size=140)),
    st.one_of(st.none(), st.lists(st.integers(), max_size=3), st.text(max_size=3), st.just(["x" * 2000])),
    st.dictionaries(_properties, _values, max_size=3),
)


def verdict(body: bytes) -> Any:
    """Return what a batch comes to, the way it was read aside."""
    try:
        return parse_batch(body, LIMITS).results
    except BadRequestError as error:
        return (error.label, error.pointer, str(error))


def the_long_way(body: bytes, patch: pytest.MonkeyPatch) -> Any:
    with patch.context() as p:
        p.setattr(batch_module, "read_plain_batch", lambda *_: None)
        p.setattr(batch_module, "read_plain", lambda *_: None)
        return verdict(body)


@given(st.one_of(st.lists(_items, max_size=4), _items), st.booleans())
def test_both_ways_give_the_same_verdicts(document: Any, ascii_only: bool) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        assert verdict(body) == the_long_way(body, patch)


@pytest.mark.parametrize(
    "body",
    [
        b'[{"target":"t","arguments":[1.10, 1E5,-0, 1e400, 18446744073709551616 , "\\u00e9\\/"]}]',
        b'[{"target":"t","target":"u","arguments":[1],"arguments":[2]}]',
        b'[{"target":"t","target":1,"arguments":[1]}]',
        b'{"t\\u0061rget":"t","arguments":[]}',
        b'[{"target":"\\ud83d\\ude00","arguments":[]}]',
        b'[{"target":"\\ud83d","arguments":[]}]',
        b'[{"target":"t","arguments":["\\ud83d"]}]',
        b'[{"target":"t","arguments":[\xff]}]',
        b'[{"target":"t","arguments":["\xff"]}]',
        b'\xef\xbb\xbf[{"target":"t","arguments":[]}]',
        b' \n[{"target":"t" , "arguments" : [ 1 ] }]',
        b'"[{\\"target\\":\\"t\\",\\"arguments\\":[]}]"',
        b'[{"target":"t","arguments":[01]}]',
        b'[{"target":"t","arguments":[1,]}]',
        b'[{"target":"t","arguments":[]}] x',
        b'[{"target":"t","arguments":' + b"[" * 5000 + b"]" * 5000 + b"}]",
        b'[{"target":"t","arguments":{}}]',
        b'[{"target":"t"}]',
        b'[{"target":"t","arguments":[]},{}]',
        b"[" + b",".join([b'{"target":"t","arguments":[]}'] * 51) + b"]",
        b"[]",
        b"[null]",
        b"{}",
    ],
)
def test_both_ways_give_the_same_verdicts_on_odd_bytes(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(body) == the_long_way(body, monkeypatch)


@pytest.mark.parametrize(
    "item",
    [
        PLAIN,
        PLAIN | {"userId": "alice"},
        PLAIN | {"groupName": "g", "userId": None},
        PLAIN | {"connectionId": "c", "userId": ""},
        PLAIN | {"userId": "alice", "messageId": "m-1"},
    ],
)
def test_the_common_shapes_go_the_short_way(item: dict[str, Any]) -> None:
    batch = parse_batch(json.dumps([item, item]).encode(), LIMITS)
    assert batch.is_plain
    assert len(batch.results) == 2
    assert parse_batch(json.dumps(item).encode(), LIMITS).is_plain


def test_a_plain_batch_has_one_call_for_each_item_and_no_warning() -> None:
    body = json.dumps([PLAIN | {"userId": f"u{n}", "messageId": f"m{n}"} for n in range(5)]).encode()
    parsed = read_plain_batch(body, LIMITS)
    assert parsed is not None
    assert [(p.index, len(p.calls), p.warnings, p.message_id) for p in parsed] == [
        (n, 1, (), f"m{n}") for n in range(5)
    ]
    assert len({p.fingerprint for p in parsed}) == 5


@pytest.mark.parametrize("odd", [{}, {"target": "t", "userId": "a", "groupName": "g"}, PLAIN | {"ttlSeconds": 5}])
def test_one_item_of_another_shape_makes_the_batch_not_plain(odd: dict[str, Any]) -> None:
    batch = parse_batch(json.dumps([PLAIN, odd]).encode(), LIMITS)
    assert not batch.is_plain
    assert len(batch.results) == 2


def test_an_empty_batch_is_plain_and_empty() -> None:
    assert parse_batch(b"[]", LIMITS) == Batch((), is_plain=True)


def test_more_items_than_allowed_are_counted_before_they_become_objects() -> None:
    body = b"[" + b",".join([b'{"target":"","arguments":[]}'] * 200_000) + b"]"
    assert read_plain_batch(body, LIMITS) is None
