"""What a worker says of its entries as spans; tests/flow/test_spans.py sees them arrive."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fanout.metrics import CONTENT_TYPE, Metrics
from fanout.queue.dead_letters import DeathCause
from fanout.signalr.outcome import TAKEN
from fanout.tracing import Attributes, SpanKind
from tests.builders import an_entry
from tests.fakes import FakeClock
from tests.workers.helpers import Lines, a_partition, buffered_in
from workers.partition import BufferedEntry, StoreClock
from workers.tracing import TracedTelemetry

NOW = FakeClock().monotonic()
LINK = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, str, float, float, dict[str, Any], str]] = []

    def start(self, name: str, kind: SpanKind, links: Iterable[str], attributes: Attributes) -> Any:
        raise AssertionError(name)

    def record(self, name: str, link: str, start: float, end: float, attributes: Attributes, error: str = "") -> None:
        self.recorded.append((name, link, start, end, dict(attributes), error))


def traced(link: str = LINK) -> tuple[TracedTelemetry, Spans, FakeClock, BufferedEntry]:
    spans, clock, store_clock = Spans(), FakeClock(), StoreClock()
    telemetry = TracedTelemetry(spans, Metrics(), Lines().log, clock, store_clock)
    buffered = buffered_in(a_partition(), 1, entry=replace(an_entry(), link=link))
    now = clock.monotonic()
    store_clock.observe(buffered.stored_at + 3.0, now, now)
    return telemetry, spans, clock, buffered


async def test_the_wait_in_the_queue_ends_with_the_first_call() -> None:
    telemetry, spans, clock, buffered = traced()
    telemetry.began([buffered], 1, NOW, uncounted=False)
    telemetry.began([buffered], 1, NOW, uncounted=True)
    telemetry.began([buffered], 2, NOW, uncounted=False)
    [(name, link, start, end, attributes, error)] = spans.recorded
    assert (name, link, end, error) == ("wait", LINK, clock.wall(), "")
    assert end - start == pytest.approx(3.0, abs=0.01)
    assert attributes["messaging.message.id"] == "m1"


OPENMETRICS = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"


@pytest.mark.parametrize(("link", "shown"), [(LINK, LINK[3:35]), (LINK[:-1] + "0", ""), ("", ""), ("nonsense", "")])
async def test_a_sampled_trace_is_the_example_of_the_bucket_of_its_delivery(link: str, shown: str) -> None:
    clock, store_clock, metrics = FakeClock(), StoreClock(), Metrics()
    telemetry = TracedTelemetry(Spans(), metrics, Lines().log, clock, store_clock)
    buffered = buffered_in(a_partition(), 1, entry=replace(an_entry(), link=link))
    store_clock.observe(buffered.stored_at + 3.0, clock.monotonic(), clock.monotonic())
    telemetry.ended([buffered], "delivered")
    telemetry.settled([buffered], "delivered", TAKEN, attempts=1, took=0.1, certain=True)
    text, content_type = metrics.rendered(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1")
    parsed = text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call] # not typed there
    families = {family.name: family for family in parsed}
    examples = {
        sample.labels["le"]: sample.exemplar
        for sample in families["fanout_delivery_seconds"].samples
        if sample.exemplar is not None
    }
    traces = {bound: example.labels["trace_id"] for bound, example in examples.items()}
    assert traces == ({"5.0": shown} if shown else {})
    assert all(example.value == pytest.approx(3.0, abs=0.01) for example in examples.values())


def test_without_traces_and_for_who_does_not_ask_the_text_stays_as_it_is() -> None:
    metrics = Metrics()
    text, content_type = metrics.rendered(OPENMETRICS)
    # What the process has used changes from one reading to the next.
    ours = [[line for line in each.splitlines() if b"process_" not in line] for each in (text, metrics.render())]
    assert ours[0] == ours[1]
    assert content_type == CONTENT_TYPE
    metrics.has_examples = True
    assert metrics.rendered("text/plain")[1] == CONTENT_TYPE


@pytest.mark.parametrize(("certain", "error"), [(True, ""), (False, "leaseLost")])
async def test_settling_lasts_from_the_answer_until_the_store_is_done(certain: bool, error: str) -> None:
    telemetry, spans, clock, buffered = traced()
    telemetry.ended([buffered], "delivered")
    await clock.advance(0.5)
    telemetry.settled([buffered], "delivered", TAKEN, attempts=2, took=0.1, certain=certain)
    [(name, link, start, end, attributes, found)] = spans.recorded
    assert (name, link, found) == ("settle", LINK, error)
    assert end - start == pytest.approx(0.5)
    assert (attributes["fanout.end"], attributes["fanout.attempts"]) == ("delivered", 2)
    assert telemetry._ended == {}


@pytest.mark.parametrize(
    ("act", "end", "error"),
    [
        (lambda telemetry, buffered: telemetry.expired(buffered, 1), "expired", ""),
        (lambda telemetry, buffered: telemetry.superseded(buffered), "superseded", ""),
        (lambda telemetry, buffered: telemetry.parked(buffered, DeathCause("tooOld", 503, 3, "")), "dead", "tooOld"),
    ],
)
async def test_an_entry_that_ends_without_delivery_is_settled_too(
    act: Callable[[TracedTelemetry, BufferedEntry], None], end: str, error: str
) -> None:
    telemetry, spans, _clock, buffered = traced()
    act(telemetry, buffered)
    [(name, _link, _start, _end, attributes, found)] = spans.recorded
    assert (name, attributes["fanout.end"], found) == ("settle", end, error)


async def test_an_entry_without_a_link_has_no_spans() -> None:
    telemetry, spans, _clock, buffered = traced(link="")
    telemetry.began([buffered], 1, NOW, uncounted=False)
    telemetry.ended([buffered], "delivered")
    telemetry.settled([buffered], "delivered", TAKEN, attempts=1, took=0.1, certain=True)
    telemetry.expired(buffered, 1)
    assert spans.recorded == []
