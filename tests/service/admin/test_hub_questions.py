"""Questions to several endpoints: a list walks them in their order, and no is the answer only when all say so."""

import pytest

from fanout.errors import BadRequestError
from service.admin.hubs.questions import cursor_after, existence_in, place_of_cursor
from service.compat.questions import Answer, ServiceUnavailableError

KEYS = ("", "east", "west")
YES, NO, REFUSED = (Answer(status, {}, b"") for status in (200, 404, 403))
AWAY = ServiceUnavailableError("It is away.")


def test_a_list_goes_through_each_endpoint_to_its_end() -> None:
    assert place_of_cursor("", KEYS) == ("", "")
    for key, token, cursor in (("", "t:1", "default:t:1"), ("", None, "east:"), ("east", "t2", "east:t2")):
        assert cursor_after(key, token, KEYS) == cursor
        assert place_of_cursor(cursor, KEYS) == ((key, token) if token else ("east", ""))
    assert cursor_after("west", None, KEYS) is None


def test_the_cursor_of_one_endpoint_is_that_of_the_service() -> None:
    assert cursor_after("east", "a:b", ["east"]) == "a:b"
    assert place_of_cursor("a:b", ["east"]) == ("east", "a:b")


@pytest.mark.parametrize("cursor", ["t", "north:t", ":", "East :t"])
def test_a_cursor_that_names_no_endpoint_is_refused(cursor: str) -> None:
    with pytest.raises(BadRequestError, match="next"):
        place_of_cursor(cursor, KEYS)


def test_any_yes_is_a_yes_and_who_did_not_answer_is_named() -> None:
    found = existence_in({"": NO, "east": YES, "west": AWAY})
    assert (found.exists, found.endpoints, found.unanswered) == (True, ["east"], ["west"])
    assert not existence_in({"": NO, "east": NO}).exists


def test_no_is_not_the_answer_while_one_is_silent() -> None:
    with pytest.raises(ServiceUnavailableError) as raised:
        existence_in({"": NO, "east": REFUSED, "west": AWAY})
    assert str(raised.value) == "east: The SignalR service answered the question with 403. west: It is away."
    with pytest.raises(ServiceUnavailableError, match=r"^It is away"):
        existence_in({"east": AWAY})
