"""Scalars in string fields become the text that .NET writes."""

import pytest
from msgspec import Raw

from fanout.binding.properties import properties_of


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ('"x"', "x"),
        ('""', ""),
        ("null", None),
        ("true", "True"),
        ("false", "False"),
        ("42", "42"),
        ("-0", "0"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1.50", "1.5"),
        ("1.0", "1"),
        ("1e5", "100000"),
        ("-2.5e-3", "-0.0025"),
        ("0.0001", "0.0001"),
        ("0.00001", "1E-05"),
        ("1e14", "100000000000000"),
        ("1e15", "1E+15"),
        ("1.25e20", "1.25E+20"),
        ("-1.5e-100", "-1.5E-100"),
        ("0.0", "0"),
        ("0e99", "0"),
    ],
)
def test_a_scalar_is_read_as_text(sent: str, text: str | None) -> None:
    properties = properties_of(Raw(f'{{"userId":{sent}}}'.encode()))
    assert properties.text("userId") == text
    assert properties.name("userId") == (text or None)


@pytest.mark.parametrize("sent", ["userid", "UserId", "USERID", "userId", "\\u0075serId"])
def test_names_are_matched_without_case_and_pointed_at_as_sent(sent: str) -> None:
    properties = properties_of(Raw(f'{{"{sent}":"u"}}'.encode()))
    assert properties.text("userId") == "u"
    assert properties.pointer("userId") == "/" + sent.replace("\\u0075", "u")


def test_a_name_that_only_unicode_folds_to_a_known_one_is_unknown() -> None:
    properties = properties_of(Raw('{"u\u017ferId":"u"}'.encode()))  # long s
    assert properties.text("userId") is None
    assert properties.unknown == ("u\u017ferId",)


def test_null_and_missing_are_not_given() -> None:
    properties = properties_of(Raw(b'{"action":null,"target":""}'))
    assert [properties.given(name) for name in ("action", "arguments", "target")] == [False, False, True]


def test_of_a_name_in_two_spellings_the_last_value_counts_even_when_one_is_repeated() -> None:
    properties = properties_of(Raw(b'{"userId":"a","target":"t","UserId":"b","x":[{"userId":1}],"userId":"c"}'))
    assert properties.text("userId") == "c"
    assert properties.pointer("userId") == "/userId"
    assert properties_of(Raw(b'{"UserId":"a","userId":"b","UserId":"c"}')).text("userId") == "c"
    assert properties.unknown == ("x",)
