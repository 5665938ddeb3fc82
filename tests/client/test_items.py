"""An address is always said, and an empty one is an error where it is written."""

from collections.abc import Callable
from typing import Any

import pytest
from signalr_fanout import CloseConnections, GroupAction, Message


@pytest.mark.parametrize(
    "make",
    [
        lambda: Message.to_user("", "m"),
        lambda: Message.to_group("", "m"),
        lambda: Message.to_connection("", "m"),
        lambda: Message.to_user(["a", ""], "m"),
        lambda: Message.to_user([], "m"),
        lambda: Message.to_all(""),
        lambda: GroupAction.add("", user_id="u"),
        lambda: GroupAction.add("g", user_id=""),
        lambda: GroupAction.add("g", connection_id=""),
        lambda: GroupAction.add("g"),
        lambda: GroupAction.add("g", user_id="u", connection_id="c"),
        GroupAction.remove_all,
        lambda: CloseConnections.of_user(""),
    ],
)
def test_an_address_that_says_nothing_is_an_error(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"must not be empty|is empty|Name either"):
        make()


@pytest.mark.parametrize("user_id", [None, 7, b"alice"])
def test_an_address_that_is_not_text_is_an_error(user_id: Any) -> None:
    with pytest.raises(TypeError):
        Message.to_user(user_id, "m")


def test_one_excluded_connection_may_be_given_as_text() -> None:
    assert Message.to_all("m", excluded="c").document()["excluded"] == ["c"]
    assert "excluded" not in Message.to_all("m").document()


def test_a_reason_goes_along_when_there_is_one() -> None:
    assert CloseConnections.of_user("u", reason="signed out").document() == {
        "userId": "u",
        "action": "closeConnection",
        "reason": "signed out",
    }
    assert "reason" not in CloseConnections.of_group("g").document()
