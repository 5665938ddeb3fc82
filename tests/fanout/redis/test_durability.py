"""What a 202 waits for: replicas and disks, proved by taking the primary away."""

from collections.abc import Iterator

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.queue.entry import Admission, Submission
from fanout.queue.keys import lane_of, partition_of
from fanout.queue.store import prepare
from fanout.queue.stream import START, Stream
from fanout.redis.client import RedisClient
from fanout.redis.durability import Durability, Unconfirmed, confirmed, durability_of
from tests.builders import a_message, a_submission
from tests.redis_kinds import ENCODED, MAKES, Store, opened, replicated
from tests.redis_servers import eventually

pytestmark = pytest.mark.slow

P = 4
ONE_REPLICA = Durability(1, aof=False, timeout=5.0)
SOON = Durability(1, aof=False, timeout=0.1)


@pytest.fixture(params=MAKES)
def pair(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A primary and its replica, of each make."""
    store = replicated(MAKES[request.param])
    try:
        yield store
    finally:
        for server in store.servers:
            server.thaw()
        store.stop()


def a_stream(redis_client: RedisClient, durability: Durability | None) -> Stream:
    return Stream(
        redis_client, SystemClock(), partitions=P, max_bytes=1 << 30, dedup_window=60.0, durability=durability
    )


async def appended(store: Store, durability: Durability | None, *submissions: Submission) -> list[tuple[str, bool]]:
    async with opened(store.url) as redis_client:
        receipts = await a_stream(redis_client, durability).append(submissions)
    return [(receipt.admission.value, bool(receipt.entry_id)) for receipt in receipts]


def cut_off(store: Store) -> None:
    """Freeze the replica and take its connection away: what is written from now on does not reach its machine."""
    primary, replica = store.servers
    replica.freeze()
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    eventually(lambda: primary.info("replication")["connected_slaves"] == 0, what="the replica is cut off")


async def survivors(store: Store, submission: Submission) -> int:
    """Kill the primary, promote the replica, and count what is in the submission's partition."""
    primary, replica = store.servers
    primary.kill()
    replica.thaw()
    replica.answers()
    replica.ask("REPLICAOF", "NO", "ONE")
    partition = partition_of(lane_of("chat", submission.entry.item), P)
    async with opened(f"redis://:{ENCODED}@127.0.0.1:{replica.port}/0") as redis_client:
        stream = a_stream(redis_client, None)
        reads = await stream.read(partition, dict.fromkeys(await stream.flows(partition) or ["uchat"], START), most=100)
        return sum(len(read.entries) for read in reads)


async def test_with_wait_what_is_accepted_survives_the_primary(pair: Store) -> None:
    submission = a_submission()
    assert await appended(pair, ONE_REPLICA, submission) == [("accepted", True)]
    assert await survivors(pair, submission) == 1


async def test_without_wait_what_is_accepted_may_die_with_the_primary(pair: Store) -> None:
    submission = a_submission()
    cut_off(pair)
    assert await appended(pair, None, submission) == [("accepted", True)]
    assert await survivors(pair, submission) == 0


async def test_what_too_few_replicas_have_is_not_called_accepted(pair: Store) -> None:
    cut_off(pair)
    batch = [a_submission(a_message(f"u{i}")) for i in range(8)]
    assert await appended(pair, SOON, *batch) == [("unknown", True)] * 8
    assert await survivors(pair, batch[0]) == 0


async def test_a_repeat_is_not_confirmed_before_what_it_repeats(pair: Store) -> None:
    submission = a_submission(dedup_id="a")
    pair.servers[1].freeze()
    assert await appended(pair, SOON, submission) == [("unknown", True)]
    assert await appended(pair, SOON, submission) == [("unknown", True)]  # on a connection that wrote nothing before
    pair.servers[1].thaw()
    assert await appended(pair, ONE_REPLICA, submission) == [("duplicate", True)]
    assert await survivors(pair, submission) == 1


async def test_what_was_not_done_needs_no_confirmation(pair: Store) -> None:
    cut_off(pair)
    await appended(pair, None, a_submission(dedup_id="a"))
    other = a_submission(dedup_id="a", fingerprint=b"o" * 16)
    assert await appended(pair, SOON, other) == [(Admission.CONFLICT.value, False)]


async def test_scripts_the_server_does_not_know_are_confirmed_when_they_are_run(pair: Store) -> None:
    pair.servers[0].ask("SCRIPT", "FLUSH")
    cut_off(pair)
    assert await appended(pair, SOON, a_submission()) == [("unknown", True)]


async def test_the_disk_is_waited_for_where_the_server_can_say_so(pair: Store) -> None:
    disk = Durability(0, aof=True, timeout=5.0)
    async with opened(pair.url) as redis_client:
        if await redis_client.ask("COMMAND", "INFO", "WAITAOF") == [None]:
            with pytest.raises(ConfigurationError, match="WAITAOF"):
                await prepare(redis_client, P, disk)
            return
        assert await prepare(redis_client, P, disk) == []
    assert await appended(pair, disk, a_submission()) == [("accepted", True)]
    both = Durability(1, aof=True, timeout=5.0)
    assert await appended(pair, both, a_submission()) == [("accepted", True)]
    cut_off(pair)
    assert await appended(pair, Durability(1, aof=True, timeout=0.1), a_submission()) == [("unknown", True)]


async def test_replicas_that_are_missing_at_the_start_are_told(pair: Store) -> None:
    async with opened(pair.url) as redis_client:
        assert await prepare(redis_client, P, ONE_REPLICA) == []
        [finding] = await prepare(redis_client, P, Durability(2, aof=False, timeout=1.0))
    assert "asks for 2 replicas and 1 are connected" in finding.text


async def test_on_every_kind_of_store_a_confirmation_that_cannot_come_is_missed(redis_client: RedisClient) -> None:
    stream = a_stream(redis_client, Durability(9, aof=False, timeout=0.05))
    receipts = await stream.append([a_submission(a_message(f"u{i}")) for i in range(20)])
    assert {(receipt.admission, bool(receipt.entry_id)) for receipt in receipts} == {(Admission.UNKNOWN, True)}
    assert sum((await stream.depth()).entries) == 20


def test_as_configured_waits_for_nothing() -> None:
    assert durability_of("configured", 1, 1.0) is None


def test_waiting_for_no_replica_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="FANOUT_DURABILITY_REPLICAS"):
        durability_of("replicas", 0, 1.0)


@pytest.mark.parametrize(
    ("durability", "command"),
    [
        (durability_of("replicas", 2, 1.5), ("WAIT", 2, 1500)),
        (durability_of("aof", 0, 1.0), ("WAITAOF", 1, 0, 1000)),
        (durability_of("replicas", 1, 0.0001), ("WAIT", 1, 1)),
    ],
)
def test_it_is_asked_for_in_whole_milliseconds_and_never_for_ever(
    durability: Durability, command: tuple[object, ...]
) -> None:
    assert durability.command == command


def test_enough_is_what_was_asked_for_of_each() -> None:
    assert ONE_REPLICA.is_met(1)
    assert not ONE_REPLICA.is_met(0)
    assert not ONE_REPLICA.is_met(RuntimeError())
    disks = Durability(1, aof=True, timeout=1.0)
    assert disks.is_met([1, 1])
    assert not disks.is_met([0, 1])
    assert not disks.is_met([1, 0])


def test_error_replies_stay_what_they_are() -> None:
    error = RuntimeError()
    assert confirmed(["done", error, 1], ONE_REPLICA) == ["done", error]
    assert confirmed(["done", error, 0], ONE_REPLICA) == [Unconfirmed("done"), error]
