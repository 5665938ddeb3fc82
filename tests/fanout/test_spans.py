"""Spans by the library, against a real receiver: what is sent, what is lost, and how a process parts from them."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.spans import CountedExporter, open_spans
from fanout.tracing import SpanKind
from tests.fakes import FakeClock
from tests.otlp import Collector, collecting

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = SAMPLED[:-1] + "0"
OTHER = "00-00000000000000000000000000000007-0000000000000007-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


async def test_spans_are_sent_at_the_end_with_their_times_and_states(collector: Collector) -> None:
    async with open_spans(SystemClock()) as (spans, counts):
        spans.start("good", SpanKind.SERVER, [], {"a": 1}).end({"b": "two"})
        spans.start("bad", SpanKind.CLIENT, [], {}).end({}, error="503")
        spans.record("step", SAMPLED, 1000.25, 1001.5, {"c": True}, error="tooOld")
    good, bad, step = collector.spans
    assert (good.kind, good.parent, good.attributes, good.failed) == ("server", "", {"a": 1, "b": "two"}, False)
    assert (bad.kind, bad.attributes, bad.failed) == ("client", {"error.type": "503"}, True)
    assert (step.start, step.end, step.parent, step.failed) == (1000.25, 1001.5, "b7ad6b7169203331", True)
    assert (counts.exported, counts.lost, counts.waiting) == (3, 0, 0)


async def test_a_span_stands_under_the_first_sampled_link_and_is_linked_to_the_others(collector: Collector) -> None:
    async with open_spans(SystemClock()) as (spans, _counts):
        spans.start("joint", SpanKind.CLIENT, [NOT_SAMPLED, SAMPLED, "broken", OTHER, OTHER], {}).end({})
    [joint] = collector.spans
    assert (joint.trace, joint.parent) == tuple(SAMPLED.split("-")[1:3])
    assert joint.links == (tuple(NOT_SAMPLED.split("-")[1:3]), tuple(OTHER.split("-")[1:3]))


async def test_what_is_not_sampled_is_named_and_not_sent(collector: Collector) -> None:
    async with open_spans(SystemClock()) as (spans, counts):
        span = spans.start("quiet", SpanKind.CLIENT, [f"{NOT_SAMPLED} a=1"], {})
        spans.record("step", NOT_SAMPLED, 1.0, 2.0, {})
        span.end({})
    parent, _space, state = span.link.partition(" ")
    assert (parent[:36], parent[-3:], state) == (NOT_SAMPLED[:36], "-00", "a=1")
    assert collector.spans == []
    assert (counts.queued, counts.exported, counts.lost) == (0, 0, 0)


async def test_what_finds_no_room_is_lost_and_counted(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    collector.delay.clear()
    async with open_spans(SystemClock()) as (spans, counts):
        for number in range(50):
            spans.record("step", SAMPLED, 1.0, 2.0, {"number": number})
        waiting, dropped = counts.waiting, counts.dropped
        collector.delay.set()
    assert waiting <= 4
    assert dropped >= 50 - 4 - 4
    assert counts.exported + counts.lost == counts.queued == 50
    assert len(collector.spans) == counts.exported


async def test_what_the_thread_of_the_queue_has_in_its_hand_is_counted_once(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has taken spans out of the queue, and the exporter has not heard of them."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    export, taken, goes_on = CountedExporter.export, threading.Event(), threading.Event()

    def held(exporter: CountedExporter, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        taken.set()
        assert goes_on.wait(10)
        return export(exporter, spans)

    monkeypatch.setattr(CountedExporter, "export", held)
    async with open_spans(SystemClock()) as (spans, counts):
        for _ in range(4):
            spans.record("step", SAMPLED, 1.0, 2.0, {})
        assert await asyncio.to_thread(taken.wait, 10)
        for _ in range(4):
            spans.record("step", SAMPLED, 1.0, 2.0, {})
        goes_on.set()
    assert counts.exported + counts.lost == counts.queued == 8
    assert len(collector.spans) == counts.exported


async def test_what_the_collector_refuses_is_lost_and_counted(collector: Collector) -> None:
    collector.status = 400
    async with open_spans(SystemClock()) as (spans, counts):
        spans.record("step", SAMPLED, 1.0, 2.0, {})
    assert (counts.exported, counts.lost) == (0, 1)


async def test_a_collector_that_does_not_answer_is_waited_for_no_longer_than_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        opened = open_spans(clock)
        spans, _counts = await opened.__aenter__()
        spans.record("step", SAMPLED, 1.0, 2.0, {})
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(opened.__aexit__(None, None, None))
            await clock.advance(1.9)
            assert not closing.done()
            await clock.advance(0.2)
            await closing


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf only"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf only"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "whole number"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "whole number"),
    ],
)
async def test_what_cannot_be_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name}.*{message}"):
        async with open_spans(SystemClock()):
            pass
