"""Traces of messages, on every kind of server this machine has."""

import asyncio
from pathlib import Path

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.queue.keys import KEYS
from fanout.queue.traces import MAX_BUFFERED_EVENTS, MAX_EVENTS, TraceEvent, Traces, TraceSampler, What, open_traces
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from tests.fakes import FakeClock

LIFE: tuple[What, ...] = ("accepted", "read", "attempt", "settled")


def traces_of(redis_client: RedisClient, *, keep: float = 60, most: int = 1_000_000) -> Traces:
    return Traces(redis_client, SystemClock(), keep=keep, max_per_second=most)


def nowhere(tmp_path: Path) -> RedisClient:
    """A client of a store that does not run."""
    return open_redis(f"unix://{tmp_path / 'none.sock'}", SystemClock())


async def test_a_life_is_told_in_the_order_of_time_whoever_noted_it(redis_client: RedisClient) -> None:
    ingress, worker = traces_of(redis_client), traces_of(redis_client)
    events = [TraceEvent(float(at), what, {"number": at, "hub": "chat"}) for at, what in enumerate(LIFE)]
    for event in events[1:]:
        worker.record("m1", event)
    ingress.record("m1", events[0])
    ingress.record("m2", TraceEvent(0.5, "accepted"))
    await worker.flush()
    await ingress.flush()
    assert await ingress.events_of("m1") == events
    assert await ingress.events_of("m2") == [TraceEvent(0.5, "accepted")]
    assert await ingress.events_of("m3") == []
    assert (ingress.lost, worker.lost) == (0, 0)


async def test_noting_asks_nothing_of_the_store_until_the_flush_and_a_flush_is_one_round_trip(
    redis_client: RedisClient,
) -> None:
    traces = traces_of(redis_client)
    for number in range(100):
        traces.record(f"m{number}", TraceEvent(1.0, "read"))
    assert await kept(redis_client) == 0
    before = await reads(redis_client)
    await traces.flush()
    assert await kept(redis_client) == 100
    assert await reads(redis_client) - before < 20


async def test_what_is_noted_is_stored_soon_and_the_rest_at_the_end(redis_client: RedisClient) -> None:
    clock = SystemClock()
    async with open_traces(redis_client, clock, keep=60, max_per_second=100) as traces:
        traces.record("m1", TraceEvent(1.0, "accepted"))
        async with clock.timeout(5):
            while not await traces.events_of("m1"):
                await clock.sleep(0.01)
        traces.record("m1", TraceEvent(2.0, "settled"))
    assert [event.what for event in await traces.events_of("m1")] == ["accepted", "settled"]


async def test_flushes_are_a_tenth_of_a_second_apart_and_none_happens_without_a_note(tmp_path: Path) -> None:
    clock = FakeClock()
    traces = Traces(nowhere(tmp_path), clock, keep=60, max_per_second=100)
    async with asyncio.TaskGroup() as group:
        group.create_task(traces.run())
        await clock.advance(10)
        assert not clock._sleepers
        traces.record("m1", TraceEvent(1.0, "read"))
        await clock.advance(0.09)
        assert traces.lost == 0
        await clock.advance(0.02)
        assert traces.lost == 1
        traces.close()
        await clock.advance(1)


async def test_a_trace_goes_when_its_time_is_over(redis_client: RedisClient) -> None:
    traces = traces_of(redis_client, keep=0.05)
    traces.record("m1", TraceEvent(1.0, "accepted"))
    await traces.flush()
    assert 0 < await redis_client.ask("PTTL", KEYS.trace("m1")) <= 50
    async with SystemClock().timeout(5):
        while await traces.events_of("m1"):  # noqa: ASYNC110 - the store rings no bell
            await asyncio.sleep(0.01)
    assert await kept(redis_client) == 0


async def test_each_event_starts_the_time_anew(redis_client: RedisClient) -> None:
    traces = traces_of(redis_client, keep=60)
    traces.record("m1", TraceEvent(1.0, "accepted"))
    await traces.flush()
    await redis_client.ask("PEXPIRE", KEYS.trace("m1"), 5_000)
    traces.record("m1", TraceEvent(2.0, "settled"))
    await traces.flush()
    assert await redis_client.ask("PTTL", KEYS.trace("m1")) > 50_000


async def test_of_one_id_the_newest_events_are_kept(redis_client: RedisClient) -> None:
    traces = traces_of(redis_client)
    for at in range(40):
        traces.record("m1", TraceEvent(float(at), "attempt"))
    await traces.flush()
    for at in range(40, 240):
        traces.record("m1", TraceEvent(float(at), "attempt"))
    await traces.flush()
    assert [event.at for event in await traces.events_of("m1")] == [float(at) for at in range(240 - MAX_EVENTS, 240)]
    assert await redis_client.ask("LLEN", KEYS.trace("m1")) == MAX_EVENTS


async def test_off_nothing_is_noted_and_nothing_runs(redis_client: RedisClient) -> None:
    async with open_traces(redis_client, FakeClock(), keep=0, max_per_second=100) as traces:
        assert not traces.is_enabled
        assert len(asyncio.all_tasks()) == 1
        traces.record("m1", TraceEvent(1.0, "accepted"))
        await traces.flush()
    assert await kept(redis_client) == 0
    assert (traces.lost, traces.skipped) == (0, 0)


async def test_memory_is_bounded_and_what_finds_no_room_is_counted(tmp_path: Path) -> None:
    traces = traces_of(nowhere(tmp_path))
    for number in range(MAX_BUFFERED_EVENTS + 7):
        traces.record(f"m{number}", TraceEvent(1.0, "read"))
    assert traces.lost == 7
    assert f"{MAX_BUFFERED_EVENTS} waiting" in repr(traces)
    for _ in range(200):
        traces.record("m1", TraceEvent(2.0, "attempt"))
    assert sum(len(events) for events in traces._waiting.values()) <= MAX_BUFFERED_EVENTS
    assert traces.lost == 207


async def test_a_store_that_is_down_costs_the_traces_and_nothing_else(tmp_path: Path) -> None:
    redis_client = nowhere(tmp_path)
    async with open_traces(redis_client, SystemClock(), keep=60, max_per_second=100) as traces:
        traces.record("m1", TraceEvent(1.0, "accepted"))
        traces.record("m1", TraceEvent(2.0, "settled"))
    assert traces.lost == 2
    with pytest.raises(QueueError):
        await traces.events_of("m1")


async def test_a_store_that_is_silent_holds_the_end_up_for_two_seconds_at_most() -> None:
    class Silent:
        async def call(self, *_commands: object) -> None:
            await asyncio.Event().wait()

    clock = FakeClock()
    traces = Traces(Silent(), clock, keep=60, max_per_second=100)  # type: ignore[arg-type] # only what a flush asks of a client
    traces.record("m1", TraceEvent(1.0, "accepted"))
    async with asyncio.TaskGroup() as group:
        ending = group.create_task(traces.run())
        traces.close()
        await clock.advance(2.2)
        assert ending.done()
    assert traces.lost == 1


async def test_a_store_that_is_full_refuses_events_and_they_are_counted(redis_client: RedisClient) -> None:
    traces = traces_of(redis_client)
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "1")
    traces.record("m1", TraceEvent(1.0, "accepted"))
    traces.record("m2", TraceEvent(1.0, "accepted"))
    await traces.flush()
    assert traces.lost == 2


async def test_no_secret_and_no_long_text_is_stored(redis_client: RedisClient) -> None:
    traces = traces_of(redis_client)
    said = "refused with AccessKey=c2VjcmV0; Bearer abc.def redis://u:hunter2@h"
    traces.record("m1", TraceEvent(1.0, "attempt", {"failure": said, "detail": "x" * 10_000, "number": 1}))
    await traces.flush()
    [event] = await traces.events_of("m1")
    assert event.detail["failure"] == "refused with AccessKey=***; Bearer *** redis://u:***@h"
    assert len(str(event.detail["detail"])) == 200


async def test_the_key_says_nothing_of_the_id(redis_client: RedisClient) -> None:
    traces = traces_of(redis_client)
    traces.record("{0}order of alice", TraceEvent(1.0, "accepted"))
    await traces.flush()
    [key] = [key for keys_of_one in await redis_client.ask_primaries("KEYS", "*") for key in keys_of_one]
    assert key == KEYS.trace("{0}order of alice").encode()
    assert b"alice" not in key
    assert b"{" not in key


async def test_an_event_of_a_later_version_is_left_out(redis_client: RedisClient) -> None:
    traces = traces_of(redis_client)
    traces.record("m1", TraceEvent(1.0, "accepted"))
    await traces.flush()
    await redis_client.ask("RPUSH", KEYS.trace("m1"), b'{"at":2.0,"what":"coalesced","detail":{}}')
    assert [event.what for event in await traces.events_of("m1")] == ["accepted"]


def ids(count: int, second: int) -> list[str]:
    return [f"{second}.{number}" for number in range(count)]


def test_up_to_the_bound_every_id_is_kept_second_after_second() -> None:
    sampler = TraceSampler(100)
    for second in range(5):
        assert all(sampler.samples(message_id, float(second)) for message_id in ids(100, second))


def test_past_the_bound_no_more_than_it_are_kept_and_soon_by_their_digest() -> None:
    sampler = TraceSampler(100)
    chosen: list[str] = []
    for second in range(12):
        chosen = [message_id for message_id in ids(1000, second) if sampler.samples(message_id, float(second))]
        assert len(chosen) <= 100
    assert 25 <= len(chosen) < 100
    assert any(int(message_id.partition(".")[2]) > 500 for message_id in chosen)  # not the first that came
    assert all(sampler.samples(message_id, 11.5) for message_id in chosen)


def test_ids_that_one_process_keeps_a_less_crowded_one_keeps_too() -> None:
    crowded, calm = TraceSampler(100), TraceSampler(100)
    for second in range(12):
        crowd = ids(1000, second)
        few = {message_id for message_id in crowd if crowded.samples(message_id, float(second))}
        more = {message_id for message_id in crowd[::5] if calm.samples(message_id, float(second))}
    assert few & set(crowd[::5]) <= more
    assert len(more) > len(few & set(crowd[::5]))


def test_when_the_crowd_is_gone_every_id_is_kept_again() -> None:
    sampler = TraceSampler(100)
    for second in range(12):
        for message_id in ids(1000, second):
            sampler.samples(message_id, float(second))
    for second in range(12, 24):
        taken = [sampler.samples(message_id, float(second)) for message_id in ids(10, second)]
    assert all(taken)


async def test_events_of_ids_that_are_not_kept_are_counted(redis_client: RedisClient) -> None:
    traces = Traces(redis_client, FakeClock(), keep=60, max_per_second=2)
    for number in range(5):
        traces.record(f"m{number}", TraceEvent(1.0, "accepted"))
    await traces.flush()
    assert (traces.skipped, traces.lost) == (3, 0)
    assert await kept(redis_client) == 2


async def kept(redis_client: RedisClient) -> int:
    """How many ids something is kept of."""
    return sum(await redis_client.ask_primaries("DBSIZE"))


async def reads(redis_client: RedisClient) -> int:
    """How often the servers have read from their clients."""
    lines = [
        line for text in await redis_client.ask_primaries("INFO", "stats") for line in bytes(text).decode().splitlines()
    ]
    return sum(int(line.partition(":")[2]) for line in lines if line.startswith("total_reads_processed"))
