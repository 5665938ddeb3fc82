"""Several workers that share what the service takes.

Rules guarded: a pause and a rate belong to all workers together. What one of them cannot know it does not take for
leave to send.
"""

import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial

import pytest

from tests.flow.fleet import PARTITIONS, USERS, FarSide, a_fleet
from tests.redis_kinds import MAKES
from tests.redis_servers import USUAL, RedisProcess
from tests.workers.helpers import until
from tests.workers.scripted_service import ACCEPTED, Received

# A connection that is given up in the middle of a blocking read is aborted, and its transport closes some turns of the
# loop later: the loop of a test may have ended by then, which says nothing about the code.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    """A server that can be frozen and killed."""
    server = RedisProcess(MAKES["valkey"], "--port", "0", "--unixsocket", "redis.sock", *USUAL).start()
    yield server
    server.stop()


# The shared pause


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
async def test_a_retry_after_seen_by_one_worker_pauses_all_within_a_tenth_of_a_second(
    redis_url: str, as_date: bool
) -> None:
    """From the refusal to the last gate. A busy machine gets six rounds: one that is quick is proof."""
    refusals: list[float] = []

    def answer(_request: Received) -> bytes:
        if not refusing:
            return ACCEPTED
        refusing.clear()
        refusals.append(time.monotonic())
        said = formatdate(time.time() + 2.0, usegmt=True) if as_date else "1"
        return f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: {said}\r\nContent-Length: 0\r\n\r\n".encode()

    refusing, far = list[bool](), FarSide(answer)
    async with a_fleet(redis_url, far) as fleet:
        members = await fleet.start(3, send_rate=400.0)
        for round_ in range(6):
            refusing.append(True)
            await fleet.send("first")
            await until(lambda: all(each.pace.paused_until > time.monotonic() + 0.4 for each in members))
            paused = time.monotonic()
            delay = paused - refusals[-1]
            await fleet.send(*USERS)
            ends = min(each.pace.paused_until for each in members)
            assert ends >= refusals[-1] + (0.9 if as_date else 1.0)
            await until(partial(far.has_more_than, 0, paused))
            assert time.monotonic() >= ends
            await until(partial(far.has_more_than, (round_ + 1) * 61 + len(refusals) - 1, 0.0))
            assert far.since(0.0) - len(refusals) == (round_ + 1) * 61
            assert len(refusals) == round_ + 1
            if delay < 0.1:
                return
    pytest.fail("no round of six was within a tenth of a second")


# The shared rate


async def test_live_workers_share_the_rate_and_who_dies_gives_its_part_back(redis_url: str) -> None:
    far = FarSide()
    async with a_fleet(redis_url, far) as fleet:
        members = list(await fleet.start(3, send_rate=90.0, lease_seconds=1.0))
        await fleet.send(*USERS, times=30)
        await until(
            lambda: sum(each.pace.share for each in members) < 1.05 and min(m.pace.share for m in members) > 0.1
        )
        await reaches_and_keeps(far, 90)
        await fleet.kill(members[2])
        await until(lambda: sum(each.pace.share for each in members[:2]) > 0.95, within=10)
        assert sum(each.pace.share for each in members[:2]) < 1.05
        await until(lambda: sum(len(each.worker.ownership) for each in members[:2]) == PARTITIONS, within=10)
        await reaches_and_keeps(far, 90)


async def reaches_and_keeps(far: FarSide, rate: int) -> None:
    """Wait for a second with nearly as many calls as the rate allows; none has more.

    A busy machine may send less in one second or another, so the first good one counts.
    """
    begin = time.monotonic()
    await asyncio.sleep(1.0)  # the rate is about time
    await until(lambda: far.since(time.monotonic() - 1.0) >= 0.8 * rate, within=15)
    for second in range(int(time.monotonic() - begin)):
        assert far.since(begin + second, begin + second + 1.0) <= 1.1 * rate + 6  # a moment's calls may be saved up


async def test_workers_that_start_together_do_not_send_their_rate_each_before_they_know_of_each_other(
    redis_url: str,
) -> None:
    far = FarSide()
    async with a_fleet(redis_url, far) as fleet:
        members = await fleet.start(3, send_rate=30.0)
        await until(lambda: sum(each.pace.share for each in members) == pytest.approx(1.0))
        begin = time.monotonic()
        await fleet.send(*USERS, times=5)
        await asyncio.sleep(1.0)
        assert far.since(begin, begin + 1.0) <= 30 * 1.1 + 6


async def test_while_redis_cannot_be_asked_workers_keep_their_part_and_never_send_more(redis: RedisProcess) -> None:
    far = FarSide()
    async with a_fleet(f"unix://{redis.socket}", far) as fleet:
        members = await fleet.start(2, send_rate=40.0, lease_seconds=10.0, read_ahead_bytes=1 << 20)
        await fleet.send(*USERS, times=10)
        await until(
            lambda: sum(each.pace.share for each in members) < 1.05 and min(m.pace.share for m in members) > 0.2
        )
        await until(lambda: all(member.metric("fanout_waiting") >= 100 for member in members))
        before = [each.pace.share for each in members]
        redis.freeze()
        begin = time.monotonic()
        await asyncio.sleep(2.0)
        sent = far.since(begin, begin + 2.0)
        after = [each.pace.share for each in members]
        redis.thaw()
    assert after == pytest.approx(before, abs=0.2)
    assert 0 < sent <= 1.1 * 80


async def test_a_worker_that_starts_while_redis_is_away_sends_nothing_and_then_no_more_than_its_part(
    redis: RedisProcess,
) -> None:
    far = FarSide()
    async with a_fleet(f"unix://{redis.socket}", far) as fleet:
        member = await fleet.hire(send_rate=20.0)
        await fleet.send(*USERS)
        redis.freeze()
        fleet.run(member)
        await asyncio.sleep(1.0)
        assert far.came == []
        assert member.pace.share == 0.0
        redis.thaw()
        await until(lambda: bool(far.came), within=15)
        begin = far.came[0][0]
        await asyncio.sleep(2.0)
        assert far.since(begin, begin + 2.0) <= 1.1 * 40
