"""What a caller may do on which hub: every right against every kind of caller, and what patterns stand for."""

import pytest

from fanout.errors import ForbiddenError, UnauthorizedError
from service.callers.caller import ALL_HUBS, EVERY_HUB, Caller, Right, hubs_of, matches, refusal_of, rights_of

UNKNOWN = Caller("unknown", refusal="Send a key.", code="wrongKey")
CASES = [(right, held) for right in Right for held in Right]


@pytest.mark.parametrize(("right", "held"), CASES)
def test_a_right_holds_for_itself_on_its_own_hubs(right: Right, held: Right) -> None:
    caller = Caller("orders", rights_of([held]), hubs_of(["Chat-*", "news"]))
    has = right is held or (held is Right.ADMIN and right is Right.READ)
    for hub, inside in (("", True), ("chat-1", True), ("CHAT-", True), ("news", True), ("chat", False), ("*", False)):
        refusal = refusal_of(caller, right, hub)
        assert (refusal is None) == (has and inside), hub
        if refusal is None:
            caller.require(right, hub)
            continue
        assert isinstance(refusal, ForbiddenError)
        assert right.value in str(refusal)
        assert hub.lower() in str(refusal) or hub == EVERY_HUB
        with pytest.raises(ForbiddenError):
            caller.require(right, hub)


@pytest.mark.parametrize("right", list(Right))
@pytest.mark.parametrize("hub", ["", "chat", EVERY_HUB])
def test_who_is_unknown_is_told_how_to_become_known_whatever_was_asked(right: Right, hub: str) -> None:
    with pytest.raises(UnauthorizedError, match=r"Send a key\.") as refusal:
        UNKNOWN.require(right, hub)
    assert refusal.value.label == "wrongKey"


def test_all_hubs_include_what_concerns_all_of_them() -> None:
    Caller("operator", rights_of(["admin"])).require(Right.READ, EVERY_HUB)
    assert hubs_of(["chat", "*"]) is ALL_HUBS


def test_a_right_holds_everywhere_only_when_no_hub_is_left_out() -> None:
    assert Caller("orders", rights_of(["send"])).everywhere == {Right.SEND}
    some, granted = Caller("some", rights_of(["send"]), ("chat",)), {Right.SEND: ("chat",)}
    for caller in (some, Caller("granted", rights_of(["send"]), (), grants=granted), UNKNOWN):
        assert not caller.everywhere


@pytest.mark.parametrize(
    ("pattern", "hub", "does"),
    [
        ("chat", "chat", True), ("chat", "chats", False), ("chat*", "chat", True), ("*chat", "mychat", True),
        ("a*a", "a", False), ("a*a", "aa", True), ("a*a", "aba", True), ("a*a", "ab", False), ("[a]*", "a1", False),
        ("*", EVERY_HUB, True), ("chat*", EVERY_HUB, False),
    ],
)  # fmt: skip
def test_a_pattern_has_one_star_and_nothing_else_that_is_special(pattern: str, hub: str, *, does: bool) -> None:
    assert matches(pattern, hub) is does


@pytest.mark.parametrize("patterns", [[], ["a**"], ["*a*"], [""], ["a" * 129], ["a\n"], [f"h{n}" for n in range(65)]])
def test_a_pattern_that_could_surprise_is_refused(patterns: list[str]) -> None:
    with pytest.raises(ValueError, match="hub"):
        hubs_of(patterns)


@pytest.mark.parametrize("names", [[], ["send", "all"], ["SEND"]])
def test_a_misspelt_right_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"right|Right"):
        rights_of(names)
