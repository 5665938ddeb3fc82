"""Names the service cannot carry are refused before anything is queued."""

import pytest

from fanout.binding.names import MAX_URI, check_application, check_hub, check_id, check_uri, is_plain_name, problem_of
from fanout.errors import BadRequestError
from fanout.signalr.credentials import MAX_TOKEN_LENGTH, rest_token
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from fanout.signalr.routes import route_of

IDS = (Scope.USER, Scope.GROUP, Scope.CONNECTION)


@pytest.mark.parametrize("name", ["chat", "A", "a1_`,.[]", "Z" + "z" * 127])
def test_a_hub_name_is_given_back_in_lower_case(name: str) -> None:
    assert check_hub(name) == name.lower()
    assert check_application(name) == name.lower()


@pytest.mark.parametrize(
    "name", ["", "1a", "_a", "a-b", "a b", "a/b", "é", "aé", "a\n", "a\0", ".", "a" * 129, "\u017f"]
)
def test_a_hub_name_outside_the_pattern_is_refused(name: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        check_hub(name)
    assert caught.value.label == "invalidHub"
    with pytest.raises(BadRequestError) as caught:
        check_application(name)
    assert caught.value.label == "invalidApplication"


@pytest.mark.parametrize("scope", IDS)
@pytest.mark.parametrize("name", ["a", "a/b", "...", ".a", "%2e", "é", "a b", "a\tb", "😀", "x" * 1024, " x", "0"])
def test_ids_that_a_path_segment_can_carry_are_accepted(scope: Scope, name: str) -> None:
    assert check_id(scope, name) == name


@pytest.mark.parametrize("scope", IDS)
@pytest.mark.parametrize("name", ["", ".", "..", "\0", "a\0b", "\ud800", "a\udfffb"])
def test_ids_that_no_path_can_carry_are_refused(scope: Scope, name: str) -> None:
    assert problem_of(scope, name)


@pytest.mark.parametrize("scope", [Scope.USER, Scope.GROUP])
def test_length_is_counted_in_utf16_units_as_the_service_does(scope: Scope) -> None:
    assert problem_of(scope, "😀" * 512) == ""
    assert "1026" in problem_of(scope, "😀" * 513)
    assert problem_of(scope, "x" * 1025)


@pytest.mark.parametrize("name", [" ", "\t ", "\u3000", "a\nb"])
def test_a_group_name_is_more_than_white_space_and_one_line(name: str) -> None:
    assert problem_of(Scope.GROUP, name)
    assert problem_of(Scope.USER, name) == ""


@pytest.mark.parametrize(
    ("scope", "code"),
    [(Scope.USER, "invalidUserId"), (Scope.GROUP, "invalidGroupName"), (Scope.CONNECTION, "invalidConnectionId")],
)
def test_a_refused_id_says_its_kind_and_place(scope: Scope, code: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        check_id(scope, "..", "/userIds/7")
    assert (caught.value.label, caught.value.pointer) == (code, "/userIds/7")


@pytest.mark.parametrize(
    "item",
    [
        Message(Scope.CONNECTION, "c" * 900, b"{}"),
        Message(Scope.CONNECTION, "c" * 2_300, b"{}"),
        Message(Scope.USER, "x" * 1024, b"{}"),
        Message(Scope.GROUP, "\u20ac" * 250, b"{}"),
        Message(Scope.BROADCAST, "", b"{}", excluded=("c" * 40,) * 200),
        GroupAction(Verb.ADD, Scope.USER, "u" * 1024, "g" * 1024),
        CloseConnections(Scope.USER, "u", "r" * 1000),
    ],
)
def test_a_uri_within_12_k_is_accepted(item: Item) -> None:
    check_uri(item)


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (Message(Scope.BROADCAST, "", b"{}", excluded=("c" * 40,) * 300), "uriTooLong"),
        (CloseConnections(Scope.USER, "u", "r" * MAX_URI), "uriTooLong"),
        (Message(Scope.CONNECTION, "c" * 2_400, b"{}"), "namesTooLong"),
        (Message(Scope.USER, "\u20ac" * 300, b"{}"), "namesTooLong"),
        (Message(Scope.GROUP, "😀" * 200, b"{}"), "namesTooLong"),
        (GroupAction(Verb.ADD, Scope.USER, "é" * 300, "é" * 300), "namesTooLong"),
    ],
)
def test_a_call_that_could_not_be_delivered_is_refused(item: Item, code: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        check_uri(item)
    assert caught.value.label == code


def longest_token(item: Item) -> int:
    """Return the length of the access token of a call to the longest hub on the longest host."""
    path = route_of("[" * 128, item).path
    return len(rest_token("key", f"https://{'h' * 253}:65535{path}", 2_000_000_000))


def test_what_is_accepted_has_a_token_within_4_kb_and_not_much_is_refused_beside_it() -> None:
    def action(length: int) -> GroupAction:
        return GroupAction(Verb.ADD, Scope.CONNECTION, "c" * length, "g" * 1024)

    longest = max(length for length in range(1, 2_000) if fits(action(length)))
    assert longest_token(action(longest)) <= MAX_TOKEN_LENGTH < longest_token(action(longest + 10))


def fits(item: Item) -> bool:
    try:
        check_uri(item)
    except BadRequestError:
        return False
    return True


@pytest.mark.parametrize("name", ["\u20ac" * 512, "/" * 512, "\u20ac" * 190])
def test_a_name_that_takes_a_long_token_is_no_plain_one(name: str) -> None:
    assert not is_plain_name(name)
