"""The judge of a soak is judged: what is planted in a run it finds, and what has a reason it lets pass."""

import pytest

from tests.flow.oracle import Call, Sent, mark, sent_target
from tests.soak.judge import ANSWER, UNEXPLAINED, Stretch, Verdict
from tests.soak.troubles import Event

KILLED = Event("worker killed", 5.0, 6.0, 1)


def sent(number: int, lane: str = "users a") -> Sent:
    body = b'{"target":"t","arguments":["%b"]}' % mark(number).encode()
    return Sent(lane, "POST", sent_target("/api/hubs/h/users/a/:send"), body)


def call(number: int, at: float, *, status: int | None = 202, delivered: bool = True) -> Call:
    one = sent(number)
    return Call(int(at * 10), at, at + 0.01, one.method, one.target, one.body, status, delivered)


def judged(calls: list[Call], *events: Event, items: int = 2) -> Verdict:
    stretch = Stretch([sent(number) for number in range(items)], closed=True)
    for each in calls:
        stretch.take(each)
    verdict = Verdict()
    verdict.add("h", stretch, events)
    verdict.close(events)
    return verdict


def test_a_run_without_a_fault_holds() -> None:
    verdict = judged([call(0, 1), call(1, 2)])
    assert (verdict.accepted, verdict.delivered, verdict.wrong, verdict.repeats.total()) == (2, 2, [], 0)


@pytest.mark.parametrize(
    ("calls", "word"),
    [
        ([call(0, 1)], "lost"),
        ([call(0, 1), call(1, 2), call(7, 3)], "not sent by anybody"),
        ([call(1, 1), call(0, 2)], "out of order"),
        ([call(0, 1), call(1, 2, delivered=False)], "lost"),
        ([call(0, 1), call(1, 2), call(1, 3)], "for no reason"),
    ],
)
def test_what_is_planted_is_found(calls: list[Call], word: str) -> None:
    assert word in " ".join(judged(calls).wrong)


def test_a_changed_body_is_found() -> None:
    spoiled = Call(1, 1.0, 1.1, "POST", sent(0).target, sent(0).body + b" ", 202, delivered=True)
    assert "changed on the way" in " ".join(judged([spoiled], items=1).wrong)


@pytest.mark.parametrize("status", [500, None])
def test_a_lost_answer_is_a_reason_to_repeat(status: int | None) -> None:
    verdict = judged([call(0, 1, status=status), call(0, 2), call(1, 3)])
    assert (verdict.wrong, verdict.repeats) == ([], {ANSWER: 1})


def test_a_kill_between_two_calls_is_a_reason_and_one_elsewhere_is_none() -> None:
    assert judged([call(0, 4.9), call(0, 7), call(1, 8)], KILLED).repeats == {KILLED.name: 1}
    assert judged([call(0, 1), call(0, 2), call(1, 3)], KILLED).repeats == {UNEXPLAINED: 1}


def test_a_kill_explains_no_more_repeats_than_were_in_flight() -> None:
    verdict = judged([call(0, 4.8), call(1, 4.9), call(0, 7), call(1, 8)], KILLED)
    assert verdict.wrong == ["worker killed: 2 repeats, 1 may be in flight"]


def test_a_stretch_is_whole_when_all_of_it_has_arrived_and_no_more_is_sent() -> None:
    stretch = Stretch([sent(0)])
    stretch.take(call(0, 1))
    assert not stretch.whole
    stretch.closed = True
    assert stretch.whole
