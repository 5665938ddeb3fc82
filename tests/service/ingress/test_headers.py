"""What the headers of a request ask for its batch."""

import pytest
from starlette.datastructures import Headers

from fanout.errors import BadRequestError
from service.ingress.headers import options_of
from service.ingress.intake import BatchOptions


def options(*raw: tuple[str, str]) -> BatchOptions:
    return options_of(Headers(raw=[(n.encode(), v.encode()) for n, v in raw]), "req")


@pytest.mark.parametrize(
    ("prefers", "lenient"),
    [
        ([], False),
        (["handling=lenient"], True),
        (["Handling = Lenient"], True),
        (['handling="lenient"'], True),
        (["handling=lenient; x=1"], True),
        (["return=minimal, handling=lenient"], True),
        (["wait=10", "handling=lenient"], True),
        (["handling=strict"], False),
        (["handling=strict, handling=lenient"], False),
        (["lenient"], False),
        (["handling"], False),
        (["x; handling=lenient"], False),
    ],
)
def test_the_first_handling_preference_counts(prefers: list[str], *, lenient: bool) -> None:
    assert options(*(("prefer", p) for p in prefers)).lenient is lenient


def test_the_key_is_taken_as_it_was_sent() -> None:
    assert options().key is None
    assert options(("idempotency-key", "order 7")) == BatchOptions("req", key="order 7")


def test_two_idempotency_keys_are_one_too_many() -> None:
    with pytest.raises(BadRequestError):
        options(("idempotency-key", "a"), ("idempotency-key", "b"))
