"""What the headers of a batch say."""

import pytest
from starlette.datastructures import Headers

from fanout.errors import BadRequestError
from service.ingress.options import BatchOptions, options_of


def options(*raw: tuple[str, str], hub: str = "chat") -> BatchOptions:
    return options_of(Headers(raw=[(n.encode(), v.encode()) for n, v in raw]), hub, "req")


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


def test_ids_start_with_the_request_id_without_a_key_and_with_the_keys_hash_with_one() -> None:
    assert options().origin == "req"
    keyed = options(("idempotency-key", "order 7"))
    assert keyed.key == "order 7"
    assert len(keyed.origin) == 16
    assert keyed.origin == options(("idempotency-key", "order 7")).origin
    assert keyed.origin != options(("idempotency-key", "order 7"), hub="other").origin


def test_two_idempotency_keys_are_one_too_many() -> None:
    with pytest.raises(BadRequestError):
        options(("idempotency-key", "a"), ("idempotency-key", "b"))
