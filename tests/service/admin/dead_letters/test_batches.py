"""Orders on a store that fails in the middle of them: what was done is told, what was not is refused."""

from collections.abc import Mapping, Sequence

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueFullError, QueueSilentError
from fanout.queue.dead_letters import DeadLetters, LetterRef, Page, PageLimits
from fanout.redis.client import RedisClient
from service.admin.dead_letters import batches as work
from service.admin.dead_letters.batches import Action, Work
from service.admin.dead_letters.command import Order
from service.admin.dead_letters.reference import Bookmark, Place, place_of
from service.admin.dead_letters.selection import Selection
from tests.fakes import FakeClock
from tests.service.admin.dead_letters.graveyard import PARTITIONS, buried, bury, bury_row, waiting

ALL = Order(Selection(), 10_000, Bookmark())


@pytest.fixture(autouse=True)
def _small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "AT_ONCE", 100)


class Failing(DeadLetters):
    """Dead letters whose store fails from the call of this number on, counted for each method."""

    def __init__(self, redis_client: RedisClient, error: QueueError, *, after: int, scans_after: int = 1000) -> None:
        super().__init__(redis_client)
        self._error = error
        self._left = after
        self._scans_left = scans_after

    async def replay(self, chosen: Sequence[LetterRef]) -> list[bytes | QueueError | None]:
        self._use()
        return await super().replay(chosen)

    async def forget(self, partition: int, ids: Sequence[bytes]) -> int:
        self._use()
        return await super().forget(partition, ids)

    async def scan(self, after: Mapping[int, bytes], portion: PageLimits) -> dict[int, Page]:
        self._scans_left -= 1
        if self._scans_left < 0:
            raise self._error
        return await super().scan(after, portion)

    def _use(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._error


async def many(redis_client: RedisClient, count: int = 250) -> list[Place]:
    """Park letters of one lane and give their places."""
    names = [await bury(redis_client, f"{1000 + number}-0") for number in range(count)]
    return [place for name in names if (place := place_of(name))]


@pytest.mark.parametrize("action", ["replayed", "purged"])
@pytest.mark.parametrize("error", [QueueError("away"), QueueSilentError("silent")])
async def test_what_was_done_before_the_store_failed_is_told(
    one_redis: RedisClient, action: Action, error: QueueError
) -> None:
    places = await many(one_redis)
    letters = Failing(one_redis, error, after=2)
    report = await Work(letters, PARTITIONS, SystemClock()).do(ALL, action)
    assert (report.matched, report.done, report.more) == (200, 200, True)
    assert report.bookmark == Bookmark(places[199], 1250)
    with pytest.raises(type(error)):
        await Work(letters, PARTITIONS, SystemClock()).do(ALL, action)
    rest = await Work(DeadLetters(one_redis), PARTITIONS, SystemClock()).do(
        Order(Selection(), 10_000, report.bookmark), action
    )
    assert (rest.done, rest.more, await buried(one_redis)) == (50, False, 0)
    assert len(await waiting(one_redis)) == (250 if action == "replayed" else 0)


@pytest.mark.parametrize("action", ["replayed", "purged"])
async def test_ids_that_were_done_before_the_store_failed_are_told(one_redis: RedisClient, action: Action) -> None:
    order = Order(Selection(), 1000, Bookmark(), tuple(await many(one_redis)))
    letters = Failing(one_redis, QueueError("away"), after=1)
    report = await Work(letters, PARTITIONS, SystemClock()).do(order, action)
    assert (report.matched, report.done, report.more, report.bookmark) == (100, 100, True, None)
    with pytest.raises(QueueError):
        await Work(letters, PARTITIONS, SystemClock()).do(order, action)


async def test_a_walk_that_breaks_off_tells_what_was_done(one_redis: RedisClient) -> None:
    await many(one_redis)
    letters = Failing(one_redis, QueueError("away"), after=1000, scans_after=2)
    report = await Work(letters, PARTITIONS, SystemClock()).do(ALL, "replayed")
    assert (report.more, report.done) == (True, len(await waiting(one_redis)))
    assert report.done > 0


async def test_a_store_that_fills_up_in_the_middle_of_a_share_ends_the_order_there(one_redis: RedisClient) -> None:
    class Filling(DeadLetters):
        async def replay(self, chosen: Sequence[LetterRef]) -> list[bytes | QueueError | None]:
            outcomes = await super().replay(chosen[:30])
            return outcomes + [QueueFullError("full")] * (len(chosen) - 30)

    await many(one_redis, 120)
    report = await Work(Filling(one_redis), PARTITIONS, SystemClock()).do(ALL, "replayed")
    assert (report.matched, report.done, report.more, report.bookmark) == (100, 30, True, Bookmark(before=1120))


async def test_an_order_ends_at_its_limit_and_when_its_time_is_over(one_redis: RedisClient) -> None:
    places = await many(one_redis)
    clock = FakeClock()
    limited = await Work(DeadLetters(one_redis), PARTITIONS, clock).do(Order(Selection(), 50, Bookmark()), "purged")
    assert (limited.done, limited.more) == (50, True)

    class Slow(DeadLetters):
        async def forget(self, partition: int, ids: Sequence[bytes]) -> int:
            await clock.advance(3)
            return await super().forget(partition, ids)

    late = await Work(Slow(one_redis), PARTITIONS, clock).do(ALL, "purged")
    assert (late.done, late.more, late.bookmark) == (100, True, Bookmark(places[149], 1250))


async def test_a_dry_run_by_ids_counts_those_that_are_there(one_redis: RedisClient) -> None:
    places = await many(one_redis, 20)
    order = Order(Selection(), 1000, Bookmark(), (Place(1, 0, 0), *places), dry=True)
    for action in ("replayed", "purged"):
        report = await Work(DeadLetters(one_redis), PARTITIONS, SystemClock()).do(order, action)
        assert (report.matched, report.done, report.more) == (20, 0, False)
    assert (await buried(one_redis), await waiting(one_redis)) == (20, [])


@pytest.mark.parametrize("by_ids", [True, False])
async def test_letters_go_in_the_order_in_which_their_entries_were_accepted(
    one_redis: RedisClient, *, by_ids: bool
) -> None:
    """A worker parks those of one lane side by side, so they may lie the other way round; strange ids go first."""
    parked = []
    for accepted in ("1000-7", "1000-10", "999-9", "strange", "1001-0"):
        fields = ("entry", accepted, "id", accepted, "reason", "refused")
        parked.append(await bury_row(one_redis, 2, *fields))
    places = tuple(place for name in parked if (place := place_of(name)))
    order = Order(Selection(), 1000, Bookmark(), places) if by_ids else ALL
    await Work(DeadLetters(one_redis), PARTITIONS, SystemClock()).do(order, "replayed")
    assert await waiting(one_redis) == [b"strange", b"999-9", b"1000-7", b"1000-10", b"1001-0"]
