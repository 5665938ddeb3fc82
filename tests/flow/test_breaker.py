"""Breakers of real workers.

Rule guarded: a service that fails is left in peace.
"""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from fanout.signalr.message import GroupAction, Scope, Verb
from tests.builders import a_join, a_message, a_submission
from tests.flow.fleet import UNAVAILABLE, USERS, FarSide, a_fleet
from tests.workers.helpers import until
from tests.workers.scripted_service import ACCEPTED, Received

FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"

# A connection that is given up in the middle of a blocking read is aborted, and its transport closes some turns of the
# loop later: the loop of a test may have ended by then, which says nothing about the code.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def only_probes_are_left(far: FarSide) -> bool:
    """Return whether each user was tried, so that a breaker lets go no call to it but a probe."""
    return len({target for _when, target in far.came}) == len(USERS)


async def test_a_breaker_opens_lets_some_probes_go_closes_and_is_a_metric_all_the_while(redis_url: str) -> None:
    far = FarSide(lambda _request: UNAVAILABLE)
    async with a_fleet(redis_url, far) as fleet:
        [member] = await fleet.start(1)
        held_back = 'fanout_breaker_open{class="send"}'
        assert member.metric(held_back) == 0.0
        await fleet.send(*USERS)
        await until(lambda: member.metric(held_back) == 1.0)
        await until(lambda: only_probes_are_left(far) and member.worker.dispatcher.in_flight == 0)
        opened, far.waits = len(far.came), asyncio.Event()
        await until(lambda: len(far.came) > opened)
        await asyncio.sleep(2.5)  # long enough for many more, if those in flight were not counted
        assert len(far.came) <= opened + 32
        assert member.metric(held_back) == 1.0
        far.answer = lambda _request: ACCEPTED
        far.waits.set()  # these are answered 503, as the far side was when they came; the next one finds it healed
        await until(lambda: member.metric(held_back) == 0.0, within=10)
        await until(lambda: len({target for _when, target in far.came[opened + 1 :]}) == len(USERS), within=10)
        assert member.metric('fanout_dead_total{reason="tooManyAttempts"}') == 0.0


async def test_a_worker_that_starts_anew_does_not_inherit_an_open_breaker(redis_url: str) -> None:
    far = FarSide(lambda _request: UNAVAILABLE)
    async with a_fleet(redis_url, far) as fleet:
        [first] = await fleet.start(1, lease_seconds=1.0)
        await fleet.send(*USERS)
        await until(lambda: first.metric('fanout_breaker_open{class="send"}') == 1.0)
        second = await fleet.hire(lease_seconds=1.0)
        await fleet.kill(first)
        far.answer = lambda _request: ACCEPTED
        begin = time.monotonic()
        fleet.run(second)
        await until(lambda: far.since(begin) >= len(USERS), within=10)
        assert second.metric('fanout_breaker_open{class="send"}') == 0.0


async def test_a_dead_far_side_burns_no_attempts_and_keeps_nobody_busy(redis_url: str) -> None:
    """CPU time says whether somebody turns in circles, however busy the machine is."""
    far = FarSide(lambda _request: UNAVAILABLE)
    async with a_fleet(redis_url, far) as fleet:
        [member] = await fleet.start(1, retry_max_attempts=25)
        await fleet.send(*USERS, times=5)
        await until(lambda: member.metric('fanout_breaker_open{class="send"}') == 1.0)
        await until(lambda: only_probes_are_left(far) and member.worker.dispatcher.in_flight == 0)
        calls, used, begin = len(far.came), time.process_time(), time.monotonic()
        await asyncio.sleep(4.0)
        probes = Counter(target for _when, target in far.came[calls:])
        assert probes.total() <= 110  # one for each user in three seconds, a quarter less at random
        assert max(probes.values()) <= 3
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
        # The flows of six partitions began while each was alone; their parts shrink with each that comes.
        await until(lambda: member.metric("fanout_waiting") <= 131_072 / 600)


async def test_sixty_members_that_fail_for_ever_keep_no_join_of_others_waiting(redis_url: str) -> None:
    """The vendor's local emulator answers 500 to removeAll of a user it does not know, however often it is asked."""

    def answer(request: Received) -> bytes:
        return FAILED if "/users/bad" in request.target else ACCEPTED

    far = FarSide(answer)
    async with a_fleet(redis_url, far) as fleet:
        [member] = await fleet.start(1)
        bad = [GroupAction(verb=Verb.REMOVE_ALL, member_scope=Scope.USER, member=f"bad{n}") for n in range(60)]
        await member.resources.stream.append([a_submission(item) for item in bad])
        await until(lambda: member.metric('fanout_breaker_open{class="action"}') == 1.0)
        await member.resources.stream.append([a_submission(a_join(user)) for user in USERS])
        # How long a join waits is tried in virtual time, in tests/workers/test_lone_failures.py.
        await until(
            lambda: len({target for _when, target in far.came if "/users/user" in target}) == len(USERS), within=60
        )
        assert sum((await member.resources.stream.depth()).entries) >= len(bad)


@pytest.mark.parametrize("status", [b"403 Forbidden", b"404 Not Found", b"302 Found"])
async def test_refusals_of_everybody_wait_for_their_end_and_kill_nothing(redis_url: str, status: bytes) -> None:
    """A firewall rule, or another service at the address: the queue is not emptied into the dead letters."""
    far = FarSide(lambda _request: b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    async with a_fleet(redis_url, far) as fleet:
        [member] = await fleet.start(1)
        await fleet.send(*USERS, times=3)
        await until(lambda: member.metric('fanout_breaker_open{class="send"}') == 1.0)
        await until(lambda: only_probes_are_left(far))
        far.answer = lambda _request: ACCEPTED
        await until(
            lambda: member.metric('fanout_delivered_total{operation="sendToUser"}') == 3 * len(USERS), within=20
        )
        assert (await member.resources.stream.depth()).dead_letters == 0
