"""`FANOUT_OTEL=true` with real processes and a real receiver of OTLP: from the caller's trace to the REST call."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flow.child import Child
from tests.flow.stack import Stack
from tests.flow.waiting import until
from tests.free_ports import free_port
from tests.otlp import Collector, Received, collecting

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"
SETTINGS = {"otel": "true", "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_HEADERS": "key=value"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


async def a_product(stack: Stack, url: str, **settings: object) -> Child:
    """Start ingress and worker in one process that sends its spans to a collector."""
    return await stack.add_whole(**{**SETTINGS, "OTEL_EXPORTER_OTLP_ENDPOINT": url, **settings})


async def post(stack: Stack, child: Child, hub: str, items: Any, *headers: tuple[str, str]) -> None:
    answer = await stack.http.post(f"{child.url}/v1/hubs/{hub}/messages", json=items, headers=list(headers))
    assert answer.status_code == 202, answer.text


async def received(collector: Collector, **counts: int) -> None:
    """Wait until so many spans of each name were received."""

    async def enough() -> bool:
        return all(len(collector.named(name)) >= count for name, count in counts.items())

    await until(enough, within=10.0, what=f"{counts} spans")


def message(user: str, number: int = 0) -> dict[str, Any]:
    return {"userId": user, "target": "t", "arguments": [number]}


def context(span: Received) -> str:
    return f"00-{span.trace}-{span.span}-01"


async def test_the_callers_trace_leads_to_the_rest_call(stack: Stack, hub: str, collector: Collector) -> None:
    child = await a_product(stack, collector.url, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test")
    await post(stack, child, hub, [message("alice")], ("traceparent", SAMPLED), ("tracestate", "a=1,b=2"))
    await received(collector, accept=1, wait=1, send=1, settle=1)
    [accept], [wait], [send], [settle] = map(collector.named, ("accept", "wait", "send", "settle"))
    assert {span.trace for span in collector.spans} == {TRACE}
    assert [span.kind for span in (accept, wait, send, settle)] == ["server", "internal", "client", "internal"]
    assert accept.parent == CALLER
    assert {wait.parent, send.parent, settle.parent} == {accept.span}
    assert {span.state for span in (accept, send)} == {"a=1,b=2"}
    [call] = await stack.journal(hub)
    assert call.traceparent == context(send)
    assert accept.start <= send.start <= send.end <= settle.end
    assert wait.start <= wait.end <= settle.end
    assert not [span for span in collector.spans if span.failed]
    assert accept.attributes["http.response.status_code"] == 202
    assert accept.attributes["fanout.caller"] == "local"
    assert accept.attributes["messaging.batch.message_count"] == 1
    assert send.attributes["messaging.message.id"] == f"{accept.attributes['fanout.request_id']}.0"
    assert (send.attributes["messaging.operation.name"], settle.attributes["fanout.end"]) == ("sendToUser", "delivered")
    assert "alice" not in repr(collector.spans)
    assert accept.resource["service.name"] == "signalr-fanout"
    assert accept.resource["deployment.environment.name"] == "test"
    assert collector.headers[0]["key"] == "value"
    assert (await child.metrics())["fanout_spans_lost_total"] == 0
    assert (await child.metrics())["fanout_spans_exported_total"] >= 4


async def test_a_trace_that_is_not_sampled_is_passed_on_and_sends_no_spans(
    stack: Stack, hub: str, collector: Collector
) -> None:
    child = await a_product(stack, collector.url)
    await post(stack, child, hub, [message("alice")], ("traceparent", NOT_SAMPLED))
    await stack.arrived(hub, 1)
    await post(stack, child, hub, [message("bob")], ("traceparent", SAMPLED))
    await received(collector, accept=1, wait=1, send=1, settle=1)
    first, second = await stack.journal(hub)
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-00", first.traceparent)
    assert second.traceparent == context(collector.named("send")[0])
    assert len(collector.spans) == 4


MALFORMED = {
    "none": [],
    "two": [("traceparent", SAMPLED), ("traceparent", SAMPLED)],
    "version ff": [("traceparent", SAMPLED.replace("00-", "ff-", 1))],
    "more than version 00 has": [("traceparent", SAMPLED + "-more")],
    "upper case": [("traceparent", SAMPLED.upper())],
    "zeros": [("traceparent", f"00-{'0' * 32}-{CALLER}-01")],
    "no parent": [("traceparent", f"00-{TRACE}-{'0' * 16}-01")],
    "long": [("traceparent", "x" * 5000)],
    "state alone": [("tracestate", "a=1")],
}


async def test_a_malformed_trace_begins_a_new_one(stack: Stack, hub: str, collector: Collector) -> None:
    child = await a_product(stack, collector.url)
    for name, headers in MALFORMED.items():
        await post(stack, child, hub, [message(name)], *headers)
    await stack.arrived(hub, len(MALFORMED))
    calls = await stack.journal(hub)
    for call in calls:
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", call.traceparent), call
        assert TRACE not in call.traceparent, call
    assert len({call.traceparent for call in calls}) == len(MALFORMED)


async def test_messages_that_share_a_call_are_linked(stack: Stack, hub: str, collector: Collector) -> None:
    await stack.faults({"kind": "latency", "seconds": 0.3})
    child = await a_product(stack, collector.url, execute="true")
    await post(stack, child, hub, [message("alice")])
    await stack.arrived(hub, 1)  # it holds the lane, so that those after it come together
    traces = [f"{number:032x}" for number in (1, 2, 3)]
    for number, trace in enumerate(traces):
        await post(stack, child, hub, [message("alice", number)], ("traceparent", f"00-{trace}-{CALLER}-01"))
    await received(collector, accept=4, wait=4, send=2, settle=4)
    [joint] = [span for span in collector.named("send") if span.trace in traces]
    accepted = {span.trace: span.span for span in collector.named("accept")}
    assert joint.trace == traces[0]
    assert joint.parent == accepted[traces[0]]
    assert joint.links == tuple((trace, accepted[trace]) for trace in traces[1:])
    assert joint.attributes["messaging.batch.message_count"] == 3
    assert {span.trace for span in collector.named("settle")} >= set(traces)
    assert (await stack.journal(hub))[-1].traceparent == context(joint)


async def test_each_try_is_a_span_and_a_refused_message_ends_as_a_dead_letter(
    stack: Stack, hub: str, collector: Collector
) -> None:
    await stack.faults(
        {"kind": "status", "status": 503, "times": 1, "match": {"path": "/alice"}},
        {"kind": "status", "status": 413, "match": {"path": "/bob"}},
    )
    child = await a_product(stack, collector.url)
    await post(stack, child, hub, [message("alice")], ("traceparent", SAMPLED))
    await received(collector, accept=1, wait=1, send=2, settle=1)
    first, second = sorted(collector.named("send"), key=lambda span: span.start)
    assert (first.failed, first.attributes["error.type"], second.failed) == (True, "503", False)
    await post(stack, child, hub, [message("bob")], ("traceparent", SAMPLED))
    await received(collector, accept=2, wait=2, send=3, settle=2)
    delivered, dead = collector.named("settle")
    assert (delivered.attributes["fanout.end"], delivered.attributes["fanout.attempts"]) == ("delivered", 2)
    assert (dead.attributes["fanout.end"], dead.attributes["error.type"], dead.failed) == ("dead", "tooLarge", True)


async def test_a_collector_that_is_away_holds_up_nothing(stack: Stack, hub: str) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    child = await a_product(stack, away, OTEL_BSP_MAX_QUEUE_SIZE="64", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="32")
    await post(stack, child, hub, [message(f"user{n}", n) for n in range(300)])
    await stack.arrived(hub, 300, within=10.0)
    await stack.drained(within=10.0)

    async def counted() -> bool:
        return (await child.metrics())["fanout_spans_lost_total"] > 0

    await until(counted, within=10.0, what="lost spans are counted")
    async with asyncio.timeout(8.0):
        await child.terminate()


async def test_an_end_sends_what_waits(stack: Stack, hub: str, collector: Collector) -> None:
    child = await a_product(stack, collector.url, OTEL_BSP_SCHEDULE_DELAY="60000")
    await post(stack, child, hub, [message("alice")], ("traceparent", SAMPLED))
    await stack.arrived(hub, 1)
    await stack.drained()
    await child.terminate()
    assert sorted(span.name for span in collector.spans) == ["accept", "send", "settle", "wait"]


async def test_without_the_setting_nothing_is_passed_on(stack: Stack, hub: str) -> None:
    child = await stack.add_whole()
    await post(stack, child, hub, [message("alice")], ("traceparent", SAMPLED))
    await stack.arrived(hub, 1)
    [call] = await stack.journal(hub)
    assert call.traceparent == ""
