"""The stream on every kind of store this machine has."""

import asyncio

import pytest
from msgspec.structs import replace

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueFullError
from fanout.queue.entry import Admission, Settled, StoredEntry, Submission, decode, weight_of
from fanout.queue.keys import KEYS, lane_of, partition_of
from fanout.queue.leases import Leases
from fanout.queue.stream import INLINE, START, Stream
from fanout.redis.client import RedisClient
from fanout.signalr.message import Priority, Scope
from tests.builders import a_join, a_message, a_submission, an_entry
from tests.queue_layout import USERS, put
from tests.redis_kinds import Store, opened

P = 4


def a_stream(redis_client: RedisClient, *, max_bytes: int = 1 << 30, dedup_window: float = 60.0) -> Stream:
    return Stream(redis_client, SystemClock(), partitions=P, max_bytes=max_bytes, dedup_window=dedup_window, origin="t")


async def entries_in(stream: Stream, partition: int, most: int = 100_000) -> list[tuple[str, StoredEntry]]:
    """Return flow and entry of all that waits in a partition."""
    flows = await stream.flows(partition)
    if not flows:
        return []
    reads = await stream.read(partition, dict.fromkeys(flows, START), most=most)
    return [(read.flow, stored) for read in reads for stored in read.entries]


async def everything(stream: Stream) -> list[list[bytes]]:
    return [
        [decode(stored.data, "chat").item.body for _flow, stored in await entries_in(stream, p)]  # type: ignore[union-attr] # messages only
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
    stream = a_stream(redis_client, max_bytes=1)
    await stream.append([a_submission(dedup_id="a")])
    full = a_stream(redis_client, max_bytes=1)
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


async def test_a_wait_ends_with_the_first_entry(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    submission = a_submission()
    partition = partition_of(lane_of("chat", submission.entry.item), P)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(stream.wait(partition, START, {USERS: START}, most=10, block=10))
        await asyncio.sleep(0)
        await stream.append([submission])
    _woken, [read] = waiting.result()
    assert [decode(stored.data, "chat") for stored in read.entries] == [submission.entry]


async def test_a_wait_for_nothing_ends_with_nothing(redis_client: RedisClient) -> None:
    assert await a_stream(redis_client).wait(0, START, {USERS: START}, most=10, block=0.01) == (START, [])
    assert await a_stream(redis_client).wait(0, START, {}, most=10, block=0.01) == (START, [])


async def test_a_new_flow_wakes_a_wait_once(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    group_message = a_message("g", scope=Scope.GROUP)
    partition = partition_of(lane_of("chat", group_message), P)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(stream.wait(partition, START, {USERS: START}, most=10, block=10))
        await asyncio.sleep(0)
        await stream.append([a_submission(group_message)])
    woken, reads = waiting.result()
    assert (woken != START, reads) == (True, [("gchat", [])])
    names, entries = await stream.look(partition, "gchat", most=10)
    assert (names, [decode(stored.data, "chat").item for stored in entries]) == (["gchat"], [group_message])
    assert await stream.look(partition, USERS, most=10) == (["gchat"], [])
    assert await stream.flows(partition) == ["gchat"]
    await stream.append([a_submission(group_message)])
    assert await stream.wait(partition, woken, {USERS: START}, most=10, block=0.01) == (woken, [])


async def test_a_reader_can_be_woken(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(stream.wait(0, START, {}, most=10, block=10))
        await asyncio.sleep(0)
        await stream.wake(0)
    assert waiting.result()[0] != START


async def test_a_reader_can_be_woken_while_the_store_is_out_of_memory(redis_client: RedisClient) -> None:
    """What waits has to be read, or the store would stay full."""
    stream = a_stream(redis_client)
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "1")
    try:
        await stream.wake(0)
        woken, _reads = await stream.wait(0, START, {}, most=10, block=10)
    finally:
        await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "0")
    assert woken != START


async def test_what_waits_is_told_apart_by_hub_kind_and_priority(redis_client: RedisClient) -> None:
    stream = Stream(redis_client, SystemClock(), partitions=1, max_bytes=1 << 30, dedup_window=60)
    urgent = replace(a_message("u"), priority=Priority.HIGH)
    batch = [
        a_submission(a_message("u")), a_submission(a_message("u"), hub="news"), a_submission(a_join()),
        a_submission(a_message("", scope=Scope.BROADCAST)), a_submission(urgent),
        a_submission(replace(a_message("u"), priority=Priority.LOW)),
        a_submission(replace(a_message("g", scope=Scope.GROUP), priority=Priority.HIGH)),
    ]  # fmt: skip
    await stream.append(batch)
    assert await stream.flows(0) == ["Uchat", "bchat", "gchat", "qchat", "uchat", "unews"]
    assert [flow for flow, _stored in await entries_in(stream, 0)].count("gchat") == 2  # no message passes the join


def test_one_destination_lives_in_one_partition_whatever_the_priority() -> None:
    lanes = {lane_of("chat", replace(a_message("u"), priority=priority)) for priority in Priority}
    assert len(lanes) == 3
    assert len({partition_of(lane, 1024) for lane in lanes}) == 1


async def test_settling_deletes_and_is_fenced_by_the_lease(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    submission = a_submission()
    partition = partition_of(lane_of("chat", submission.entry.item), P)
    await stream.append([submission])
    [(flow, stored)] = await entries_in(stream, partition)
    done = [Settled(flow, "", weight_of(stored.data), [stored.id])]
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([partition])
    assert await stream.settle([(partition, "w:0", done)]) == [False]
    assert sum((await stream.depth()).entries) == 1
    assert await stream.settle([(partition, lease.token, done)]) == [True]
    assert await stream.settle([(partition, lease.token, done)]) == [True]  # repeating is harmless
    depth = await stream.depth()
    assert (sum(depth.entries), depth.size) == (0, 0)


async def test_a_body_for_many_targets_is_stored_once_in_each_partition(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    body = "x" * 3000
    items = [a_message(f"user{number}", text=body) for number in range(400)]
    receipts = await stream.append([Submission(an_entry(item), "m1", b"f" * 16, "0") for item in items])
    assert {receipt.admission for receipt in receipts} == {Admission.ACCEPTED}
    again = await stream.append([Submission(an_entry(item), "m1", b"f" * 16, "0") for item in items])
    assert {receipt.admission for receipt in again} == {Admission.DUPLICATE}
    depth = await stream.depth()
    assert sum(depth.entries) == 400
    assert P * 3000 < depth.size < P * 3100 + 400 * 150
    for partition in range(P):
        rows = await entries_in(stream, partition)
        entries = [decode(stored.data, "chat") for _flow, stored in rows]
        [name] = {entry.body_ref for entry in entries}
        assert await stream.body(partition, name) == items[0].body
        [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([partition])
        for part in (rows[:1], rows):  # the first again: it is gone already
            ids = [stored.id for _flow, stored in part]
            size = sum(weight_of(stored.data) for _flow, stored in part)
            assert await stream.settle([(partition, lease.token, [Settled(USERS, name, size, ids)])]) == [True]
        assert await stream.body(partition, name) is None


async def test_a_large_body_stands_beside_the_stream_and_a_small_list_keeps_its_own(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    large = [Submission(an_entry(a_message(f"u{n}", text="x" * INLINE))) for n in range(2)]
    short_list = [Submission(an_entry(a_message(f"u{n}", text="hi")), list_id="1") for n in range(3)]
    await stream.append([*large, *short_list])
    rows = [row for partition in range(P) for row in await entries_in(stream, partition)]
    refs = [decode(stored.data, "chat").body_ref for _flow, stored in rows]
    assert (len(refs), len({ref for ref in refs if ref}), refs.count("")) == (5, 2, 3)


async def test_entries_are_fetched_by_id(redis_client: RedisClient) -> None:
    ids = [await put(redis_client, 0, "e", b"%d" % number) for number in range(3)]
    other = await put(redis_client, 0, "e", b"g", flow="gchat")
    found = await a_stream(redis_client).fetch(0, {USERS: [ids[2], b"1-1", ids[0]], "gchat": [other]})
    assert [stored and stored.data for stored in found[USERS]] == [b"2", None, b"0"]
    assert found["gchat"] == [StoredEntry(other, b"g")]


async def test_empty_flows_are_pruned_under_the_lease_and_come_back(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    stored = await put(redis_client, 0, "e", b"1")
    await put(redis_client, 0, "e", b"1", flow="gchat")
    await stream.settle([(0, lease.token, [Settled(USERS, "", 65, [stored])])])
    flows = [USERS, "gchat", "unever"]
    assert await stream.prune(0, "w:0", flows, -1) is None
    assert await stream.prune(0, lease.token, flows, 60) == ["unever"]
    assert await stream.prune(0, lease.token, ["gchat"], -1) == []
    assert await stream.prune(0, lease.token, flows, -1) == [USERS, "unever"]
    assert await stream.flows(0) == ["gchat"]
    await put(redis_client, 0, "e", b"1")
    assert await stream.flows(0) == ["gchat", USERS]


async def test_a_stream_that_was_pruned_gives_no_id_again_though_the_clock_is_behind(
    redis_client: RedisClient,
) -> None:
    stream = a_stream(redis_client)
    submission = Submission(an_entry(a_message("alice")))
    [first] = await stream.append([submission])
    partition, seconds, behind = first.partition, int(first.stream_id.partition(b"-")[0]) // 1000, 7200
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([partition])
    ahead = await put(redis_client, partition, "e", b"1", stream_id=f"{(seconds + behind) * 1000}-5")
    await stream.settle([(partition, lease.token, [Settled(USERS, "", 65, [first.stream_id, ahead])])])
    assert await stream.prune(partition, lease.token, [USERS], -2 * behind) == [USERS]
    for _ in range(2):
        [again] = await stream.append([submission])
        assert [*map(int, again.stream_id.split(b"-"))] > [*map(int, ahead.split(b"-"))]
        await stream.settle([(partition, lease.token, [Settled(USERS, "", 65, [again.stream_id])])])
        ahead = again.stream_id
        assert await stream.prune(partition, lease.token, [USERS], -2 * behind) == [USERS]


async def test_a_round_of_pruning_sets_the_bytes_right_when_nothing_waits(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    await redis_client.ask("SET", KEYS.size(0), 12345)
    stored = await put(redis_client, 0, "e", b"1")
    await stream.prune(0, lease.token, [], 60)
    assert (await stream.depth()).size == 12345
    await stream.settle([(0, lease.token, [Settled(USERS, "", 65, [stored])])])
    await stream.prune(0, lease.token, [], 60)
    assert (await stream.depth()).size == 0


async def test_depth_counts_and_tells_the_age_of_the_oldest(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    assert (await stream.depth()).oldest_age == 0.0
    await put(redis_client, 2, "e", "x", stream_id="1000-0")
    depth = await stream.depth()
    assert depth.entries == (0, 0, 1, 0)
    assert depth.oldest_age == depth.ages[Scope.USER] > 1_000_000
    assert depth.ages[Scope.GROUP] == 0.0


async def test_depth_tells_how_many_partitions_have_no_owner(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    assert (await stream.depth()).unowned == P
    await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0, 2])
    assert (await stream.depth()).unowned == P - 2


async def test_a_foreign_entry_reads_as_empty_bytes(redis_client: RedisClient) -> None:
    await put(redis_client, 0, "other", "x", "more", "y")
    [(_flow, stored)] = await entries_in(a_stream(redis_client), 0)
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
    await redis_client.ask("SET", KEYS.stream(partition, USERS), "not a stream")
    stream = a_stream(redis_client)
    with pytest.raises(QueueError, match="WRONGTYPE"):
        await stream.append([submission])


async def test_one_partition_refusing_leaves_the_others_accepted(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    await redis_client.ask("SET", KEYS.stream(0, USERS), "not a stream")
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


async def test_more_entries_than_one_script_takes_are_settled(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client)
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    ids = [f"{i}-1".encode() for i in range(1, 2502)]
    await redis_client.call(*(("XADD", KEYS.stream(0, USERS), stream_id, "e", "x") for stream_id in ids))
    assert await stream.settle([(0, lease.token, [Settled(USERS, "", 65 * len(ids), ids)])]) == [True]
    assert await redis_client.ask("XLEN", KEYS.stream(0, USERS)) == 0


async def test_the_legs_of_a_large_message_are_stored_together_and_share_its_body(redis_client: RedisClient) -> None:
    stream, item = a_stream(redis_client), a_message(text="x" * (INLINE + 1))
    submission = Submission(an_entry(item), "m", b"f" * 16, "0")
    legs = [replace(submission, entry=replace(submission.entry, endpoint=name)) for name in ("", "east", "west")]
    receipts = await stream.append(legs)
    assert {receipt.admission for receipt in receipts} == {Admission.ACCEPTED}
    [partition] = {receipt.partition for receipt in receipts}
    found = await entries_in(stream, partition)
    assert [flow for flow, _stored in found] == ["@uchat@east", "@uchat@west", "uchat"]
    [ref] = {decode(stored.data, "chat").body_ref for _flow, stored in found}
    assert await redis_client.ask("HGET", KEYS.body(partition, ref), "n") == b"3"
    again = await stream.append([*legs, replace(submission, entry=replace(submission.entry, endpoint="new"))])
    assert [receipt.admission for receipt in again] == [Admission.DUPLICATE] * 3 + [Admission.ACCEPTED]
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=10).acquire((partition,))
    for flow, stored in await entries_in(stream, partition):
        own = decode(stored.data, "chat").body_ref
        settled = Settled(flow, own, weight_of(stored.data), [stored.id])
        assert await stream.body(partition, own) == item.body
        assert await stream.settle([(partition, lease.token, [settled])]) == [True]
    assert await stream.body(partition, ref) is None
