"""Several real workers in one process, each with connections of its own, on one real Redis and one real far side.

Rules guarded: a pause and a rate belong to all workers together; what one of them cannot know it
does not take for leave to send; a far side that fails is left in peace.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.routes import RouteClass
from service.compose import Resources, build_worker, open_endpoint, open_resources
from tests.builders import a_message, a_submission
from tests.redis_kinds import MAKES
from tests.redis_servers import USUAL, RedisProcess
from tests.workers.helpers import until
from tests.workers.scripted_service import ACCEPTED, KEY, Received, scripted_service
from workers.pace import Pace
from workers.worker import Worker

PARTITIONS = 6
USERS = [f"user{number}" for number in range(60)]
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

# A connection that is given up in the middle of a blocking read is aborted, and its transport closes some turns of the
# loop later: the loop of a test may have ended by then, which says nothing about the code.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass
class FarSide:
    """Notes when each call came, by user, and answers with what `answer` gives."""

    answer: Callable[[], bytes] = lambda: ACCEPTED
    waits: asyncio.Event | None = None  # calls are answered when it is set
    came: list[tuple[float, str]] = field(default_factory=list)

    async def __call__(self, request: Received) -> bytes:
        self.came.append((time.monotonic(), request.target))
        answer = self.answer()
        if self.waits is not None:
            await self.waits.wait()
        return answer

    def since(self, moment: float, until: float = float("inf")) -> int:
        """Count the calls from a moment on."""
        return sum(moment <= when < until for when, _target in self.came)

    def has_more_than(self, count: int, moment: float) -> bool:
        """Return whether more than `count` calls came from a moment on."""
        return self.since(moment) > count


@dataclass
class Member:
    """One worker of the fleet."""

    resources: Resources
    worker: Worker
    task: "asyncio.Task[None] | None" = None

    @property
    def pace(self) -> Pace:
        return self.worker.dispatcher._gate.paces[RouteClass.SEND]

    def metric(self, line: str) -> float:
        """Read one series."""
        rendered = self.resources.metrics.render().decode().splitlines()
        return float(next(each for each in rendered if each.startswith(line)).rpartition(" ")[2])


class Fleet:
    """Workers that are started and killed by hand."""

    def __init__(self, url: str, port: int, exits: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        self.url = url
        self.members: list[Member] = []
        self._service = ConnectionString.parse(f"Endpoint=http://127.0.0.1;Port={port};AccessKey={KEY};Version=1.0;")
        self._exits = exits
        self._group = group

    async def hire(self, **settings: object) -> Member:
        """Put one worker together; it does not run yet."""
        wanted = {"redis_url": self.url, "partitions": PARTITIONS, "retry_base": 0.02, "retry_cap": 0.05} | settings
        configured = load({}, **wanted)
        resources = await self._exits.enter_async_context(open_resources(configured, SystemClock()))
        endpoint = open_endpoint(configured, SystemClock(), resources.metrics, self._service)
        self._exits.push_async_callback(endpoint.aclose)
        self.members.append(Member(resources, build_worker(resources, endpoint)))
        return self.members[-1]

    async def start(self, count: int, **settings: object) -> list[Member]:
        """Run this many workers and wait until they have shared the partitions."""
        for _ in range(count):
            member = await self.hire(**settings)
            self.run(member)
        share = PARTITIONS // count
        await until(lambda: all(len(each.worker.ownership) == share for each in self.members), within=15)
        return self.members

    def run(self, member: Member) -> None:
        member.task = self._group.create_task(member.worker.run())

    async def kill(self, member: Member) -> None:
        """End it without a clean shutdown, as SIGKILL does."""
        assert member.task is not None
        member.task.cancel()
        await asyncio.wait([member.task])
        self.members.remove(member)

    async def send(self, *users: str, times: int = 1) -> None:
        batch = [a_submission(a_message(user)) for _ in range(times) for user in users]
        await self.members[0].resources.stream.append(batch)


@asynccontextmanager
async def a_fleet(url: str, far: FarSide) -> AsyncIterator[Fleet]:
    async with scripted_service(far) as end, AsyncExitStack() as exits, asyncio.TaskGroup() as group:
        fleet = Fleet(url, end.port, exits, group)
        try:
            yield fleet
        finally:
            for member in fleet.members:
                if member.task is not None:
                    member.task.cancel()


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

    def answer() -> bytes:
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


# The breaker


async def test_a_breaker_opens_lets_exactly_one_probe_go_closes_and_is_a_metric_all_the_while(redis_url: str) -> None:
    far = FarSide(lambda: UNAVAILABLE)
    async with a_fleet(redis_url, far) as fleet:
        [member] = await fleet.start(1)
        held_back = 'fanout_breaker_open{class="send"}'
        assert member.metric(held_back) == 0.0
        await fleet.send(*USERS)
        await until(lambda: member.metric(held_back) == 1.0)
        await until(lambda: member.worker.dispatcher.in_flight == 0)
        opened, far.waits = len(far.came), asyncio.Event()
        await until(lambda: len(far.came) > opened)
        await asyncio.sleep(1.5)  # longer than it was open for: nothing goes while the probe is out
        assert len(far.came) == opened + 1
        assert member.metric(held_back) == 1.0
        far.answer = lambda: ACCEPTED
        far.waits.set()  # the probe is answered 503, as the far side was when it came; the next one finds it healed
        await until(lambda: member.metric(held_back) == 0.0, within=10)
        await until(lambda: len({target for _when, target in far.came[opened + 1 :]}) == len(USERS), within=10)
        assert member.metric('fanout_dead_total{reason="tooManyAttempts"}') == 0.0


async def test_a_worker_that_starts_anew_does_not_inherit_an_open_breaker(redis_url: str) -> None:
    far = FarSide(lambda: UNAVAILABLE)
    async with a_fleet(redis_url, far) as fleet:
        [first] = await fleet.start(1, lease_seconds=1.0)
        await fleet.send(*USERS)
        await until(lambda: first.metric('fanout_breaker_open{class="send"}') == 1.0)
        second = await fleet.hire(lease_seconds=1.0)
        await fleet.kill(first)
        far.answer = lambda: ACCEPTED
        begin = time.monotonic()
        fleet.run(second)
        await until(lambda: far.since(begin) >= len(USERS), within=10)
        assert second.metric('fanout_breaker_open{class="send"}') == 0.0


async def test_a_dead_far_side_burns_no_attempts_and_keeps_nobody_busy(redis_url: str) -> None:
    """CPU time says whether somebody turns in circles, however busy the machine is."""
    far = FarSide(lambda: UNAVAILABLE)
    async with a_fleet(redis_url, far) as fleet:
        [member] = await fleet.start(1, retry_max_attempts=25)
        await fleet.send(*USERS, times=5)
        await until(lambda: member.metric('fanout_breaker_open{class="send"}') == 1.0)
        await until(lambda: member.worker.dispatcher.in_flight == 0)
        calls, used, begin = len(far.came), time.process_time(), time.monotonic()
        await asyncio.sleep(4.0)
        assert len(far.came) - calls <= 3
        assert time.process_time() - used < 0.25 * (time.monotonic() - begin)
        assert member.metric('fanout_dead_total{reason="tooManyAttempts"}') == 0.0
        assert sum((await member.resources.stream.depth()).entries) == 5 * len(USERS)


async def test_a_hub_whose_destinations_are_dead_holds_up_no_other(redis_url: str, tmp_path: Path) -> None:
    """They are more than a worker reads ahead, and come first."""

    def answer_for(request: Received) -> bytes:
        return UNAVAILABLE if "/hubs/noisy/" in request.target else ACCEPTED

    class Mixed(FarSide):
        async def __call__(self, request: Received) -> bytes:
            self.came.append((time.monotonic(), request.target))
            return answer_for(request)

    far = Mixed()
    async with a_fleet(redis_url, far) as fleet:
        [member] = await fleet.start(1, read_ahead_bytes=131_072)
        dead = [a_submission(a_message(f"dead{number}"), hub="noisy") for number in range(600)]
        await member.resources.stream.append(dead)
        await until(lambda: member.metric('fanout_breaker_open{class="send"}') == 1.0)
        await fleet.send(*USERS)
        await until(lambda: sum("/hubs/chat/" in target for _when, target in far.came) == len(USERS), within=20)
        assert member.metric("fanout_waiting") <= 131_072 / 600
