"""Dead letters on every kind of server this machine has."""

from zlib import crc32

import pytest

from fanout.clock import SystemClock
from fanout.errors import LeaseLostError, QueueFullError
from fanout.queue.dead_letters import DeadLetters, DeathCause, OldDeleted, PageLimits, Parked
from fanout.queue.entry import Settled, StoredEntry, Submission, decode, weight_of
from fanout.queue.keys import KEYS
from fanout.queue.leases import Leases
from fanout.queue.stream import START, Stream
from fanout.redis.client import RedisClient
from tests.builders import a_message, an_entry
from tests.queue_layout import USERS, put

CAUSE = DeathCause(reason="refused", status=400, attempts=1, detail="bad")


async def a_stored(redis_client: RedisClient) -> StoredEntry:
    return StoredEntry(await put(redis_client, 0, "e", b"\x00bytes"), b"\x00bytes")


async def test_parking_moves_the_entry_with_its_reason(redis_client: RedisClient) -> None:
    entry = await a_stored(redis_client)
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    letters = DeadLetters(redis_client)
    await letters.park(0, lease.token, Parked(USERS, entry), CAUSE)
    await letters.park(0, lease.token, Parked(USERS, entry), CAUSE)  # a repeat after a lost answer parks nothing twice
    [letter] = await letters.oldest(0)
    assert (letter.entry, letter.cause) == (entry, CAUSE)
    assert await redis_client.ask("XLEN", KEYS.stream(0, USERS)) == 0


async def test_parking_is_fenced_by_the_lease(redis_client: RedisClient) -> None:
    entry = await a_stored(redis_client)
    with pytest.raises(LeaseLostError):
        await DeadLetters(redis_client).park(0, "w:1", Parked(USERS, entry), CAUSE)
    assert await redis_client.ask("XLEN", KEYS.stream(0, USERS)) == 1
    assert await redis_client.ask("XLEN", KEYS.dead(0)) == 0


async def test_parking_works_when_the_store_is_full(redis_client: RedisClient) -> None:
    entry = await a_stored(redis_client)
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "1")
    await DeadLetters(redis_client).park(0, lease.token, Parked(USERS, entry), CAUSE)
    assert await redis_client.ask("XLEN", KEYS.dead(0)) == 1


async def a_letter(redis_client: RedisClient, data: bytes = b"\x00bytes", at: str = "*", partition: int = 0) -> bytes:
    """Park an entry and give the letter's id."""
    flow = KEYS.stream(partition, USERS)
    fields = ("entry", data, "id", "1-0", "flow", flow, "reason", "refused", "status", 400, "attempts", 1)
    return bytes(await redis_client.ask("XADD", KEYS.dead(partition), at, *fields))


async def entries(redis_client: RedisClient, partition: int = 0) -> list[bytes]:
    return [row[1][1] for row in await redis_client.ask("XRANGE", KEYS.stream(partition, USERS), "-", "+")]


async def test_a_replay_puts_the_bytes_at_the_end_of_the_stream_and_takes_the_letter_away(
    redis_client: RedisClient,
) -> None:
    await a_stored(redis_client)
    letter = await a_letter(redis_client, b"\x01again")
    [entry_id] = await DeadLetters(redis_client).replay([(0, letter)])
    rows = await redis_client.ask("XRANGE", KEYS.stream(0, USERS), "-", "+")
    assert (rows[-1][0], rows[-1][1]) == (entry_id, [b"e", b"\x01again"])
    assert (len(rows), await redis_client.ask("XLEN", KEYS.dead(0))) == (2, 0)


async def test_a_repeated_replay_sends_nothing_twice(redis_client: RedisClient) -> None:
    letter = await a_letter(redis_client)
    letters = DeadLetters(redis_client)
    first, second = await letters.replay([(0, letter), (0, letter)])
    assert isinstance(first, bytes)
    assert second is None
    assert await letters.replay([(0, letter)]) == [None]
    assert len(await entries(redis_client)) == 1


async def test_replays_keep_their_order_also_within_a_millisecond(redis_client: RedisClient) -> None:
    names = [await a_letter(redis_client, b"%d" % number, f"1000-{number}") for number in range(50)]
    outcomes = await DeadLetters(redis_client).replay([(0, name) for name in names])
    assert await entries(redis_client) == [b"%d" % number for number in range(50)]
    assert [row[0] for row in await redis_client.ask("XRANGE", KEYS.stream(0, USERS), "-", "+")] == outcomes


async def test_a_replay_by_a_clock_behind_the_stream_gives_an_id_nobody_had(redis_client: RedisClient) -> None:
    letter = await a_letter(redis_client)
    await redis_client.ask("XADD", KEYS.stream(0, USERS), "99999999999999-5", "e", b"0")
    [entry_id] = await DeadLetters(redis_client).replay([(0, letter)])
    assert entry_id == b"99999999999999-%d" % (5 + crc32(letter) + 1)


async def test_a_full_store_refuses_a_replay_and_the_letter_stays(redis_client: RedisClient) -> None:
    names = [await a_letter(redis_client) for _ in range(2)]
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "1")
    outcomes = await DeadLetters(redis_client).replay([(0, name) for name in names])
    assert [type(outcome) for outcome in outcomes] == [QueueFullError] * 2
    assert (await redis_client.ask("XLEN", KEYS.stream(0, USERS)), await redis_client.ask("XLEN", KEYS.dead(0))) == (
        0,
        2,
    )


async def test_a_full_store_lets_letters_be_seen_and_forgotten(redis_client: RedisClient) -> None:
    name = await a_letter(redis_client)
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "1")
    letters = DeadLetters(redis_client)
    assert [letter.id for letter in (await letters.scan({0: START}, PageLimits()))[0].letters] == [name]
    assert await letters.delete(0, [name, b"1-1"]) == 1
    assert await letters.delete(0, [name]) == 0


async def test_a_letter_without_an_entry_is_not_sent_and_stays(redis_client: RedisClient) -> None:
    name = await redis_client.ask("XADD", KEYS.dead(0), "*", "reason", "refused", "entry of", "a newer version")
    assert await DeadLetters(redis_client).replay([(0, name)]) == [b""]
    assert (await redis_client.ask("XLEN", KEYS.stream(0, USERS)), await redis_client.ask("XLEN", KEYS.dead(0))) == (
        0,
        1,
    )


async def test_a_scan_pages_through_partitions_at_once(redis_client: RedisClient) -> None:
    ones = [await a_letter(redis_client, at=f"{number}-0") for number in range(1, 6)]
    two = await a_letter(redis_client, at="3-7", partition=1)
    letters = DeadLetters(redis_client)
    first = await letters.scan({0: START, 1: START, 2: START}, PageLimits(count=3))
    assert [[letter.id for letter in first[partition].letters] for partition in range(3)] == [ones[:3], [two], []]
    assert [first[partition].last for partition in range(3)] == [ones[-1], two, b""]
    rest = await letters.scan({0: ones[2], 1: two}, PageLimits(count=3))
    assert [[letter.id for letter in page.letters] for page in rest.values()] == [ones[3:], []]
    assert rest[1].last == two


@pytest.mark.parametrize(("before", "count"), [(0, 0), (1, 0), (2, 1), (3, 3), (4, 4), (None, 4)])
async def test_a_scan_ends_before_a_time(redis_client: RedisClient, before: int | None, count: int) -> None:
    for at in ("1-0", "2-0", f"2-{2**63}", "3-0"):
        await a_letter(redis_client, at=at)
    page = (await DeadLetters(redis_client).scan({0: START}, PageLimits(before)))[0]
    assert (len(page.letters), page.last) == (count, b"3-0")


async def test_a_scan_of_large_letters_is_bounded_in_bytes(redis_client: RedisClient) -> None:
    for number in range(5):
        await a_letter(redis_client, bytes(100_000), f"{number + 1}-0")
    letters = DeadLetters(redis_client)
    assert len((await letters.scan({0: START}, PageLimits(size=1)))[0].letters) == 1
    assert len((await letters.scan({0: START}, PageLimits(size=250_000)))[0].letters) == 3


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        (["entry", b"e", "colour", "red"], (b"e", DeathCause("unknown", 0, 0, ""))),
        (["reason", "new", "status", "later", "attempts", b"\xff"], (b"", DeathCause("new", 0, 0, ""))),
        (
            ["detail", b"caf\xe9", "status", "99999999999", "attempts", "-1"],
            (b"", DeathCause("unknown", 0, 0, "caf\ufffd")),
        ),
        (["reason", "tooOld", "status", "503", "attempts", "7"], (b"", DeathCause("tooOld", 503, 7, ""))),
    ],
)
async def test_rows_of_other_versions_are_read_as_far_as_they_go(
    redis_client: RedisClient, row: list[str | bytes], letter: tuple[bytes, DeathCause]
) -> None:
    name = await redis_client.ask("XADD", KEYS.dead(0), "*", *row)
    letters = DeadLetters(redis_client)
    [scanned] = (await letters.scan({0: START}, PageLimits()))[0].letters
    [oldest] = await letters.oldest(0)
    [found, nothing] = await letters.find([(0, name), (0, b"1-1")])
    assert scanned == oldest == found
    assert (scanned.entry.data, scanned.cause) == letter
    assert nothing is None


async def test_the_letters_of_one_list_share_its_body_until_the_last_is_gone(redis_client: RedisClient) -> None:
    """Nothing of it counts as waiting any more, and a replay takes it along."""
    stream = Stream(redis_client, SystemClock(), partitions=1, max_bytes=1 << 30, dedup_window=60, origin="t")
    letters = DeadLetters(redis_client)
    items = [a_message(f"user{number}", text="x" * 6000) for number in range(3)]
    await stream.append([Submission(an_entry(item), list_id="0") for item in items])
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    [read] = await stream.read(0, {USERS: START}, most=10)
    body = decode(read.entries[0].data, "chat").body_ref
    for stored in read.entries:
        assert await letters.park(0, lease.token, Parked(USERS, stored, body), CAUSE) == 0
    depth = await stream.depth()
    assert (depth.size, depth.dead_letters, depth.dead_size > 6000) == (0, 3, True)
    assert depth.dead_size < 2 * 6000
    ids = [letter.id for letter in await letters.oldest(0)]
    [shown] = await letters.find([(0, ids[0])])
    assert shown is not None
    assert shown.body == items[0].body
    [again] = await letters.replay([(0, ids[0])])
    assert isinstance(again, bytes)
    assert await letters.delete(0, ids) == 2
    depth = await stream.depth()
    assert (depth.size > 6000, depth.dead_size, await stream.body(0, body)) == (True, 0, items[0].body)
    [read] = await stream.read(0, {USERS: START}, most=10)
    settled = Settled(USERS, body, weight_of(read.entries[0].data), [again])
    assert await stream.settle([(0, lease.token, [settled])]) == [True]
    assert ((await stream.depth()).size, await stream.body(0, body)) == (0, None)


async def test_the_oldest_letters_make_room_and_are_counted(redis_client: RedisClient) -> None:
    letters = DeadLetters(redis_client, partitions=1, max_bytes=1000)
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    dropped = 0
    for _ in range(20):
        dropped += await letters.park(0, lease.token, Parked(USERS, await a_stored(redis_client)), CAUSE)
    kept = len(await letters.oldest(0))
    assert kept + dropped == 20
    assert 1 <= kept < 20
    assert int(await redis_client.ask("GET", KEYS.dead_size(0))) <= 1000


async def a_lease(redis_client: RedisClient) -> str:
    [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([0])
    return lease.token


async def test_letters_older_than_the_age_are_deleted_and_younger_ones_stay(redis_client: RedisClient) -> None:
    token, letters = await a_lease(redis_client), DeadLetters(redis_client)
    old = [await a_letter(redis_client, at=f"{number}-0") for number in range(1, 4)]
    young = await a_letter(redis_client)
    step = await letters.delete_old(0, token, 3600.0)
    assert (step.count, step.last) == (3, old[-1])
    assert step.left == pytest.approx(3600.0, abs=30)
    assert [letter.id for letter in await letters.oldest(0)] == [young]
    assert await letters.delete_old(0, token, -60.0, step.last) == OldDeleted(1, young, None)
    assert await letters.delete_old(0, token, 3600.0, young) == OldDeleted(0, b"", None)


async def test_deleting_for_age_is_fenced_by_the_lease(redis_client: RedisClient) -> None:
    name = await a_letter(redis_client, at="1-0")
    token, letters = await a_lease(redis_client), DeadLetters(redis_client)
    for other in ("w:0", "~" + token):  # what is left of a lease that was handed over does not do either
        with pytest.raises(LeaseLostError):
            await letters.delete_old(0, other, 3600.0)
    assert [letter.id for letter in await letters.oldest(0)] == [name]


async def test_what_was_deleted_is_reported_until_it_was_counted(redis_client: RedisClient) -> None:
    """So the count survives answers that are lost, and whoever asks next."""
    token, letters = await a_lease(redis_client), DeadLetters(redis_client)
    first = await a_letter(redis_client, at="1-0")
    assert (await letters.delete_old(0, token, 3600.0)).count == 1
    second = await a_letter(redis_client, at="2-0")
    assert (await letters.delete_old(0, token, 3600.0)).last == second
    step = await letters.delete_old(0, token, 3600.0, first)  # the count of the second never came
    assert (step.count, step.last) == (2, second)
    third = await a_letter(redis_client, at="3-0")
    step = await letters.delete_old(0, token, 3600.0, second)
    assert (step.count, step.last) == (1, third)
    assert (await letters.delete_old(0, token, 3600.0, third)).count == 0
    assert await redis_client.ask("EXISTS", KEYS.dead_aged(0)) == 0


async def test_a_step_deletes_a_hundred_letters_or_a_megabyte(redis_client: RedisClient) -> None:
    token, letters = await a_lease(redis_client), DeadLetters(redis_client)
    fields = ("entry", b"e", "flow", KEYS.stream(0, USERS))
    await redis_client.call(*(("XADD", KEYS.dead(0), f"{number}-0", *fields) for number in range(1, 150)))
    step = await letters.delete_old(0, token, 3600.0)
    assert (step.count, step.last, step.left) == (100, b"100-0", 0.0)
    step = await letters.delete_old(0, token, 3600.0, step.last)
    assert (step.count, step.left) == (49, None)
    large = [await a_letter(redis_client, b"x" * 400_000, at=f"{number}-0") for number in range(200, 204)]
    step = await letters.delete_old(0, token, 3600.0, step.last)
    assert (step.count, step.last, step.left) == (3, large[2], 0.0)


async def test_old_letters_are_deleted_in_a_full_store(redis_client: RedisClient) -> None:
    token = await a_lease(redis_client)
    await a_letter(redis_client, at="1-0")
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "1")
    assert (await DeadLetters(redis_client).delete_old(0, token, 3600.0)).count == 1


async def test_a_shared_body_goes_with_the_last_letter_that_is_too_old(redis_client: RedisClient) -> None:
    stream = Stream(redis_client, SystemClock(), partitions=1, max_bytes=1 << 30, dedup_window=60, origin="t")
    token, letters = await a_lease(redis_client), DeadLetters(redis_client)
    items = [a_message(f"user{number}", text="x" * 6000) for number in range(3)]
    await stream.append([Submission(an_entry(item), list_id="0") for item in items])
    [read] = await stream.read(0, {USERS: START}, most=10)
    body = decode(read.entries[0].data, "chat").body_ref
    for stored in read.entries[:2]:
        await letters.park(0, token, Parked(USERS, stored, body), CAUSE)
    assert (await letters.delete_old(0, token, -60.0)).count == 2
    depth = await stream.depth()
    assert (depth.dead_letters, depth.dead_size, await stream.body(0, body)) == (0, 0, items[0].body)
    await letters.park(0, token, Parked(USERS, read.entries[2], body), CAUSE)
    await letters.delete_old(0, token, -60.0)
    assert ((await stream.depth()).dead_size, await stream.body(0, body)) == (0, None)


async def test_the_age_of_the_oldest_letter_of_all_is_known(redis_client: RedisClient) -> None:
    stream = Stream(redis_client, SystemClock(), partitions=2, max_bytes=1 << 30, dedup_window=60)
    assert (await stream.depth()).dead_age == 0.0
    await a_letter(redis_client, partition=1)
    assert 0.0 <= (await stream.depth()).dead_age < 30
    await a_letter(redis_client, at="1000-0")
    seconds, _micro = await redis_client.ask("TIME")
    assert (await stream.depth()).dead_age == pytest.approx(int(seconds) - 1, abs=30)
