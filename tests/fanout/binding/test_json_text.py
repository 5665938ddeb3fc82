"""What is done to JSON as text loses nothing: the same values, the same spellings, in linear time."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.binding.json_text import lone_surrogates, tokens_of, with_backslashes, with_replacements, written_out

MILLION = 1_000_000
_texts = st.text(st.characters(exclude_categories=[]), max_size=12)  # halves of surrogate pairs too
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=8,
)


# Halves of surrogate pairs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (rb'["\ud83d\ude00"]', []),
        (rb'["\uD83D\uDE00\ud83d\ude00"]', []),
        (rb'["\ud83d"]', [2]),
        (rb'["\ude00"]', [2]),
        (rb'["\ude00\ud83d"]', [2, 8]),
        (rb'["\ud83d\ud83d\ude00"]', [2]),
        (rb'["\ud83dx\ude00"]', [2, 9]),
        (rb'["\ud83d\u0041"]', [2]),
        (rb'["\\ud83d"]', []),
        (rb'["\\\ud83d"]', [4]),
        (rb'["\"\ud83d"]', [4]),
        (rb'["\n\\n\ud83d"]', [7]),
        (rb'["\ud7ff\ue000"]', []),
    ],
)
def test_halves_are_found_where_they_stand(text: bytes, places: list[int]) -> None:
    assert lone_surrogates(text, 100) == places


@given(_values)
def test_what_is_left_after_a_replacement_has_no_half_and_the_same_length(value: object) -> None:
    text = json.dumps(value).encode()
    places = lone_surrogates(text, 1000)
    whole = with_replacements(text, places)
    assert len(whole) == len(text)
    assert lone_surrogates(whole, 1000) == []
    halves = re.compile("[\ud800-\udfff]")
    assert halves.search(json.dumps(json.loads(whole), ensure_ascii=False)) is None
    assert bool(places) is (halves.search(json.dumps(json.loads(text), ensure_ascii=False)) is not None)


def test_a_backslash_more_makes_an_escape_of_the_string_one_of_what_it_holds() -> None:
    text = rb'"[\"a\ud83d\"]"'
    changed = with_backslashes(text, lone_surrogates(text, 10))
    assert json.loads(changed) == r'["a\ud83d"]'


def test_no_more_halves_are_looked_for_than_asked() -> None:
    assert len(lone_surrogates(rb"\ud83d" * 50, 10)) == 10


# Tokens ---------------------------------------------------------------------------------------------------------------


@given(_values, st.sampled_from([None, 0, 1, "\t"]), st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n", " : ")]))
def test_white_space_between_tokens_makes_no_difference(
    value: object, indent: int | str | None, marks: tuple[str, str]
) -> None:
    one = json.dumps(value).encode()
    other = json.dumps(value, indent=indent, separators=marks).encode()
    assert tokens_of(one) == tokens_of(other) == tokens_of(b" \n" + other + b"\t")


@given(_values, _values)
def test_other_tokens_make_one(one: object, other: object) -> None:
    same = json.dumps(one) == json.dumps(other)
    assert (tokens_of(json.dumps(one).encode()) == tokens_of(json.dumps(other, indent=1).encode())) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"[1.10]", b"[1.1]"),
        (b"[1e5]", b"[1E5]"),
        (b'["a b"]', b'["ab"]'),
        (b'["a\\" b"]', b'["a\\"b"]'),
        (b'["\\\\", " "]', b'["\\\\",""]'),
        (b'["\\u0041"]', b'["A"]'),
        (b'["\\\\"]', b'["\\\\\\\\"]'),
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
    ],
)
def test_spellings_stay_different(one: bytes, other: bytes) -> None:
    assert tokens_of(one) != tokens_of(other)


def test_a_long_text_is_read_in_pieces_without_a_seam() -> None:
    values = [f'a b{n} "\\ {"x " * (n % 50)}' for n in range(10_000)]
    assert tokens_of(json.dumps(values).encode()) == tokens_of(json.dumps(values, indent=3).encode())
    assert tokens_of(json.dumps(values).encode()) != tokens_of(json.dumps(values).replace("x x", "xx", 1).encode())


# Escapes --------------------------------------------------------------------------------------------------------------


@given(_values.filter(lambda value: not lone_surrogates(json.dumps(value).encode(), 1)), st.booleans())
def test_written_out_a_text_has_the_same_values_and_no_escape_it_does_not_need(value: object, ascii_only: bool) -> None:
    text = written_out(json.dumps(value, ensure_ascii=ascii_only).encode(), 0 if not ascii_only else 10**9)
    assert json.loads(text) == value
    if ascii_only:
        escapes = set(re.findall(r"\\u(....)", text.decode().replace(r"\\", "")))
        assert all(int(escape, 16) < 0x20 for escape in escapes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb'["\u00e9\u4e2d\ud83d\ude00"]', '["é中😀"]'.encode()),
        (rb'["\u0022\u005C\u005c\u0000\u001f\u007f"]', b'["\\u0022\\u005C\\u005c\\u0000\\u001f\x7f"]'),
        (rb'["\\u00e9\\\u00e9"]', '["\\\\u00e9\\\\é"]'.encode()),
        ('["é\\/\\n\\u00e9", 1.10, 1E5]'.encode(), '["é\\/\\né", 1.10, 1E5]'.encode()),
    ],
)
def test_only_escapes_change_and_those_that_json_needs_stay(text: bytes, expected: bytes) -> None:
    assert written_out(text, 10**9) == expected


def test_what_cannot_become_short_enough_is_left_as_it_is() -> None:
    text = rb'["\u00e9"]'
    assert written_out(text, 3) is text
