"""The judge is judged: each kind of harm is planted into a good run and has to be found, and nothing else with it."""

from dataclasses import replace

import pytest

from tests.flow.oracle import Call, Findings, Sent, examine, mark, mark_in, sent_target

PATH = "/api/hubs/h/users/alice/:send"


def _sent(count: int, lanes: int = 2) -> list[Sent]:
    return [
        Sent(f"lane {n % lanes}", "POST", sent_target(PATH), b'{"target":"t","arguments":["%s"]}' % mark(n).encode())
        for n in range(count)
    ]


def _call(sent: Sent, at: float, **changes: object) -> Call:
    whole = Call(int(at), at, at + 0.5, sent.method, sent.target, sent.body, status=202, delivered=True)
    return replace(whole, **changes)  # type: ignore[arg-type] # the names are the fields'


def _good_run(sent: list[Sent]) -> list[Call]:
    return [_call(each, float(at)) for at, each in enumerate(sent)]


SENT = _sent(6)
GOOD = _good_run(SENT)


def test_a_good_run_is_good() -> None:
    found = examine(SENT, GOOD)
    assert found == Findings()
    found.check()


def test_lanes_may_overtake_each_other() -> None:
    swapped = [GOOD[1], GOOD[0], *GOOD[2:]]
    calls = [replace(call, arrived=float(at), answered=at + 0.5) for at, call in enumerate(swapped)]
    examine(SENT, calls).check()


def test_a_loss_is_found() -> None:
    found = examine(SENT, GOOD[:-1])
    assert found == Findings(lost=[mark(5)])
    with pytest.raises(AssertionError, match="1 lost"):
        found.check()


def test_a_loss_in_the_middle_of_a_lane_is_a_loss_and_an_inversion() -> None:
    found = examine(SENT, [call for call in GOOD if call.mark != mark(2)])
    assert found.lost == [mark(2)]
    assert found.inverted == [(mark(4), mark(2))]


def test_what_was_tried_and_refused_is_lost() -> None:
    found = examine(SENT, [*GOOD[:-1], replace(GOOD[-1], status=503, delivered=False)])
    assert found == Findings(lost=[mark(5)])


def test_an_inversion_within_a_lane_is_found() -> None:
    early = replace(GOOD[4], arrived=1.9, answered=1.95)
    late = replace(GOOD[2], arrived=4.0, answered=4.5)
    found = examine(SENT, [*GOOD[:2], early, GOOD[3], late, GOOD[5]])
    assert found == Findings(inverted=[(mark(4), mark(2))])
    with pytest.raises(AssertionError, match="1 out of order"):
        found.check()


def test_a_call_made_before_the_one_ahead_was_answered_is_an_inversion() -> None:
    found = examine(SENT, [*GOOD[:4], replace(GOOD[4], arrived=2.4), GOOD[5]])
    assert found == Findings(inverted=[(mark(4), mark(2))])


def test_a_refused_try_that_overtakes_is_an_inversion() -> None:
    hasty = replace(GOOD[4], arrived=1.9, answered=1.95, status=503, delivered=False)
    assert examine(SENT, [*GOOD[:2], hasty, *GOOD[2:]]).inverted == [(mark(4), mark(2))]


@pytest.mark.parametrize(
    "change",
    [
        {"body": SENT[3].body.replace(b'"t"', b'"T"')},
        {"body": SENT[3].body.replace(b",", b", ")},
        {"target": SENT[3].target.replace("alice", "bob")},
        {"target": SENT[3].target + "&excluded=x"},
        {"method": "PUT"},
    ],
)
def test_a_change_on_the_way_is_found(change: dict[str, object]) -> None:
    broken = replace(GOOD[3], **change)  # type: ignore[arg-type] # the names are the fields'
    found = examine(SENT, [*GOOD[:3], broken, *GOOD[4:]])
    assert found == Findings(corrupt=[broken])
    with pytest.raises(AssertionError, match="1 changed"):
        found.check()


@pytest.mark.parametrize("body", [b'{"target":"t"}', b'{"target":"t","arguments":["id-77-"]}'])
def test_a_stranger_is_found(body: bytes) -> None:
    stranger = replace(GOOD[0], body=body, arrived=9.0)
    found = examine(SENT, [*GOOD, stranger])
    assert found == Findings(foreign=[stranger])
    with pytest.raises(AssertionError, match="1 not sent"):
        found.check()


def test_repeats_are_counted_and_allowed_up_to_a_number() -> None:
    found = examine(SENT, [*GOOD, _call(SENT[5], 7.0), _call(SENT[5], 8.0), _call(SENT[4], 9.0)])
    assert found == Findings(repeats=found.repeats)
    assert found.repeats == {mark(5): 2, mark(4): 1}
    found.check(most_duplicates=3)
    with pytest.raises(AssertionError, match="3 duplicates"):
        found.check(most_duplicates=2)


def test_a_call_that_was_cut_before_its_body_says_nothing() -> None:
    cut = replace(GOOD[0], body=b"", status=None, delivered=False, arrived=0.0)
    examine(SENT, [cut, *GOOD]).check()


def test_what_expired_or_died_is_no_loss_and_holds_nobody_up() -> None:
    gone = {mark(2)}
    without = [call for call in GOOD if call.mark not in gone]
    examine(SENT, without, gone=gone).check()
    assert examine(SENT, without[:-1], gone=gone).lost == [mark(5)]


def test_what_left_another_way_does_not_hide_an_inversion_around_it() -> None:
    """Lane 0 is 0, 2, 4; with 2 gone, 4 still has to wait for 0."""
    early = replace(GOOD[4], arrived=-1.0, answered=-0.5)
    found = examine(SENT, [early, GOOD[0], GOOD[1], GOOD[3], GOOD[5]], gone={mark(2)})
    assert found == Findings(inverted=[(mark(4), mark(0))])


def test_what_might_have_left_another_way_and_was_delivered_keeps_its_place() -> None:
    late = replace(GOOD[2], arrived=9.0, answered=9.5)
    assert examine(SENT, [*GOOD[:2], *GOOD[3:], late], gone={mark(2)}).inverted == [(mark(4), mark(2))]


def test_what_the_store_lost_may_be_missing_or_late_and_nothing_else_may() -> None:
    lost = {mark(2)}
    late = replace(GOOD[2], arrived=9.0, answered=9.5)
    examine(SENT, [*GOOD[:2], *GOOD[3:], late], forgotten=lost).check()
    examine(SENT, [*GOOD[:2], *GOOD[3:]], forgotten=lost).check()
    early = replace(GOOD[4], arrived=-1.0, answered=-0.5)
    assert examine(SENT, [early, *GOOD[:4], GOOD[5]], forgotten=lost).inverted == [(mark(4), mark(0))]


def test_the_mark_of_a_message_or_of_an_entry_is_found() -> None:
    assert mark_in(b"\x80\xff\x00" + SENT[3].body) == mark(3)
    assert mark_in(b"nothing") is None
