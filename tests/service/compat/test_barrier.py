"""A question waits for what was queued before it in its lanes, no longer than it may, and says if that was not all."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from fanout.errors import QueueError
from fanout.queue.entry import Entry, FlowRead, StoredEntry, encode
from fanout.queue.keys import place_of
from fanout.signalr.message import GroupAction, Item, Scope, Verb
from service.compat.barrier import Barrier
from tests.fakes import FakeClock

HUB, PARTITIONS = "chat", 4
RED = GroupAction(Verb.ADD, Scope.USER, "", "red")


class Flow:
    """One flow with entries in their order; `away` has the store not answer."""

    def __init__(self, *items: Item) -> None:
        entries = [Entry(HUB, f"m{number}", item) for number, item in enumerate(items, 1)]
        self.entries = {b"%d-0" % number: encode(entry) for number, entry in enumerate(entries, 1)}
        self.pages = 0
        self.away = False

    async def read(self, partition: int, after: Mapping[str, bytes], *, most: int) -> list[FlowRead]:
        self._answer()
        self.pages += 1
        ((flow, last),) = after.items()
        later = [StoredEntry(each, data) for each, data in self.entries.items() if _number(each) > _number(last)]
        return [FlowRead(flow, later[:most])] if later else []

    async def fetch(self, partition: int, ids: Mapping[str, Sequence[bytes]]) -> dict[str, list[StoredEntry | None]]:
        self._answer()
        return {
            flow: [StoredEntry(each, self.entries[each]) if each in self.entries else None for each in wanted]
            for flow, wanted in ids.items()
        }

    def _answer(self) -> None:
        if self.away:
            raise QueueError("The store is away.")


def _number(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def red(user: str) -> GroupAction:
    return GroupAction(Verb.ADD, Scope.USER, user, "red")


def other_group() -> str:
    """A group whose lane is in the flow of the group `red`."""
    flow = place_of(HUB, RED, PARTITIONS)[1:]
    return next(
        name
        for name in map(str, range(1000))
        if place_of(HUB, GroupAction(Verb.ADD, Scope.USER, "", name), PARTITIONS)[1:] == flow
    )


def barrier(flow: Flow, clock: FakeClock) -> Barrier:
    return Barrier(flow, clock, partitions=PARTITIONS, within=3.0)


async def test_nothing_waits_in_an_empty_lane() -> None:
    others = GroupAction(Verb.ADD, Scope.USER, "ann", other_group())
    assert await barrier(Flow(), FakeClock()).passed(HUB, [RED])
    assert await barrier(Flow(others), FakeClock()).passed(HUB, [RED])


async def test_it_waits_for_the_last_entry_that_stood_in_the_lane() -> None:
    flow, clock = Flow(red("ann"), red("bob")), FakeClock()
    asked = asyncio.create_task(barrier(flow, clock).passed(HUB, [RED]))
    await clock.advance(1.0)
    flow.entries[b"3-0"] = encode(Entry(HUB, "m3", red("eve")))  # queued after the question
    del flow.entries[b"1-0"]
    await clock.advance(1.0)
    assert not asked.done()
    del flow.entries[b"2-0"]
    await clock.advance(0.2)
    assert await asked


async def test_it_waits_no_longer_than_it_may_and_says_so() -> None:
    flow, clock = Flow(red("ann")), FakeClock()
    asked = asyncio.create_task(barrier(flow, clock).passed(HUB, [RED, RED]))
    await clock.advance(2.9)
    assert not asked.done()
    await clock.advance(0.2)
    assert not await asked


async def test_a_store_that_is_away_is_not_waited_for() -> None:
    flow = Flow(red("ann"))
    flow.away = True
    assert not await barrier(flow, FakeClock()).passed(HUB, [RED])


@pytest.mark.lengthy
async def test_no_more_than_5000_entries_are_looked_at_and_then_the_answer_says_so() -> None:
    others = GroupAction(Verb.ADD, Scope.USER, "ann", other_group())
    for count, passed in ((4_999, True), (5_000, False), (20_000, False)):
        flow = Flow(*[others] * count)
        assert await barrier(flow, FakeClock()).passed(HUB, [RED]) is passed
        assert flow.pages == 10
