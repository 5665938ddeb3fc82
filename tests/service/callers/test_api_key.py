"""How keys are written down and read, and what is refused."""

import re
from typing import Any

import msgspec
import pytest

from service.callers.caller import ALL_HUBS, ApiKey, Caller, Right, digest_of, id_in, parse_key, parse_keys, secret_of

SECRET = secret_of("0123456789ab", "a_secret-of-the_tests")


def a_key(**fields: Any) -> ApiKey:
    usual: dict[str, Any] = {
        "id": "0123456789ab", "name": "orders", "sha256": digest_of(SECRET.encode()).hex(), "rights": ("send",),
        "hubs": ("chat_*",), "created": 1.0,
    }  # fmt: skip
    return ApiKey(**(usual | fields))


def test_what_is_written_down_is_read_again_and_does_not_hold_the_key() -> None:
    key = a_key()
    assert parse_key(key.text) == key
    assert key.is_of(digest_of(SECRET.encode()))
    assert not key.is_of(digest_of(SECRET.encode()[:-1]))
    assert "secret" not in key.text.decode()
    assert key.caller == Caller("orders", frozenset({Right.SEND}), ("chat_*",))
    assert a_key(hubs=("*",)).caller.hubs is ALL_HUBS


def test_the_id_in_a_key_is_found_and_nothing_else_is_taken_for_one() -> None:
    assert id_in(SECRET) == "0123456789ab"
    for text in (
        "",
        "fanout",
        "fanout_0123456789ab",
        "fanout_0123456789ab_",
        "fanout_0123456789AB_x",
        "a.b.c",
        "x_y_z",
    ):
        assert id_in(text) == ""


def test_a_key_counts_until_it_expires() -> None:
    assert [a_key(expires=10.0).has_expired(now) for now in (9.9, 10.0)] == [False, True]
    assert not a_key().has_expired(1e12)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"\xff", b"[]", b"x" * 100,
        *(
            a_key(**wrong).text
            for wrong in (
                {"rights": ()}, {"rights": ("all",)}, {"hubs": ()}, {"hubs": ("**",)}, {"name": ""}, {"name": "a b"},
                {"id": "1"}, {"sha256": "00"}, {"hubs": ("chat", "a-*")},
            )
        ),
        msgspec.json.encode({**msgspec.to_builtins(a_key()), "more": 1}),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_used_is_refused_without_being_shown(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        parse_key(text)
    assert a_key().sha256 not in str(refusal.value)


def test_a_file_has_one_key_a_line_and_an_error_names_the_line() -> None:
    line = a_key().text
    assert parse_keys(b"# the keys\n\n" + line + b"\n") == {"0123456789ab": a_key()}
    for content, text in ((line + b"\n" + line, "line 2: the id 0123456789ab stands twice"), (b"\nx", "line 2: it is")):
        with pytest.raises(ValueError, match=re.escape(text)):
            parse_keys(content)
