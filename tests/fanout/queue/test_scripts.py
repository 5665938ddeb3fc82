"""Each script on every kind of server: what it returns, and that a holder who lost the lease changes nothing."""

from hashlib import sha1
from typing import Any

import pytest

from fanout.queue import scripts, worker_scripts
from fanout.queue.keys import KEYS
from fanout.queue.remembered import dedup_mark, idempotency_mark
from fanout.queue.scripts import APPEND, PARK, SETTLE
from fanout.queue.worker_scripts import ACQUIRE, CLAIM, HEARTBEAT, RELEASE, RENEW
from fanout.redis.client import RedisClient, Script

ALL = {name: script for name, script in (vars(scripts) | vars(worker_scripts)).items() if isinstance(script, Script)}
STREAM, DEAD, LEASE, FENCE = KEYS.stream(3, "uchat"), KEYS.dead(3), KEYS.lease(3), KEYS.fence(3)
FLOWS, WAKE, SIZE, DEAD_SIZE, SEEN = KEYS.flows(3), KEYS.wake(3), KEYS.size(3), KEYS.dead_size(3), KEYS.seen(3)
EACH = 64  # bytes that an entry counts for beside its own


async def append(
    redis_client: RedisClient, *entries: tuple[bytes, str, bytes], room: int = 10_000, window: int = 60_000
) -> list[Any]:
    """Append (bytes, the dedup id or "", fingerprint)."""
    args: list[Any] = [room, window, 7, 1, 1, 0, len(entries)]
    for data, name, fingerprint in entries:
        args += [data, dedup_mark("chat", name, "") + fingerprint.ljust(8) if name else b""]
    return list(await redis_client.run(APPEND, [FLOWS, WAKE, SIZE, SEEN, STREAM], args))


async def remembered(redis_client: RedisClient) -> list[str]:
    """Return the keys that hold remembered ids."""
    return [name.decode() for found in await redis_client.ask_primaries("KEYS", f"{SEEN}:*") for name in found]


def test_a_script_is_known_by_the_sha1_of_its_text_and_does_not_print_it() -> None:
    for script in ALL.values():
        assert script.sha == sha1(script.text.encode(), usedforsecurity=False).hexdigest()
        assert script.text not in repr(script)


@pytest.mark.parametrize("name", ALL)
async def test_every_script_is_taken_by_the_server(redis_client: RedisClient, name: str) -> None:
    assert await redis_client.ask("SCRIPT", "LOAD", ALL[name].text) in (ALL[name].sha, ALL[name].sha.encode())


async def test_append_tells_the_bytes_that_wait_and_what_became_of_each(redis_client: RedisClient) -> None:
    first = await append(redis_client, (b"1", "a", b"=x"), (b"2", "", b""))
    assert first[0] == 2 * EACH + 2
    again = await append(redis_client, (b"1", "a", b"=x"), (b"other", "a", b"=y"), (b"3", "b", b"=z"))
    assert again[:3] == [3 * EACH + 3, b"D" + first[1], b"C"]
    rows = await redis_client.ask("XRANGE", STREAM, "-", "+")
    assert [(row[0], row[1]) for row in rows] == [
        (first[1], [b"e", b"1"]),
        (first[2], [b"e", b"2"]),
        (again[3], [b"e", b"3"]),
    ]


async def test_append_to_a_full_queue_stores_nothing_new(redis_client: RedisClient) -> None:
    first = await append(redis_client, (b"1", "a", b"=x"), room=1)
    full = await append(redis_client, (b"1", "a", b"=x"), (b"2", "b", b"=x"), (b"3", "", b""), room=1)
    assert full == [0, b"D" + first[1], b"F", b"F"]
    [name] = await remembered(redis_client)
    assert await redis_client.ask("HLEN", name) == 1


async def test_ids_of_a_request_start_at_its_number(redis_client: RedisClient) -> None:
    [_, one, two] = await append(redis_client, (b"1", "", b""), (b"2", "", b""))
    assert one.endswith(b"-7")
    assert two == one.removesuffix(b"7") + b"8"


@pytest.mark.parametrize(
    ("last", "one", "two"),
    [
        (b"99999999999999-5", b"99999999999999-13", b"99999999999999-14"),
        (b"99999999999999-4503599627370497", b"100000000000000-8", b"100000000000000-9"),
    ],
)
async def test_a_clock_behind_the_stream_gives_no_id_a_lost_entry_may_have_had(
    redis_client: RedisClient, last: bytes, one: bytes, two: bytes
) -> None:
    await redis_client.ask("XADD", STREAM, last, "e", b"0")
    assert await append(redis_client, (b"1", "", b""), (b"2", "", b"")) == [2 * EACH + 2, one, two]


@pytest.mark.parametrize("last", [b"", b"99999999999999-5", b"99999999999999-4503599627370490", b"1-9"])
async def test_a_duplicate_is_answered_with_the_id_stored_before_whatever_that_is(
    redis_client: RedisClient, last: bytes
) -> None:
    """One that was made now is remembered in few bytes, another one whole."""
    if last:
        await redis_client.ask("XADD", STREAM, last, "e", b"0")
    entries = [(b"1", f"{n}", b"=x") for n in range(3)]
    stored = await append(redis_client, *entries)
    assert (await append(redis_client, *entries))[1:] == [b"D" + id_ for id_ in stored[1:]]
    sizes = [len(value) for name in await remembered(redis_client) for value in await redis_client.ask("HVALS", name)]
    assert sizes == [26 if last.startswith(b"9") else 18] * 3


async def test_an_append_the_store_refuses_says_why(redis_client: RedisClient) -> None:
    await redis_client.ask("SET", STREAM, "no stream")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await append(redis_client, (b"1", "", b""))


async def test_a_duplicate_does_not_prolong_the_time_its_id_is_remembered(redis_client: RedisClient) -> None:
    await append(redis_client, (b"1", "a", b"=x"), window=50_000)
    [name] = await remembered(redis_client)
    before = await redis_client.ask("PTTL", name)
    await append(redis_client, (b"1", "a", b"=x"), window=50_000)
    assert 0 < await redis_client.ask("PTTL", name) <= before <= 100_000


async def middle_of_a_span(redis_client: RedisClient) -> tuple[int, int]:
    """Return the server's time in milliseconds and a window in the middle of whose span it lies."""
    seconds, microseconds = await redis_client.ask("TIME")
    now = int(seconds) * 1000 + int(microseconds) // 1000
    return now, now * 2 // 201


@pytest.mark.parametrize(
    ("age", "answer"),
    [(0.6, "D5-7"), (0.99, "D5-7"), (1.01, "new"), (1.4, "new"), (-0.1, "D5-7"), (-0.6, "D5-7"), (-1.4, "D5-7")],
)
async def test_an_id_is_remembered_for_one_window_on_both_sides_of_a_border(
    redis_client: RedisClient, age: float, answer: str
) -> None:
    """Ages in windows; a negative one is that of an id from before a server with a clock behind took over."""
    now, window = await middle_of_a_span(redis_client)
    mark, since = dedup_mark("chat", "a", ""), now - int(age * window)
    value = (since % window).to_bytes(5) + b"contents" + (5).to_bytes(6) + (7).to_bytes(7)
    first_level = int.from_bytes(mark[:3], "little") % 16
    name = f"{SEEN}:{since // window}:{first_level}"
    await redis_client.call(("HSET", SEEN, since // window, 16), ("HSET", name, mark, value), ("PEXPIRE", name, window))
    [_, again] = await append(redis_client, (b"1", "a", b"contents"), window=window)
    assert again == answer.encode() if answer != "new" else again[:1].isdigit()
    [_, conflict] = await append(redis_client, (b"1", "a", b"another."), window=window)
    assert conflict == b"C"


async def test_a_span_begins_with_as_many_hashes_as_the_one_before_it_would_have_needed(
    redis_client: RedisClient,
) -> None:
    """The spans that can still hold ids are known; of older ones nothing is left."""
    now, window = await middle_of_a_span(redis_client)
    span = now // window
    await redis_client.ask("HSET", SEEN, span - 2, 16, span - 1, 64, "n", 100_000)
    [_, one] = await append(redis_client, (b"1", "a", b"contents"), window=window)
    assert (await append(redis_client, (b"1", "a", b"contents"), window=window))[1] == b"D" + one
    kept = await redis_client.call(*[("HGET", SEEN, name) for name in (span - 2, span - 1, span)])
    assert kept == [None, b"64", b"4096"]
    assert int(await redis_client.ask("HGET", SEEN, "n") or 0) < 100
    assert 0 < await redis_client.ask("PTTL", SEEN) <= 3 * window


@pytest.mark.slow
async def test_each_remembered_id_takes_little_however_many_there_are(redis_client: RedisClient) -> None:
    """Small hashes in the compact form: none is costly to expire, and no setting of the server is relied on."""
    _now, window = await middle_of_a_span(redis_client)
    for count in (100, 1_000, 10_000, 40_000):
        names = [f"{count}-{n}" for n in range(count)]
        receipts = [await append(redis_client, *[(b"1", n, b"contents") for n in names[k : k + 1000]], room=1 << 40,
                                 window=window) for k in range(0, count, 1000)]  # fmt: skip
        again = [await append(redis_client, *[(b"1", n, b"contents") for n in names[k : k + 1000]], window=window)
                 for k in range(0, count, 1000)]  # fmt: skip
        assert [b"D" + id_ for some in receipts for id_ in some[1:]] == [id_ for some in again for id_ in some[1:]]
        keys = await remembered(redis_client)
        lengths = await redis_client.call(*[("HLEN", name) for name in keys])
        assert (sum(lengths), max(lengths) <= 48) == (count, True)
        assert set(await redis_client.call(*[("OBJECT", "ENCODING", name) for name in keys])) == {b"listpack"}
        sizes = await redis_client.call(*[("MEMORY", "USAGE", name) for name in keys])
        assert sum(sizes) / count < 110
        await redis_client.ask("DEL", SEEN, *keys)


@pytest.mark.parametrize("count", [900, 1_000, 1_500, 2_500])
async def test_ids_that_come_before_it_is_known_how_many_there_will_be_take_little_too(
    redis_client: RedisClient, count: int
) -> None:
    """A few more than the first hashes hold: an item with a key of its own has two of them, and may take 110 bytes."""
    names = [f"{count}-{n}" for n in range(count)]
    await append(redis_client, *[(b"1", name, b"contents") for name in names], room=1 << 40)
    sizes = await redis_client.call(*[("MEMORY", "USAGE", name) for name in await remembered(redis_client)])
    assert sum(sizes) / count <= 110 / 2


async def test_append_names_the_flow_and_wakes_once(redis_client: RedisClient) -> None:
    await append(redis_client, (b"1", "", b""))
    await append(redis_client, (b"2", "", b""))
    assert await redis_client.ask("SMEMBERS", FLOWS) == [STREAM.encode()]
    assert await redis_client.ask("XLEN", WAKE) == 1


SETTLED = [LEASE, SIZE, STREAM]


async def test_settle_counts_what_it_deleted_and_is_fenced(redis_client: RedisClient) -> None:
    [_, one, two] = await append(redis_client, (b"1", "", b""), (b"2", "", b""))
    await redis_client.ask("SET", LEASE, "w:1")
    assert await redis_client.run(SETTLE, SETTLED, ["w:2", 1, 0, 65, 1, one]) == -1
    assert await redis_client.ask("XLEN", STREAM) == 2
    assert await redis_client.run(SETTLE, SETTLED, ["w:1", 1, 0, 130, 2, one, two]) == 2
    assert await redis_client.run(SETTLE, SETTLED, ["w:1", 1, 0, 65, 1, one]) == 0
    assert int(await redis_client.ask("GET", SIZE)) == 0


async def test_settle_without_any_lease_is_fenced(redis_client: RedisClient) -> None:
    [_, one] = await append(redis_client, (b"1", "", b""))
    assert await redis_client.run(SETTLE, SETTLED, ["", 1, 0, 65, 1, one]) == -1


PARKED = [LEASE, SIZE, STREAM, DEAD, DEAD_SIZE]


async def test_park_moves_an_entry_once_and_is_fenced(redis_client: RedisClient) -> None:
    [_, one] = await append(redis_client, (b"1", "", b""))
    await redis_client.ask("SET", LEASE, "w:1")
    assert await redis_client.run(PARK, PARKED, ["w:2", one, 65, 999, "reason", "refused"]) == -1
    assert (await redis_client.ask("XLEN", STREAM), await redis_client.ask("XLEN", DEAD)) == (1, 0)
    assert await redis_client.run(PARK, PARKED, ["w:1", one, 65, 999, "reason", "refused"]) == 1
    assert await redis_client.run(PARK, PARKED, ["w:1", one, 65, 999, "reason", "refused"]) == 0
    assert (await redis_client.ask("XLEN", STREAM), await redis_client.ask("XLEN", DEAD)) == (0, 1)
    [row] = await redis_client.ask("XRANGE", DEAD, "-", "+")
    assert row[1] == [b"reason", b"refused"]
    assert [int(await redis_client.ask("GET", key)) for key in (SIZE, DEAD_SIZE)] == [0, 7]


async def test_a_park_the_store_refuses_leaves_the_entry_where_it_was(redis_client: RedisClient) -> None:
    [_, one] = await append(redis_client, (b"1", "", b""))
    await redis_client.ask("SET", LEASE, "w:1")
    await redis_client.ask("SET", DEAD, "no stream")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await redis_client.run(PARK, PARKED, ["w:1", one, 65, 999, "reason", "refused"])
    assert await redis_client.ask("XLEN", STREAM) == 1


async def test_acquire_gives_one_holder_a_token_greater_than_the_last(redis_client: RedisClient) -> None:
    assert await redis_client.run(ACQUIRE, [LEASE, FENCE], ["w", 60_000]) == b"w:1"
    assert await redis_client.run(ACQUIRE, [LEASE, FENCE], ["v", 60_000]) is None
    assert 0 < await redis_client.ask("PTTL", LEASE) <= 60_000
    await redis_client.ask("DEL", LEASE)
    assert await redis_client.run(ACQUIRE, [LEASE, FENCE], ["v", 60_000]) == b"v:2"


async def test_renew_prolongs_its_holders_lease_and_tells_the_oldest_entry(redis_client: RedisClient) -> None:
    await redis_client.ask("SET", LEASE, "w:1", "PX", 1000)
    assert await redis_client.run(RENEW, [LEASE, STREAM], ["w:1", 60_000]) == [b""]
    assert await redis_client.ask("PTTL", LEASE) > 1000
    [_, one, _two] = await append(redis_client, (b"1", "", b""), (b"2", "", b""))
    assert await redis_client.run(RENEW, [LEASE, STREAM], ["w:1", 60_000]) == [one]
    assert await redis_client.run(RENEW, [LEASE, STREAM], ["v:2", 60_000]) is None


async def test_release_takes_away_its_holders_lease_alone(redis_client: RedisClient) -> None:
    rest = KEYS.rest(3, "~w:1")
    for held, token in ((LEASE, "w:1"), (rest, "~w:1")):  # its holder may not know which it is
        await redis_client.ask("SET", held, token)
        assert await redis_client.run(RELEASE, [LEASE, rest], ["v:2", "~v:2"]) == 0
        assert await redis_client.run(RELEASE, [LEASE, rest], ["w:1", "~w:1"]) == 1
        assert await redis_client.run(RELEASE, [LEASE, rest], ["w:1", "~w:1"]) == 0


async def test_a_heartbeat_marks_lists_and_forgets_workers_by_the_stores_clock(redis_client: RedisClient) -> None:
    await redis_client.ask("ZADD", KEYS.workers, 1, "long gone")
    reply = await redis_client.run(HEARTBEAT, [KEYS.workers], ["b", 60_000])
    [seconds, _micro] = await redis_client.ask("TIME")
    assert abs(int(reply[0]) / 1000 - int(seconds)) <= 2
    assert reply[1:] == [b"b"]
    assert sorted((await redis_client.run(HEARTBEAT, [KEYS.workers], ["a", 60_000]))[1:]) == [b"a", b"b"]
    assert (await redis_client.run(HEARTBEAT, [KEYS.workers], ["b", 0]))[1:] == [b"a"]


async def test_claim_keeps_one_body_for_a_key(redis_client: RedisClient) -> None:
    mark = idempotency_mark("chat", "k")
    assert await redis_client.run(CLAIM, [SEEN], [mark, b"contents", 60_000]) == 1
    assert await redis_client.run(CLAIM, [SEEN], [mark, b"contents", 60_000]) == 1
    assert await redis_client.run(CLAIM, [SEEN], [mark, b"another.", 60_000]) == 0
    assert await redis_client.run(CLAIM, [SEEN], [idempotency_mark("chat", "l"), b"another.", 60_000]) == 1
    for name in await remembered(redis_client):
        assert 0 < await redis_client.ask("PTTL", name) <= 120_000
