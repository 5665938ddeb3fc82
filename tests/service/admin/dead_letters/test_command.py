"""What a query and a body mean, and which letters match; what they may not contain is tested through the routes."""

from dataclasses import replace
from typing import Any

import pytest
from starlette.datastructures import QueryParams

from fanout.errors import BadRequestError
from fanout.queue.dead_letters import DeadLetter, DeathCause
from fanout.queue.entry import StoredEntry, encode
from service.admin.dead_letters.command import (
    LIST_LIMIT,
    MAX_LETTERS,
    REASONS,
    Command,
    Selection,
    entry_of,
    parse_command,
    parse_query,
    parse_selection,
    parse_time,
)
from service.admin.dead_letters.reference import Cursor, LetterRef, last_before
from tests.builders import an_entry


@pytest.mark.parametrize(
    ("query", "command"),
    [
        ("", Command(Selection(), LIST_LIMIT, Cursor())),
        ("hub=chat&limit=7", Command(Selection(hub="chat"), 7, Cursor())),
        ("before=2", Command(Selection(before=2000), LIST_LIMIT, Cursor(before=2000))),
        ("cursor=5-1.3.900", Command(Selection(), LIST_LIMIT, Cursor(LetterRef(5, 1, 3), 900))),
        ("endpoint=East", Command(Selection(endpoint="east"), LIST_LIMIT, Cursor())),
        ("endpoint=Default", Command(Selection(endpoint=""), LIST_LIMIT, Cursor())),
        ("to=a+b", Command(Selection(to="a b"), LIST_LIMIT, Cursor())),
        ("since=2", Command(Selection(since=2000), LIST_LIMIT, Cursor(last_before(2000)))),
        ("since=0.002&cursor=5-1.3.900", Command(Selection(since=2), LIST_LIMIT, Cursor(LetterRef(5, 1, 3), 900))),
        ("cursor=5-1.3.900&before=0.1", Command(Selection(before=100), LIST_LIMIT, Cursor(LetterRef(5, 1, 3), 100))),
        ("cursor=5-1.3.900&before=1", Command(Selection(before=1000), LIST_LIMIT, Cursor(LetterRef(5, 1, 3), 900))),
    ],
)
def test_a_query(query: str, command: Command) -> None:
    assert parse_query(QueryParams(query)) == command


@pytest.mark.parametrize(
    ("body", "command"),
    [
        (b'{"all":true}', Command(Selection(), MAX_LETTERS, Cursor())),
        (b' {"reason":"tooOld","limit":3}', Command(Selection(reason="tooOld"), 3, Cursor())),
        (b'{"before":1,"dryRun":true}', Command(Selection(before=1000), MAX_LETTERS, Cursor(before=1000), dry=True)),
        (b'{"all":false,"hub":"h"}', Command(Selection(hub="h"), MAX_LETTERS, Cursor())),
        (
            b'{"ids":["1:9-0","0:9-0","1:3-0","1:9-0"]}',
            Command(Selection(), MAX_LETTERS, Cursor(), (LetterRef(3, 0, 1), LetterRef(9, 0, 0), LetterRef(9, 0, 1))),
        ),
    ],
)
def test_a_body(body: bytes, command: Command) -> None:
    """Ids are taken once each, in the order in which they were parked."""
    assert parse_command(body) == command


def test_an_empty_body_is_told_what_it_may_say() -> None:
    for body in (b"", b"{}", b'{"dryRun":true}'):
        with pytest.raises(BadRequestError, match=r'Send \{"ids":\[\.\.\.\]\}, or some of hub'):
            parse_command(body)


def a_letter(reason: str = "refused", data: bytes | None = None) -> DeadLetter:
    entry = encode(an_entry(hub="chat", message_id="m1")) if data is None else data
    return DeadLetter(b"1-0", StoredEntry(b"1-0", entry), DeathCause(reason, 400, 1, "bad"), "uchat")


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
        (Selection(to="alice"), True),
        (Selection(to="bob", hub="chat"), False),
        (Selection("chat", "tooOld", "m1"), False),
        (Selection("news", "refused", "m1"), False),
    ],
)
def test_all_that_is_asked_has_to_fit(selection: Selection, *, fits: bool) -> None:
    assert selection.matches(a_letter()) is fits


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x94\x02\xa1h\xa1m\x93\xa1m\xa0\xa0"])
def test_an_entry_nobody_can_read_fits_no_question_about_it(data: bytes) -> None:
    letter = a_letter("unreadable", data)
    assert entry_of(letter) is None
    assert Selection(reason="unreadable").matches(letter)
    assert not Selection(hub="chat").matches(letter)
    assert not Selection(message_id="m1").matches(letter)


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
    assert parse_time(value) == millisecond


@pytest.mark.parametrize(
    "value",
    [
        -1, 10**12, 1e300, float("nan"), float("inf"), 10**400, True, None, [], {}, "", "soon", "-1", "1e3", "1_0",
        " 1", "1969-12-31", "0001-01-01T00:00+23:59", "2026-13-01", "\u0661",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(BadRequestError, match="before must be") as caught:
        parse_time(value)
    assert caught.value.pointer == "/before"


@pytest.mark.parametrize(("endpoint", "own", "fits"), [("east", "east", True), ("east", "", False), ("", "", True)])
def test_a_letter_is_for_the_endpoint_of_its_lane(endpoint: str, own: str, *, fits: bool) -> None:
    letter = replace(a_letter(), flow="uchat@east" if own else "uchat")
    assert Selection(endpoint=endpoint).matches(letter) is fits
    assert not Selection(endpoint=endpoint).empty


@pytest.mark.parametrize("name", ["east@west", "-east", "e" * 51, "", 3])
def test_what_can_be_the_name_of_no_endpoint_is_refused(name: Any) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_selection({"endpoint": name})
    assert caught.value.pointer == "/endpoint"


def test_every_reason_there_is_may_be_asked_for_and_no_other() -> None:
    for reason in REASONS:
        assert parse_selection({"reason": reason}) == Selection(reason=reason)
    with pytest.raises(BadRequestError, match="tooManyAttempts"):
        parse_selection({"reason": "TooOld"})


def test_a_hub_is_told_in_lower_case() -> None:
    assert parse_selection({"hub": "Chat", "messageId": "M"}) == Selection(hub="chat", message_id="M")
    assert parse_selection({}).empty
    with pytest.raises(BadRequestError) as caught:
        parse_selection({"hub": "1st"})
    assert (caught.value.label, caught.value.pointer) == ("invalidHub", "/hub")
