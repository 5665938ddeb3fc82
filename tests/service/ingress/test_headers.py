"""What the headers of a request ask for its batch."""

import pytest
from starlette.datastructures import Headers

from fanout.errors import BadRequestError
from service.ingress.headers import options_of
from service.ingress.outcome import BatchOptions


def options(*raw: tuple[str, str]) -> BatchOptions:
    return options_of(Headers(raw=[(n.encode(), v.encode()) for n, v in raw]), "req", "me")


@pytest.mark.parametrize(
    ("prefers", "handling"),
    [
        ([], ""),
        (["handling=lenient"], "lenient"),
        (["Handling = Lenient"], "lenient"),
        (['handling="lenient"'], "lenient"),
        (["handling=lenient; x=1"], "lenient"),
        (["return=minimal, handling=lenient"], "lenient"),
        (["wait=10", "handling=lenient"], "lenient"),
        (["handling=strict"], "strict"),
        (["handling=strict, handling=lenient"], "strict"),
        (["handling=other"], ""),
        (["lenient"], ""),
        (["handling"], ""),
        (["x; handling=lenient"], ""),
    ],
)
def test_the_first_handling_preference_counts(prefers: list[str], handling: str) -> None:
    assert options(*(("prefer", p) for p in prefers)).handling == handling


@pytest.mark.parametrize(
    ("prefer", "replaced"),
    [
        ("surrogates=replace", True),
        ("handling=lenient, surrogates=replace", True),
        ("surrogates=keep", False),
        ("surrogates", False),
        ("handling=lenient", False),
    ],
)
def test_halves_of_surrogate_pairs_are_replaced_where_that_is_preferred(prefer: str, *, replaced: bool) -> None:
    assert options(("prefer", prefer)).replace_surrogates is replaced


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("k1", "k1"),
        ('"k1"', "k1"),
        ("order 7", "order 7"),
        ('"order 7"', "order 7"),
        ('"k1";a=1', "k1"),
        (r'"a\"b\\c"', r'a"b\c'),
        (r"a\b", r"a\b"),
        ('a"b"', 'a"b"'),
        ('"' + "k" * 255 + '"', "k" * 255),
    ],
)
def test_the_key_is_a_structured_string_or_the_same_without_quotation_marks(sent: str, key: str) -> None:
    assert options(("idempotency-key", sent)) == BatchOptions("req", key=key, caller="me")


def test_without_the_header_there_is_no_key() -> None:
    assert options() == BatchOptions("req", caller="me")


@pytest.mark.parametrize("sent", ["", '""', '"', '"k1', '"a"b', r'"a\n"', "\u00fc", "k" * 256, '"' + "k" * 256 + '"'])
def test_a_key_that_cannot_be_read_is_refused(sent: str) -> None:
    with pytest.raises(BadRequestError):
        options(("idempotency-key", sent))


def test_two_idempotency_keys_are_one_too_many() -> None:
    with pytest.raises(BadRequestError):
        options(("idempotency-key", "a"), ("idempotency-key", "b"))
