"""Commands on a store that fails in the middle of them: what was done is reported, what was not is refused."""

from collections.abc import Mapping, Sequence

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueFullError, QueueSilentError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters, LetterKey, Page, PageLimits
from fanout.queue.keys import KEYS
from fanout.redis.client import RedisClient
from service.admin.dead_letters import batches as work
from service.admin.dead_letters.batches import Action, CommandRunner
from service.admin.dead_letters.command import Command, Selection
from service.admin.dead_letters.reference import Cursor, LetterRef, parse_ref
from tests.fakes import FakeClock
from tests.service.admin.dead_letters.parked import PARTITIONS, park, park_row, parked_count, queued

ALL = Command(Selection(), 10_000, Cursor())


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "BATCH_SIZE", 100)


class Failing(DeadLetters):
    """Dead letters whose store fails from the call of this number on, counted for each method."""

    def __init__(self, redis_client: RedisClient, error: QueueError, *, after: int, scans_after: int = 1000) -> None:
        super().__init__(redis_client)
        self._error = error
        self._left = after
        self._scans_left = scans_after

    async def replay(self, key: Sequence[LetterKey]) -> list[bytes | QueueError | None]:
        self._use()
        return await super().replay(key)

    async def delete(self, partition: int, ids: Sequence[bytes]) -> int:
        self._use()
        return await super().delete(partition, ids)

    async def scan(self, after: Mapping[int, bytes], limits: PageLimits) -> dict[int, Page]:
        self._scans_left -= 1
        if self._scans_left < 0:
            raise self._error
        return await super().scan(after, limits)

    def _use(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._error


async def many(redis_client: RedisClient, count: int = 250) -> list[LetterRef]:
    """Park letters of one lane and return their references."""
    names = [await park(redis_client, f"{1000 + number}-0") for number in range(count)]
    return [ref for name in names if (ref := parse_ref(name))]


@pytest.mark.parametrize("action", ["replayed", "purged"])
@pytest.mark.parametrize("error", [QueueError("away"), QueueSilentError("silent")])
async def test_what_was_done_before_the_store_failed_is_told(
    one_redis: RedisClient, action: Action, error: QueueError
) -> None:
    refs = await many(one_redis)
    letters = Failing(one_redis, error, after=2)
    report = await CommandRunner(letters, PARTITIONS, SystemClock(), Metrics()).run(ALL, action)
    assert (report.matched, report.done, report.more) == (200, 200, True)
    assert report.cursor == Cursor(refs[199], 1250)
    with pytest.raises(type(error)):
        await CommandRunner(letters, PARTITIONS, SystemClock(), Metrics()).run(ALL, action)
    rest = await CommandRunner(DeadLetters(one_redis), PARTITIONS, SystemClock(), Metrics()).run(
        Command(Selection(), 10_000, report.cursor), action
    )
    assert (rest.done, rest.more, await parked_count(one_redis)) == (50, False, 0)
    assert len(await queued(one_redis)) == (250 if action == "replayed" else 0)


@pytest.mark.parametrize("action", ["replayed", "purged"])
async def test_ids_that_were_done_before_the_store_failed_are_told(one_redis: RedisClient, action: Action) -> None:
    command = Command(Selection(), 1000, Cursor(), tuple(await many(one_redis)))
    letters = Failing(one_redis, QueueError("away"), after=1)
    report = await CommandRunner(letters, PARTITIONS, SystemClock(), Metrics()).run(command, action)
    assert (report.matched, report.done, report.more, report.cursor) == (100, 100, True, None)
    with pytest.raises(QueueError):
        await CommandRunner(letters, PARTITIONS, SystemClock(), Metrics()).run(command, action)


async def test_a_scan_that_fails_reports_what_was_done(one_redis: RedisClient) -> None:
    await many(one_redis)
    letters = Failing(one_redis, QueueError("away"), after=1000, scans_after=2)
    report = await CommandRunner(letters, PARTITIONS, SystemClock(), Metrics()).run(ALL, "replayed")
    assert (report.more, report.done) == (True, len(await queued(one_redis)))
    assert report.done > 0


async def test_a_store_that_fills_up_in_the_middle_of_a_batch_ends_the_command_there(one_redis: RedisClient) -> None:
    class Filling(DeadLetters):
        async def replay(self, key: Sequence[LetterKey]) -> list[bytes | QueueError | None]:
            outcomes = await super().replay(key[:30])
            return outcomes + [QueueFullError("full")] * (len(key) - 30)

    await many(one_redis, 120)
    report = await CommandRunner(Filling(one_redis), PARTITIONS, SystemClock(), Metrics()).run(ALL, "replayed")
    assert (report.matched, report.done, report.more, report.cursor) == (100, 30, True, Cursor(before=1120))


async def test_a_command_ends_at_its_limit_and_when_its_time_is_over(one_redis: RedisClient) -> None:
    refs = await many(one_redis)
    clock = FakeClock()
    limited = await CommandRunner(DeadLetters(one_redis), PARTITIONS, clock, Metrics()).run(
        Command(Selection(), 50, Cursor()), "purged"
    )
    assert (limited.done, limited.more) == (50, True)

    class Slow(DeadLetters):
        async def delete(self, partition: int, ids: Sequence[bytes]) -> int:
            await clock.advance(3)
            return await super().delete(partition, ids)

    late = await CommandRunner(Slow(one_redis), PARTITIONS, clock, Metrics()).run(ALL, "purged")
    assert (late.done, late.more, late.cursor) == (100, True, Cursor(refs[149], 1250))


async def test_a_dry_run_by_ids_counts_those_that_are_there(one_redis: RedisClient) -> None:
    refs = await many(one_redis, 20)
    command = Command(Selection(), 1000, Cursor(), (LetterRef(1, 0, 0), *refs), dry=True)
    for action in ("replayed", "purged"):
        report = await CommandRunner(DeadLetters(one_redis), PARTITIONS, SystemClock(), Metrics()).run(command, action)
        assert (report.matched, report.done, report.more) == (20, 0, False)
    assert (await parked_count(one_redis), await queued(one_redis)) == (20, [])


@pytest.mark.parametrize("by_ids", [True, False])
async def test_letters_go_in_the_order_in_which_their_entries_were_accepted(
    one_redis: RedisClient, *, by_ids: bool
) -> None:
    """A worker parks those of one lane side by side, so they may lie the other way round; strange ids go first."""
    parked = []
    for accepted in ("1000-7", "1000-10", "999-9", "strange", "1001-0"):
        fields = ("entry", accepted, "id", accepted, "flow", KEYS.stream(2, "uchat"), "reason", "refused")
        parked.append(await park_row(one_redis, 2, *fields))
    refs = tuple(ref for name in parked if (ref := parse_ref(name)))
    command = Command(Selection(), 1000, Cursor(), refs) if by_ids else ALL
    await CommandRunner(DeadLetters(one_redis), PARTITIONS, SystemClock(), Metrics()).run(command, "replayed")
    assert await queued(one_redis) == [b"strange", b"999-9", b"1000-7", b"1000-10", b"1001-0"]
