"""A body of few members is read strictly, and each refusal says what there may be."""

import pytest

from fanout.errors import BadRequestError
from service.http.json_object import enumerated, object_of


def test_an_object_of_known_members_is_given_as_it_stands() -> None:
    assert object_of(b'{"b":[1],"a":null}', ("a", "b"), "an object") == {"a": None, "b": [1]}


@pytest.mark.parametrize(
    ("body", "text", "pointer"),
    [
        (b"{", "The body is not JSON", ""),
        (b"[]", "The body must be an object.", ""),
        (b'{"c~/":1}', "The body may have a and b, nothing else.", "/c~0~1"),
    ],
)
def test_anything_else_is_refused_with_its_place(body: bytes, text: str, pointer: str) -> None:
    with pytest.raises(BadRequestError, match=text) as refusal:
        object_of(body, ("a", "b"), "an object")
    assert refusal.value.pointer == pointer


def test_names_are_listed_as_people_do() -> None:
    assert enumerated(("a", "b", "c")) == "a, b and c"
