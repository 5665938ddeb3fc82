"""Which letters fit, and which words about them are understood."""

from typing import Any

import pytest

from fanout.errors import BadRequestError
from fanout.queue.dead_letters import DeadLetter, DeathCause
from fanout.queue.entry import StoredEntry, encode
from service.admin.dead_letters.selection import REASONS, Selection, entry_of, millisecond_of, selection_of
from tests.builders import an_entry


def a_dead(reason: str = "refused", data: bytes | None = None) -> DeadLetter:
    entry = encode(an_entry(hub="chat", message_id="m1")) if data is None else data
    return DeadLetter(b"1-0", StoredEntry(b"1-0", entry), DeathCause(reason, 400, 1, "bad"))


@pytest.mark.parametrize(
    ("selection", "fits"),
    [
        (Selection(), True),
        (Selection(hub="chat"), True),
        (Selection(hub="news"), False),
        (Selection(reason="refused"), True),
        (Selection(reason="tooOld"), False),
        (Selection(message_id="m1"), True),
        (Selection(message_id="m2"), False),
        (Selection("chat", "refused", "m1"), True),
        (Selection("chat", "tooOld", "m1"), False),
        (Selection("news", "refused", "m1"), False),
    ],
)
def test_all_that_is_asked_has_to_fit(selection: Selection, *, fits: bool) -> None:
    assert selection.takes(a_dead()) is fits


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x94\x02\xa1h\xa1m\x93\xa1m\xa0\xa0"])
def test_an_entry_nobody_can_read_fits_no_question_about_it(data: bytes) -> None:
    letter = a_dead("unreadable", data)
    assert entry_of(letter) is None
    assert Selection(reason="unreadable").takes(letter)
    assert not Selection(hub="chat").takes(letter)
    assert not Selection(message_id="m1").takes(letter)


@pytest.mark.parametrize(
    ("value", "millisecond"),
    [
        (0, 0),
        (1, 1000),
        (1795388238.627, 1795388238627),
        (1795388238.6271, 1795388238628),
        ("1795388238.627", 1795388238627),
        ("2026-11-22T22:57:18.627Z", 1795388238627),
        ("2026-11-22T22:57:18.627001Z", 1795388238628),
        ("2026-11-23T00:57:18.627+02:00", 1795388238627),
        ("2026-11-22T22:57:18", 1795388238000),
        ("2026-11-22", 1795305600000),
    ],
)
def test_a_time_is_read_to_the_millisecond(value: Any, millisecond: int) -> None:
    assert millisecond_of(value) == millisecond


@pytest.mark.parametrize(
    "value",
    [
        -1, 10**12, 1e300, float("nan"), float("inf"), 10**400, True, None, [], {}, "", "soon", "-1", "1e3", "1_0",
        " 1", "1969-12-31", "0001-01-01T00:00+23:59", "2026-13-01", "\u0661",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(BadRequestError, match="before must be") as caught:
        millisecond_of(value)
    assert caught.value.pointer == "/before"


def test_every_reason_there_is_may_be_asked_for_and_no_other() -> None:
    for reason in REASONS:
        assert selection_of({"reason": reason}) == Selection(reason=reason)
    with pytest.raises(BadRequestError, match="tooManyAttempts"):
        selection_of({"reason": "TooOld"})


def test_a_hub_is_told_in_lower_case() -> None:
    assert selection_of({"hub": "Chat", "messageId": "M"}) == Selection(hub="chat", message_id="M")
    assert selection_of({}).empty
    with pytest.raises(BadRequestError) as caught:
        selection_of({"hub": "1st"})
    assert (caught.value.label, caught.value.pointer) == ("invalidHub", "/hub")
