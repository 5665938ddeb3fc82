"""The stream on every kind of store this machine has."""

import asyncio

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueFullError
from fanout.queue.entry import Admission, decode
from fanout.queue.keys import KEYS
from fanout.queue.lane_key import lane_of, partition_of
from fanout.queue.leases import Leases
from fanout.queue.stream import START, Stream
from fanout.redis.client import RedisClient
from fanout.signalr.message import Scope
from tests.builders import a_join, a_message, a_submission
from tests.redis_kinds import Store, opened

P = 4


def a_stream(redis_client: RedisClient, *, max_depth: int = 1000, dedup_window: float = 60.0) -> Stream:
    return Stream(redis_client, SystemClock(), partitions=P, max_depth=max_depth, dedup_window=dedup_window)


async def everything(stream: Stream) -> list[list[bytes]]:
    return [
        [decode(stored.data).item.body for stored in await stream.read(p, START, count=100_000, block=0.001)]  # type: ignore[union-attr] # messages only
        for p in range(P)
    ]


async def test_entries_of_a_lane_come_back_in_the_order_of_the_batch(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    batch = [a_submission(a_message(f"u{i % 7}", text=str(i))) for i in range(200)]
    receipts = await stream.append(batch)
    assert {receipt.admission for receipt in receipts} == {Admission.ACCEPTED}
    assert len({receipt.entry_id for receipt in receipts}) == 200
    for partition, bodies in enumerate(await everything(stream)):
        expected = [
            submission.entry.item.body  # type: ignore[union-attr] # messages only
            for submission in batch
            if partition_of(lane_of("chat", submission.entry.item), P) == partition
        ]
        assert bodies == expected


async def test_a_join_and_a_message_to_its_group_share_a_lane(redis_client: RedisClient) -> None:
    message = a_message("g", scope=Scope.GROUP)
    assert lane_of("chat", a_join(group="g")) == lane_of("chat", message)


async def test_a_repeated_id_is_a_duplicate_and_stored_once(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    first = await stream.append([a_submission(dedup_id="a")])
    again = await stream.append([a_submission(dedup_id="a"), a_submission(dedup_id="a")])
    assert [receipt.admission for receipt in again] == [Admission.DUPLICATE, Admission.DUPLICATE]
    assert {receipt.entry_id for receipt in again} == {first[0].entry_id}
    assert sum((await stream.depth()).entries) == 1


async def test_a_repeated_id_with_another_fingerprint_is_a_conflict(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    await stream.append([a_submission(dedup_id="a", fingerprint=b"1" * 16)])
    receipts = await stream.append([a_submission(dedup_id="a", fingerprint=b"2" * 16)])
    assert receipts[0].admission is Admission.CONFLICT
    assert sum((await stream.depth()).entries) == 1


async def test_an_id_is_told_apart_by_destination_and_hub(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    receipts = await stream.append(
        [
            a_submission(a_message("u1"), dedup_id="a"),
            a_submission(a_message("u2"), dedup_id="a"),
            a_submission(a_message("u1"), hub="other", dedup_id="a"),
        ]
    )
    assert [receipt.admission for receipt in receipts] == [Admission.ACCEPTED] * 3


async def test_an_id_is_forgotten_after_the_window(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client, dedup_window=0.05)
    await stream.append([a_submission(dedup_id="a")])
    deadline = asyncio.get_running_loop().time() + 5
    while (await stream.append([a_submission(dedup_id="a")]))[0].admission is not Admission.ACCEPTED:
        assert asyncio.get_running_loop().time() < deadline


async def test_a_full_queue_refuses_what_is_new_and_still_knows_duplicates(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client, max_depth=1)
    await stream.append([a_submission(dedup_id="a")])
    full = a_stream(redis_client, max_depth=1)
    receipts = await full.append([a_submission(dedup_id="a"), a_submission(dedup_id="b")])
    assert [receipt.admission for receipt in receipts] == [Admission.DUPLICATE, Admission.FULL]
    assert sum((await full.depth()).entries) == 1


async def test_a_store_out_of_memory_is_a_full_queue(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(QueueFullError, match="maxmemory"):
        await stream.append([a_submission()])


async def test_an_idempotency_key_stands_for_one_body(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    assert await stream.claim_key("chat", "k", b"1" * 16)
    assert await stream.claim_key("chat", "k", b"1" * 16)
    assert not await stream.claim_key("chat", "k", b"2" * 16)
    assert await stream.claim_key("other", "k", b"2" * 16)


async def test_a_read_waits_for_an_entry_and_wakes_at_once(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    submission = a_submission()
    partition = partition_of(lane_of("chat", submission.entry.item), P)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(stream.read(partition, START, count=10, block=10))
        await asyncio.sleep(0)
        await stream.append([submission])
    assert [decode(stored.data) for stored in reading.result()] == [submission.entry]


async def test_a_read_of_an_empty_stream_ends_with_nothing(redis_client: RedisClient) -> None:
    assert await a_stream(redis_client).read(0, START, count=10, block=0.01) == []


async def test_settling_deletes_and_is_fenced_by_the_lease(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    submission = a_submission()
    partition = partition_of(lane_of("chat", submission.entry.item), P)
    await stream.append([submission])
    [stored] = await stream.read(partition, START, count=10, block=0.01)
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([partition])
    assert await stream.settle([(partition, "w:0", [stored.id])]) == [False]
    assert sum((await stream.depth()).entries) == 1
    assert await stream.settle([(partition, lease.token, [stored.id])]) == [True]
    assert await stream.settle([(partition, lease.token, [stored.id])]) == [True]  # repeating is harmless
    assert sum((await stream.depth()).entries) == 0


async def test_depth_counts_and_tells_the_age_of_the_oldest(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    assert (await stream.depth()).oldest_age == 0.0
    await redis_client.ask("XADD", KEYS.stream(2), "1000-0", "e", "x")
    depth = await stream.depth()
    assert depth.entries == (0, 0, 1, 0)
    assert depth.oldest_age > 1_000_000


async def test_a_foreign_entry_reads_as_empty_bytes(redis_client: RedisClient) -> None:
    await redis_client.ask("XADD", KEYS.stream(0), "*", "other", "x", "more", "y")
    [stored] = await a_stream(redis_client).read(0, START, count=1, block=0.01)
    assert stored.data == b""


async def test_flushed_scripts_are_sent_again(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    await stream.append([a_submission()])
    await redis_client.ask_primaries("SCRIPT", "FLUSH")
    receipts = await stream.append([a_submission(a_message(f"u{i}")) for i in range(20)])
    assert {receipt.admission for receipt in receipts} == {Admission.ACCEPTED}


async def test_an_error_reply_for_the_whole_request_is_raised(redis_client: RedisClient) -> None:
    submission = a_submission()
    partition = partition_of(lane_of("chat", submission.entry.item), P)
    await redis_client.ask("SET", KEYS.stream(partition), "not a stream")
    stream = a_stream(redis_client)
    stream._refreshed = float("inf")
    with pytest.raises(QueueError, match="WRONGTYPE"):
        await stream.append([submission])


async def test_one_partition_refusing_leaves_the_others_accepted(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    stream._refreshed = float("inf")
    await redis_client.ask("SET", KEYS.stream(0), "not a stream")
    batch = [a_submission(a_message(f"u{i}")) for i in range(40)]
    receipts = await stream.append(batch)
    for submission, receipt in zip(batch, receipts, strict=True):
        refused = partition_of(lane_of("chat", submission.entry.item), P) == 0
        assert receipt.admission is (Admission.UNKNOWN if refused else Admission.ACCEPTED)


async def test_a_store_that_falls_silent_leaves_every_outcome_unknown(store: Store) -> None:
    async with opened(store.url, time_limit=0.2) as redis_client:
        stream = a_stream(redis_client)
        await stream.append([a_submission()])
        await redis_client.ask_primaries("CLIENT", "PAUSE", "400", "ALL")
        receipts = await stream.append([a_submission()])
    assert receipts[0].admission is Admission.UNKNOWN
    for server in store.primaries:  # answers when the pause is over
        server.ask("PING")


async def test_a_scan_goes_on_after_an_id(redis_client: RedisClient) -> None:
    for i in range(1, 6):
        await redis_client.ask("XADD", KEYS.stream(0), f"{i}-0", "e", str(i))
    found = await a_stream(redis_client).scan(0, b"2-0", count=2)
    assert [(stored.id, stored.data) for stored in found] == [(b"3-0", b"3"), (b"4-0", b"4")]


async def test_more_entries_than_one_script_takes_are_settled(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    ids = [f"{i}-1".encode() for i in range(1, 2502)]
    await redis_client.call(*(("XADD", KEYS.stream(0), stream_id, "e", "x") for stream_id in ids))
    assert await stream.settle([(0, lease.token, ids)]) == [True]
    assert await redis_client.ask("XLEN", KEYS.stream(0)) == 0
