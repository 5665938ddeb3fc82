"""What a worker says of its entries as spans; tests/flow/test_spans.py sees them arrive."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeathCause
from fanout.tracing import Attributes, SpanKind
from tests.builders import an_entry
from tests.fakes import FakeClock
from tests.workers.helpers import Lines, a_partition, buffered_in
from workers.partition import BufferedEntry, StoreClock
from workers.tracing import TracedTelemetry
from workers.verdicts import TAKEN

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
    telemetry.began([buffered], 1, uncounted=False)
    telemetry.began([buffered], 1, uncounted=True)
    telemetry.began([buffered], 2, uncounted=False)
    [(name, link, start, end, attributes, error)] = spans.recorded
    assert (name, link, end, error) == ("wait", LINK, clock.wall(), "")
    assert end - start == pytest.approx(3.0, abs=0.01)
    assert attributes["messaging.message.id"] == "m1"


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
    telemetry.began([buffered], 1, uncounted=False)
    telemetry.ended([buffered], "delivered")
    telemetry.settled([buffered], "delivered", TAKEN, attempts=1, took=0.1, certain=True)
    telemetry.expired(buffered, 1)
    assert spans.recorded == []
