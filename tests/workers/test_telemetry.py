"""What is counted and logged of a call."""

import json
from math import inf
from typing import cast

import pytest

from fanout.instruments import DeliveryLog
from fanout.metrics import DEAD_REASONS, Metrics
from fanout.queue.dead_letters import DeathCause
from fanout.queue.traces import TraceEvent, Traces
from fanout.signalr.message import OPERATIONS, RouteClass
from fanout.signalr.outcome import Answered
from tests.builders import a_join, an_entry
from tests.fakes import FakeClock
from tests.workers.helpers import Lines, a_partition, buffered_in
from workers.limit import Found
from workers.partition import StoreClock
from workers.slowdown import Slowdown
from workers.telemetry import Telemetry
from workers.verdicts import TABLE, Again, Attempt, Dead, Delivered, Gone

NOW = FakeClock().monotonic()


def a_telemetry() -> tuple[Telemetry, Metrics, Lines]:
    metrics, lines = Metrics(), Lines()
    return Telemetry(metrics, lines.log, FakeClock(), StoreClock()), metrics, lines


def test_a_delivered_entry_is_counted_by_operation_and_gets_its_line() -> None:
    telemetry, metrics, lines = a_telemetry()
    buffered = buffered_in(a_partition(), 1, entry=an_entry(a_join(), message_id="m-7"))
    telemetry.ended([buffered], "delivered")
    telemetry.settled([buffered], "delivered", Answered(200), attempts=2, took=0.5, certain=True)
    assert metrics.delivered["addUser"].value == 1
    [line] = lines.of("delivery.settled")
    assert (line["id"], line["end"], line["status"], line["attempts"]) == ("m-7", "delivered", 200, 2)


def test_an_entry_whose_recipient_is_gone_is_counted_logged_and_traced_as_such() -> None:
    telemetry, metrics, lines = a_telemetry()
    buffered = buffered_in(a_partition(), 1, entry=an_entry(a_join()))
    telemetry.ended([buffered], "gone")
    telemetry.judged([buffered], Attempt(1, 0.0, 0.0), Answered(404), Gone())
    telemetry.settled([buffered], "gone", Answered(404), attempts=1, took=0.5, certain=True)
    assert (metrics.gone["addUser"].value, metrics.delivered["addUser"].value) == (1, 0)
    assert [(line["end"], line["status"]) for line in lines.of("delivery.settled")] == [("gone", 404)]
    tracing, notes = traced()
    tracing.judged([buffered], Attempt(1, 0.0, 0.0), Answered(404), Gone())
    assert [event.detail["verdict"] for _, event in notes.events] == ["gone"]


def test_every_end_is_counted_for_its_hub_where_hubs_are_named() -> None:
    metrics, lines = Metrics(["chat"]), Lines()
    telemetry = Telemetry(metrics, lines.log, FakeClock(), StoreClock())
    ours, theirs = (buffered_in(a_partition(), 1, entry=an_entry(hub=hub)) for hub in ("chat", "games"))
    for buffered in (ours, ours, theirs):
        telemetry.ended([buffered], "delivered")
        telemetry.settled([buffered], "delivered", Answered(202), attempts=1, took=0.1, certain=True)
    telemetry.expired(ours, 0)
    telemetry.superseded(ours)
    telemetry.parked(ours, DeathCause(reason="tooOld", status=0, attempts=1, detail=""))
    read = metrics.registry.get_sample_value
    assert [read("fanout_hub_settled_total", {"hub": hub}) for hub in ("chat", "other")] == [4, 1]
    assert [read("fanout_hub_dead_total", {"hub": hub}) for hub in ("chat", "other")] == [1, 0]
    assert [read("fanout_hub_delivery_seconds_count", {"hub": hub}) for hub in ("chat", "other")] == [2, 1]


def test_a_delivery_whose_settlement_is_uncertain_says_so() -> None:
    telemetry, _metrics, lines = a_telemetry()
    telemetry.settled([buffered_in(a_partition(), 1)], "delivered", Answered(202), attempts=1, took=0.1, certain=False)
    assert lines.of("delivery.settled")[0]["end"] == "delivered, not settled"


def test_an_attempt_that_did_not_deliver_is_counted_by_failure_and_gets_a_line() -> None:
    telemetry, metrics, lines = a_telemetry()
    buffered = buffered_in(a_partition(), 1)
    telemetry.judged([buffered], Attempt(3, 0.0, 0.0), Answered(503), Again(1.5, "unavailable"))
    assert metrics.failures["unavailable"].value == 1
    [line] = lines.of("delivery.attempt")
    assert (line["attempt"], line["status"], line["again_in"], line["detail"]) == (3, 503, 1.5, "status 503")


def test_an_attempt_that_delivered_leaves_its_line_to_the_settlement() -> None:
    telemetry, _metrics, lines = a_telemetry()
    telemetry.judged([buffered_in(a_partition(), 1)], Attempt(1, 0.0, 0.0), Answered(202), Delivered())
    assert lines.lines == []


def test_the_first_call_tells_how_long_an_entry_waited_and_later_ones_are_retries() -> None:
    telemetry, metrics, _lines = a_telemetry()
    buffered = buffered_in(a_partition(), 1)
    telemetry.began([buffered], 1, NOW, uncounted=False)
    telemetry.began([buffered], 1, NOW, uncounted=True)
    telemetry.began([buffered], 2, NOW, uncounted=False)
    assert sum(metrics.queue_wait_seconds.counts) == 1
    assert metrics.retries.value == 1


def test_what_needed_no_call_is_counted_apart() -> None:
    telemetry, metrics, lines = a_telemetry()
    buffered = buffered_in(a_partition(), 1)
    telemetry.superseded(buffered)
    telemetry.expired(buffered, 2)
    telemetry.parked(buffered, DeathCause("tooLarge", 413, 1, "status 413"))
    assert (metrics.superseded.value, metrics.expired.value, metrics.dead["tooLarge"].value) == (1, 1, 1)
    assert [line["end"] for line in lines.of("delivery.settled")] == ["superseded", "expired", "dead: tooLarge"]


# Warnings


def test_a_dead_letter_is_a_warning_with_its_cause() -> None:
    telemetry, _metrics, lines = a_telemetry()
    telemetry.parked(buffered_in(a_partition(), 1), DeathCause("tooLarge", 413, 1, "status 413"))
    [line] = lines.of("delivery.dead")
    assert lines.warned == {"delivery.dead"}
    assert (line["reason"], line["status"], line["detail"]) == ("tooLarge", 413, "status 413")


def test_of_ten_thousand_dead_letters_of_one_reason_few_are_warnings_and_none_is_forgotten() -> None:
    clock, lines = FakeClock(), Lines()
    telemetry = Telemetry(Metrics(), lines.log, clock, StoreClock())
    buffered = buffered_in(a_partition(), 1)
    for _ in range(10_000):
        telemetry.parked(buffered, DeathCause("refused", 400, 1, "status 400"))
    telemetry.parked(buffered, DeathCause("tooLarge", 413, 1, "status 413"))
    clock.jump(11)
    telemetry.parked(buffered, DeathCause("refused", 400, 1, "status 400"))
    written = lines.of("delivery.dead")
    assert [line["reason"] for line in written] == ["refused", "tooLarge", "refused"]
    assert sum(1 + line["left_out"] for line in written) == 10_002


@pytest.mark.parametrize(("status", "failure"), [(401, "unauthorized"), (403, "forbidden")])
def test_refused_credentials_are_a_warning(status: int, failure: str) -> None:
    telemetry, _metrics, lines = a_telemetry()
    buffered = buffered_in(a_partition(), 1)
    for number in (1, 2):
        telemetry.judged([buffered], Attempt(number, 0.0, 0.0), Answered(status), Again(1.0, failure))
    [line] = lines.of("delivery.credentials_refused")
    assert lines.warned == {"delivery.credentials_refused"}
    assert (line["status"], line["left_out"]) == (status, 0)


def test_a_pause_is_a_warning_and_is_counted_by_class() -> None:
    telemetry, metrics, lines = a_telemetry()
    for pause in (1.5, 2.0):
        telemetry.slowed("default", RouteClass.SEND, Slowdown(pause, Found(inf), asked=True))
    telemetry.slowed("default", RouteClass.BROADCAST, Slowdown(1.0, Found(2.0)))
    assert lines.warned == {"delivery.paused"}
    assert [(line["class"], line["seconds"]) for line in lines.of("delivery.paused")] == [
        ("send", 1.5),
        ("broadcast", 1.0),
    ]
    assert (metrics.slowdowns["send"].value, metrics.slowdowns["broadcast"].value) == (2, 1)


def test_what_is_learned_without_a_pause_is_a_warning_of_its_own() -> None:
    telemetry, metrics, lines = a_telemetry()
    telemetry.slowed("default", RouteClass.SEND, Slowdown(0.0, Found(inf), share=0.05))
    [line] = lines.of("delivery.paced")
    assert (line["class"], line["rate"], line["refused_anyway"]) == ("send", None, 0.05)
    assert metrics.slowdowns["send"].value == 0


def test_the_time_from_accepted_to_settled_is_measured_by_class() -> None:
    telemetry, metrics, _lines = a_telemetry()
    telemetry.settled(
        [buffered_in(a_partition(), n) for n in range(3)],
        "delivered",
        Answered(202),
        attempts=1,
        took=0.1,
        certain=True,
    )
    change = buffered_in(a_partition(), 9, entry=an_entry(a_join()))
    telemetry.settled([change], "delivered", Answered(200), attempts=1, took=0.1, certain=True)
    observed = {key: sum(histogram.counts) for key, histogram in metrics.delivery_seconds.items()}
    assert observed == {("broadcast",): 0, ("send",): 3, ("action",): 1}


# Sampling and traces


class Note:
    """Traces that keep what is noted in memory; nothing but `on` is looked at besides."""

    def __init__(self) -> None:
        self.is_enabled = True
        self.events: list[tuple[str, TraceEvent]] = []

    def record(self, message_id: str, event: TraceEvent) -> None:
        self.events.append((message_id, event))


def traced(delivery_log: DeliveryLog | None = None) -> tuple[Telemetry, Note]:
    notes = Note()
    telemetry = Telemetry(Metrics(), Lines().log, FakeClock(), StoreClock(), delivery_log, cast("Traces", notes))
    return telemetry, notes


def test_a_trace_tells_the_life_of_a_message_from_reading_to_its_end() -> None:
    telemetry, notes = traced()
    buffered = buffered_in(a_partition(3), 1, entry=an_entry(message_id="m-7"))
    telemetry.began([buffered], 1, NOW, uncounted=False)
    telemetry.judged([buffered], Attempt(1, 0.0, 0.0), Answered(503), Again(1.5, "unavailable"))
    telemetry.judged([buffered], Attempt(2, 0.0, 0.0), Answered(400), Dead("refused", "refused", 400, "status 400"))
    telemetry.parked(buffered, DeathCause("refused", 400, 2, "status 400"))
    assert {message_id for message_id, _event in notes.events} == {"m-7"}
    leg = {"entry": "1-0", "to": "alice"}
    assert [(event.what, dict(event.detail)) for _id, event in notes.events] == [
        ("read", {"entry": "1-0", "to": "alice", "partition": 3}),
        (
            "attempt",
            {"number": 1, "status": 503, "verdict": "again", "failure": "unavailable", "delay": 1.5}
            | {"detail": "status 503"}
            | leg,
        ),
        (
            "attempt",
            {"number": 2, "status": 400, "verdict": "dead: refused", "failure": "refused", "detail": "status 400"}
            | leg,
        ),
        ("settled", {"end": "dead: refused", "status": 400, "attempts": 2} | leg),
    ]


def test_every_message_of_a_shared_call_has_a_trace_of_its_own() -> None:
    telemetry, notes = traced()
    call = [buffered_in(a_partition(), n, entry=an_entry(message_id=f"m{n}")) for n in range(3)]
    telemetry.judged(call, Attempt(1, 0.0, 0.0), Answered(202), Delivered())
    assert [(id_, event.detail["verdict"]) for id_, event in notes.events] == [(f"m{n}", "delivered") for n in range(3)]


async def test_what_went_well_is_sampled_and_what_did_not_never_is() -> None:
    written: list[bytes] = []
    delivery_log = DeliveryLog("delivery.settled", FakeClock(), written.append)
    telemetry, notes = traced(delivery_log)
    well, badly = buffered_in(a_partition(), 1), buffered_in(a_partition(), 2, entry=an_entry(message_id="bad"))
    for _ in range(2000):
        telemetry.settled([well], "delivered", Answered(202), attempts=1, took=0.1, certain=True)
    telemetry.settled([badly], "delivered", Answered(202), attempts=2, took=0.1, certain=True)
    telemetry.settled([badly], "delivered", Answered(202), attempts=1, took=0.1, certain=False)
    telemetry.settled([badly], "gone", Answered(404), attempts=1, took=0.1, certain=True)
    telemetry.superseded(badly)
    telemetry.expired(badly, 1)
    telemetry.parked(badly, DeathCause("tooLarge", 413, 1, "status 413"))
    delivery_log.flush()
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    assert sum(line["id"] == "bad" for line in lines) == 6
    assert sum(line.get("sampled", 1) for line in lines if line["id"] != "bad") == 2000
    assert len(lines) < 600
    assert len(notes.events) == 2006


def test_every_label_in_use_exists() -> None:
    """A failure or reason without its counter would raise in the middle of a delivery."""
    metrics = Metrics()
    for rule in TABLE:
        assert rule.failure in metrics.failures or rule.failure == ""
        assert rule.reason in metrics.dead or rule.reason == ""
    assert set(DEAD_REASONS) == set(metrics.dead)
    assert set(OPERATIONS) == set(metrics.delivered)


async def test_each_attempt_that_failed_has_its_line_in_the_quick_log_with_secrets_masked() -> None:
    written: list[bytes] = []
    delivery_log = DeliveryLog("delivery.settled", FakeClock(), written.append)
    telemetry, _notes = traced(delivery_log)
    buffered = buffered_in(a_partition(), 1, entry=an_entry(message_id="m-7"))
    answer = Answered(503, error_code="Bearer " + "s3cret" * 8)
    for number in range(600):
        telemetry.judged([buffered], Attempt(number, 0.0, 0.0), answer, Again(1.5, "unavailable"))
    delivery_log.flush()
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    assert [line["attempt"] for line in lines] == list(range(600))
    assert {line["event"] for line in lines} == {"delivery.attempt"}
    assert b"s3cret" not in b"".join(written)
    first = {name: lines[0][name] for name in ("id", "hub", "failure", "status", "again_in", "level")}
    assert first == {
        "id": "m-7", "hub": "chat", "failure": "unavailable", "status": 503, "again_in": 1.5, "level": "info",
    }  # fmt: skip


def test_above_info_a_failed_attempt_has_no_line() -> None:
    telemetry, _notes = traced(DeliveryLog("delivery.settled", FakeClock(), None))
    buffered = buffered_in(a_partition(), 1)
    telemetry.judged([buffered], Attempt(1, 0.0, 0.0), Answered(503), Again(1.5, "unavailable"))
