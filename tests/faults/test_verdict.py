"""The judge of a whole flow is judged: each planted harm is found, in a flow made up and in one that really ran."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx
import pytest

from fanout.queue.entry import encode
from fanout.queue.keys import FIELD, KEYS
from tests.builders import a_message, an_entry
from tests.faults.driver import Flow, Producer, traffic_of
from tests.faults.standing import Standing, marks_of
from tests.faults.verdict import Exits, judge
from tests.flow.oracle import Call, mark
from tests.flow.stack import PARTITIONS
from tests.queue_layout import entries_of, put

pytestmark = pytest.mark.asyncio(loop_scope="session")
Harm = Callable[[list[Call]], Sequence[Call]]


@pytest.fixture
async def flow() -> Flow:
    """A flow of two producers that ended with forty accepted items each."""
    async with httpx.AsyncClient() as http:
        producers = [Producer(f"h{n}", traffic_of(f"h{n}", seed=n, ttl=1), http, str) for n in range(2)]
        for producer in producers:
            producer.accepted = traffic_of(producer.hub, seed=int(producer.hub[1]), ttl=1)[:40]
        return Flow(producers)


def _arrived(flow: Flow) -> dict[str, list[Call]]:
    return {
        producer.hub: [
            Call(at, float(at), at + 0.5, sent.method, sent.target, sent.body, status=202, delivered=True)
            for at, sent in enumerate(item.sent for item in producer.accepted)
        ]
        for producer in flow.producers
    }


def _swapped(calls: list[Call]) -> Sequence[Call]:
    targets = [call.target for call in calls]
    often = next(target for target in targets if targets.count(target) > 1)
    first, second = [call for call in calls if call.target == often][:2]
    early = replace(first, arrived=second.arrived, answered=second.answered)
    late = replace(second, arrived=first.arrived, answered=first.answered)
    return [{first: early, second: late}.get(call, call) for call in calls]


async def test_a_good_flow_is_good(flow: Flow) -> None:
    verdict = judge(flow, _arrived(flow), Exits())
    verdict.check()
    assert verdict.accepted == 80


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda calls: calls[:7] + calls[8:], "1 lost"),
        (lambda calls: [*calls[:-1], replace(calls[-1], delivered=False, status=503)], "1 lost"),
        (lambda calls: [replace(calls[0], body=calls[0].body + b" "), *calls[1:]], "1 changed"),
        (lambda calls: [*calls, replace(calls[0], body=b"id-99999-")], "1 not sent"),
        (_swapped, "out of order"),
        (lambda calls: [*calls, replace(calls[3], arrived=99.0)], "1 duplicates"),
    ],
)
async def test_a_harm_to_one_producer_is_found(flow: Flow, harm: Harm, complaint: str) -> None:
    calls: dict[str, Sequence[Call]] = {**_arrived(flow)}
    calls["h1"] = harm(_arrived(flow)["h1"])
    with pytest.raises(AssertionError, match=complaint):
        judge(flow, calls, Exits()).check()


async def test_what_left_another_way_is_no_loss_in_its_own_hub_alone(flow: Flow) -> None:
    calls = {hub: [call for call in own if call.mark != mark(0)] for hub, own in _arrived(flow).items()}
    judge(flow, calls, Exits(expired={"h0": {mark(0)}}, dead={"h1": {mark(0)}})).check()
    with pytest.raises(AssertionError, match="1 lost"):
        judge(flow, calls, Exits(forgotten={"h1": {mark(0)}})).check()


async def test_duplicates_of_all_producers_count_together(flow: Flow) -> None:
    calls = {hub: [*own, replace(own[3], arrived=99.0)] for hub, own in _arrived(flow).items()}
    judge(flow, calls, Exits()).check(most_duplicates=2)
    with pytest.raises(AssertionError, match="2 duplicates, 1 explained"):
        judge(flow, calls, Exits()).check(most_duplicates=1)


async def test_a_flow_that_accepted_nothing_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="nothing was accepted"):
        judge(Flow([]), {}, Exits()).check()


async def test_an_entry_that_somebody_takes_out_of_the_running_queue_is_missed(stack: Standing, hub: str) -> None:
    """The whole suite can fail: with the workers frozen one accepted entry is deleted, and the verdict names it."""
    async with stack.flow(hub) as flow:
        for worker in stack.workers:
            worker.freeze()
        await flow.goes_on(200)
        found = [await entries_of(stack.redis_client, p) for p in range(PARTITIONS)]
        partition, rows = max(enumerate(found), key=lambda rows: len(rows[1]))
        flow_name, entry, fields = rows[-1]  # not one of the first, which a read that waited may hold already
        await stack.redis_client.ask("XDEL", KEYS.stream(partition, flow_name), entry)
        for worker in stack.workers:
            worker.thaw()
    verdict = await stack.verdict(flow)
    stolen = {(place, each) for place, marks in marks_of([(flow_name, fields[1])]).items() for each in marks}
    assert {(place, each) for place, found in verdict.findings.items() for each in found.lost} == stolen


async def test_an_entry_that_nobody_posted_is_noticed(stack: Standing, hub: str) -> None:
    async with stack.flow(hub) as flow:
        entry = an_entry(a_message(text=mark(99_999)), hub=flow.producers[0].hub)
        await put(stack.redis_client, 0, FIELD, encode(entry), flow=f"u{flow.producers[0].hub}")
    verdict = await stack.verdict(flow)
    [foreign] = [call for found in verdict.findings.values() for call in found.foreign]
    assert foreign.mark == mark(99_999)
