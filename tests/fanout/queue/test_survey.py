"""Surveys of the queue, on every kind of server."""

import pytest

from fanout.clock import SystemClock
from fanout.queue.entry import Entry, Submission
from fanout.queue.keys import KEYS
from fanout.queue.leases import Leases
from fanout.queue.stream import Stream
from fanout.queue.survey import SURVEY, Surveyor
from fanout.redis.client import RedisClient
from fanout.signalr.message import Message, Scope

PARTITIONS = 4
BODY = b'{"target":"t","arguments":[]}'


def entry(hub: str, to: str = "") -> Submission:
    return Submission(Entry(hub, "m", Message(Scope.USER if to else Scope.BROADCAST, to, BODY)))


async def test_what_waits_is_told_by_flow_with_the_owner_of_each_partition(redis_client: RedisClient) -> None:
    clock = SystemClock()
    stream = Stream(redis_client, clock, partitions=PARTITIONS, max_bytes=0, dedup_window=60.0)
    surveyor = Surveyor(redis_client, clock, partitions=PARTITIONS)
    empty = await surveyor.look()
    assert ([state.entries for state in empty.partitions], list(empty.workers)) == ([0] * PARTITIONS, [])
    await stream.append([entry("chat"), entry("news"), entry("news", "alice"), entry("news", "alice")])
    leases = Leases(redis_client, clock, worker="host:1-7", lifetime=30.0)
    await leases.heartbeat({1: 2})
    await leases.acquire([1])
    await redis_client.ask("SADD", KEYS.endpoints, "example")

    found = await surveyor.look()
    flows: dict[str, int] = {}
    for state in found.partitions:
        for flow, figures in state.flows.items():
            flows[flow] = flows.get(flow, 0) + figures.entries
            assert figures.added == figures.entries
            assert found.at - 60 < figures.oldest <= found.at
    assert flows == {"bchat": 1, "bnews": 1, "unews": 2}
    assert [state.owner for state in found.partitions] == ["", "host:1-7", "", ""]
    assert (list(found.workers), list(found.endpoints)) == (["host:1-7"], ["example"])
    assert sum(state.size for state in found.partitions) > 0


async def test_flows_beyond_the_bound_are_counted_together(redis_client: RedisClient) -> None:
    stream = Stream(redis_client, SystemClock(), partitions=1, max_bytes=0, dedup_window=60.0)
    await stream.append([entry(f"hub{number}") for number in range(5) for _ in range(1 + number % 4)])
    reply = await redis_client.run(SURVEY, KEYS.measured(0), [2])
    assert reply[4:6] == [3, 4]
    shown = [reply[at : at + 2] for at in (6, 10)]
    assert shown == [[KEYS.stream(0, name).encode(), count] for name, count in (("bhub3", 4), ("bhub2", 3))]


@pytest.mark.lengthy
async def test_thousands_of_flows_in_one_partition_are_answered(redis_client: RedisClient) -> None:
    flows = 3000  # more than a script can hand over as arguments
    stream = Stream(redis_client, SystemClock(), partitions=1, max_bytes=0, dedup_window=60.0)
    for start in range(0, flows, 1000):
        await stream.append([entry(f"hub{number}") for number in range(start, start + 1000)])
    found = await Surveyor(redis_client, SystemClock(), partitions=1).look()
    assert (len(found.partitions[0].flows), found.partitions[0].entries) == (flows, flows)
    assert (await stream.depth()).entries == (flows,)
