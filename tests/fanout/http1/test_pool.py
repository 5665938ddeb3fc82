"""The pool grants permits: bounded, first come first served, never lost."""

import asyncio
import random

import pytest

from fanout.errors import MaybeSentError, NotSentError, WithheldError
from fanout.http1.exchange import (
    BrokenExchangeError,
    ExchangeTimeoutError,
    Limits,
    Origin,
    Response,
    StaleConnectionError,
)
from fanout.http1.pool import Pool, PoolStats
from tests.fakes import FakeClock
from tests.fanout.http1.scripted import ACCEPTED, OK, PoolOf, Visit, a_request, echo, none_idle, saying, served

ONE = Limits(connections=1, request_timeout=5.0)


class Gate:
    """A script that answers each request with its body once `open` is called."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self.seen: list[bytes] = []
        self.arrived = asyncio.Semaphore(0)

    def open(self) -> None:
        self._open.set()

    async def __call__(self, visit: Visit) -> None:
        while True:
            body = (await visit.read()).partition(b"\r\n\r\n")[2]
            self.seen.append(body)
            self.arrived.release()
            await self._open.wait()
            await visit.say(saying(body))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_connection_serves_many_requests(pool_of: PoolOf) -> None:
    async with served(echo) as server:
        pool = pool_of(server.origin)
        answers = [await pool.send(a_request(b"%d" % number)) for number in range(5)]
        assert [answer.body for answer in answers] == [b"0", b"1", b"2", b"3", b"4"]
        assert [answer.reused for answer in answers] == [False, True, True, True, True]
        assert pool.stats == PoolStats(opened=1, reused=4, idle=1, busy=0, waiting=0)
        assert repr(pool) == f"<Pool {server.origin} open: 1 idle, 0 busy, 0 waiting, 1 opened, 4 reused>"


async def test_the_server_sees_the_request_as_given(pool_of: PoolOf) -> None:
    async with served(echo) as server:
        await pool_of(server.origin).send(a_request(b"body", target="/a?b=1", headers=b"X-A: b\r\n"))
        assert server.visits[0].requests == [
            b"POST /a?b=1 HTTP/1.1\r\nHost: %b\r\nX-A: b\r\nContent-Length: 4\r\n\r\nbody"
            % server.origin.authority.encode()
        ]


async def test_an_answer_is_given_whatever_its_status(pool_of: PoolOf) -> None:
    async def redirect(visit: Visit) -> None:
        await visit.answer(b"HTTP/1.1 307 Elsewhere\r\nLocation: /y\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n")
        await visit.gone()

    async with served(redirect) as server:
        response = await pool_of(server.origin).send(a_request())
        assert (response.status, response.headers.get("Retry-After")) == (307, "3")


async def test_a_request_that_does_not_fit_the_wire_costs_no_permit(pool_of: PoolOf) -> None:
    pool = pool_of(Origin("http", "127.0.0.1", 1))
    with pytest.raises(ValueError, match="target"):
        await pool.send(a_request(target="/a b"))
    assert pool.stats == PoolStats(0, 0, 0, 0, 0)


@pytest.mark.lengthy
async def test_connections_never_exceed_their_bound_and_each_answer_matches_its_request(pool_of: PoolOf) -> None:
    dice = random.Random(7)

    async def shuffled(visit: Visit) -> None:
        while True:
            body = (await visit.read()).partition(b"\r\n\r\n")[2]
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.01)
            visit.writer.write(saying(b"answer to " + body))

    async with served(shuffled) as server, asyncio.TaskGroup() as group:
        pool = pool_of(server.origin, Limits(connections=16))

        async def ask(number: int) -> None:
            response = await pool.send(a_request(b"%d" % number))
            assert response.body == b"answer to %d" % number

        tasks = [group.create_task(ask(number)) for number in range(2000)]
        await asyncio.wait(tasks)
        assert server.most <= 16
        assert pool.stats == PoolStats(opened=16, reused=1984, idle=16, busy=0, waiting=0)


async def test_those_who_wait_are_served_in_order(pool_of: PoolOf) -> None:
    gate = Gate()
    async with served(gate) as server, asyncio.TaskGroup() as group:
        pool = pool_of(server.origin, ONE)
        for number in range(6):
            group.create_task(pool.send(a_request(b"%d" % number)))
            await settle()
        await gate.arrived.acquire()
        assert pool.stats == PoolStats(opened=1, reused=0, idle=0, busy=1, waiting=5)
        gate.open()
    assert gate.seen == [b"0", b"1", b"2", b"3", b"4", b"5"]


async def test_a_newcomer_does_not_overtake_one_who_waits(pool_of: PoolOf) -> None:
    gate = Gate()
    async with served(gate) as server, asyncio.TaskGroup() as group:
        pool = pool_of(server.origin, ONE)

        async def first_then_again() -> None:
            await pool.send(a_request(b"first"))
            await pool.send(a_request(b"again"))

        group.create_task(first_then_again())
        await gate.arrived.acquire()
        group.create_task(pool.send(a_request(b"waiting")))
        await settle()
        gate.open()
    assert gate.seen == [b"first", b"waiting", b"again"]


async def test_a_cancelled_waiter_is_passed_over(pool_of: PoolOf) -> None:
    gate = Gate()
    async with served(gate) as server, asyncio.TaskGroup() as group:
        pool = pool_of(server.origin, ONE)
        group.create_task(pool.send(a_request(b"first")))
        await gate.arrived.acquire()
        waiting = group.create_task(pool.send(a_request(b"cancelled")))
        group.create_task(pool.send(a_request(b"last")))
        await settle()
        waiting.cancel()
        await settle()
        assert pool.stats.waiting == 1
        gate.open()
    assert gate.seen == [b"first", b"last"]
    assert pool.stats.busy == 0


async def test_a_waiter_cancelled_after_it_was_given_its_permit_passes_it_on(pool_of: PoolOf) -> None:
    async with served(echo) as server:
        pool = pool_of(server.origin, ONE)
        await pool.send(a_request())
        connection = pool._take_idle(0.0) or await pool._acquire()
        waiting = asyncio.ensure_future(pool.send(a_request(b"cancelled")))
        await settle()
        pool._release(connection)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (pool.stats.idle, pool.stats.busy) == (1, 0)
        assert (await pool.send(a_request(b"next"))).reused


async def test_a_cancelled_exchange_closes_its_connection_and_frees_its_permit(pool_of: PoolOf) -> None:
    gate = Gate()
    async with served(gate) as server:
        pool = pool_of(server.origin, ONE)
        task = asyncio.ensure_future(pool.send(a_request(b"given up")))
        await gate.arrived.acquire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        response = await pool.send(a_request(b"next"))
        assert (response.body, response.reused) == (b"next", False)


async def test_a_dial_that_is_cancelled_frees_its_permit(pool_of: PoolOf) -> None:
    async with served(Visit.gone) as server:
        pool = pool_of(Origin("https", "127.0.0.1", server.origin.port), ONE)
        task = asyncio.ensure_future(pool.send(a_request()))
        await asyncio.sleep(0.05)
        assert pool.stats.busy == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.stats.busy == 0


async def test_a_failed_dial_passes_its_permit_to_the_next(pool_of: PoolOf) -> None:
    pool = pool_of(Origin("http", "127.0.0.1", 1), ONE)
    outcomes = await asyncio.gather(*(pool.send(a_request()) for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotSentError] * 5
    assert pool.stats == PoolStats(0, 0, 0, 0, 0)


@pytest.mark.lengthy
async def test_chaos_of_cancels_and_resets_loses_no_permit(pool_of: PoolOf) -> None:
    dice = random.Random(11)

    async def unreliable(visit: Visit) -> None:
        while True:
            body = (await visit.read()).partition(b"\r\n\r\n")[2]
            fate = dice.random()
            if fate < 0.1:
                visit.reset()
                return
            if fate < 0.2:
                return
            await asyncio.sleep(dice.random() * 0.004)
            await visit.say(saying(body))

    async with served(unreliable) as server:
        pool = pool_of(server.origin, Limits(connections=4))
        held: list[int] = []

        async def ask(number: int) -> Response | None:
            try:
                async with asyncio.timeout(dice.random() * 0.2 if number % 2 else None):
                    return await pool.send(a_request(b"%d" % number))
            except (TimeoutError, MaybeSentError, NotSentError):
                return None
            finally:
                held.append(pool.stats.idle + pool.stats.busy)

        answers = await asyncio.gather(*(ask(number) for number in range(300)))
        assert all(answer is None or answer.body == b"%d" % number for number, answer in enumerate(answers))
        assert any(answers)
        assert (pool.stats.busy, pool.stats.waiting) == (0, 0)
        assert max(held) <= 4


async def test_an_idle_connection_the_server_closed_is_replaced_unseen(pool_of: PoolOf) -> None:
    async def once(visit: Visit) -> None:
        await visit.answer(OK)

    async with served(once) as server:
        pool = pool_of(server.origin)
        for _ in range(3):
            response = await pool.send(a_request())
            assert not response.reused
            await none_idle(pool)
        assert pool.stats == PoolStats(opened=3, reused=0, idle=0, busy=0, waiting=0)


async def test_a_kept_connection_that_dies_under_a_request_is_stale_and_not_retried(pool_of: PoolOf) -> None:
    async def dies_at_the_second(visit: Visit) -> None:
        await visit.answer(OK)
        await visit.read()

    async with served(dies_at_the_second) as server:
        pool = pool_of(server.origin)
        await pool.send(a_request())
        with pytest.raises(StaleConnectionError) as caught:
            await pool.send(a_request())
        assert caught.value.reused
        assert len(server.visits) == 1


async def test_connections_end_when_idle_or_old(pool_of: PoolOf) -> None:
    clock = FakeClock()
    async with served(echo) as server:
        pool = Pool(server.origin, Limits(idle_seconds=30.0, max_age_seconds=50.0), clock)
        await pool.send(a_request())
        clock.jump(29.0)
        pool.sweep()
        assert (await pool.send(a_request())).reused
        clock.jump(22.0)
        assert not (await pool.send(a_request())).reused  # 51 s old
        clock.jump(30.0)
        pool.sweep()
        assert pool.stats.idle == 0
        await pool.aclose()


async def test_the_sweep_fails_what_is_past_its_deadline_and_nothing_else(pool_of: PoolOf) -> None:
    clock = FakeClock()
    gate = Gate()
    async with served(gate) as server:
        pool = Pool(server.origin, Limits(connections=2, request_timeout=10.0), clock)
        early = asyncio.ensure_future(pool.send(a_request(b"early")))
        await gate.arrived.acquire()
        clock.jump(5.0)
        late = asyncio.ensure_future(pool.send(a_request(b"late")))
        await gate.arrived.acquire()
        clock.jump(5.0)
        pool.sweep()
        with pytest.raises(ExchangeTimeoutError, match="10 s passed before any answer"):
            await early
        gate.open()
        assert (await late).body == b"late"
        await pool.aclose()


@pytest.mark.lengthy
async def test_waiting_for_a_permit_does_not_count_against_the_deadline(pool_of: PoolOf) -> None:
    async def slow(visit: Visit) -> None:
        while True:
            await visit.read()
            await asyncio.sleep(0.15)
            await visit.say(ACCEPTED)

    async with served(slow) as server:
        pool = pool_of(server.origin, Limits(connections=1, request_timeout=0.3))
        answers = await asyncio.gather(*(pool.send(a_request()) for _ in range(4)))
        assert [answer.status for answer in answers] == [202] * 4


async def test_who_waited_for_a_connection_and_may_not_write_any_more_writes_nothing_and_passes_it_on(
    pool_of: PoolOf,
) -> None:
    gate = Gate()
    async with served(gate) as server, asyncio.TaskGroup() as group:
        pool = pool_of(server.origin, ONE)
        first = group.create_task(pool.send(a_request(b"first")))
        await gate.arrived.acquire()
        asked: list[int] = []

        def no_more() -> bool:
            asked.append(len(gate.seen))
            return False

        withheld = asyncio.ensure_future(pool.send(a_request(b"withheld"), no_more))
        last = group.create_task(pool.send(a_request(b"last"), lambda: True))
        await settle()
        assert asked == []  # while it waits nobody knows whether it may go in the end
        gate.open()
        with pytest.raises(WithheldError):
            await withheld
        assert [(await each).body for each in (first, last)] == [b"first", b"last"]
        assert (gate.seen, asked) == ([b"first", b"last"], [1])
        assert pool.stats == PoolStats(opened=1, reused=1, idle=1, busy=0, waiting=0)


async def test_closing_fails_waiters_as_not_sent_and_exchanges_as_maybe_sent(pool_of: PoolOf) -> None:
    gate = Gate()
    async with served(gate) as server:
        pool = pool_of(server.origin, ONE)
        flying = asyncio.ensure_future(pool.send(a_request(b"flying")))
        await gate.arrived.acquire()
        waiting = asyncio.ensure_future(pool.send(a_request(b"waiting")))
        await settle()
        await pool.aclose()
        with pytest.raises(NotSentError, match="closed"):
            await waiting
        with pytest.raises(BrokenExchangeError, match="The pool was closed before any answer"):
            await flying
        with pytest.raises(NotSentError, match="closed"):
            await pool.send(a_request())
        assert pool.stats == PoolStats(opened=1, reused=0, idle=0, busy=0, waiting=0)
        await pool.aclose()


async def test_closing_during_a_dial_leaves_no_connection(pool_of: PoolOf) -> None:
    async with served(echo) as server:
        pool = pool_of(server.origin)
        dialling = asyncio.ensure_future(pool.send(a_request()))
        await asyncio.sleep(0)
        await pool.aclose()
        with pytest.raises(NotSentError):
            await dialling
        assert pool.stats == PoolStats(0, 0, 0, 0, 0)


async def test_a_closed_idle_pool_forgets_its_timer(pool_of: PoolOf) -> None:
    async with served(echo) as server:
        pool = pool_of(server.origin)
        await pool.send(a_request())
        sweeper = pool._sweeper
        assert sweeper is not None
        await pool.aclose()
        assert sweeper.cancelled()
        assert not pool._connections


async def test_a_request_starts_at_once_on_an_idle_connection_and_its_answer_is_reported(pool_of: PoolOf) -> None:
    async with served(echo) as server:
        pool, steps = pool_of(server.origin), list[object]()
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        assert not pool.start(a_request(b"0"), lambda: steps.append("write"), done.set_result)  # none is open yet
        await pool.send(a_request(b"1"))
        assert steps == []
        assert pool.start(a_request(b"2"), lambda: steps.append("write"), done.set_result)
        assert (steps, pool.stats.busy) == (["write"], 1)
        answer = await asyncio.wait_for(done, 5)
        assert isinstance(answer, Response)
        assert (answer.body, answer.reused) == (b"2", True)
        assert pool.stats == PoolStats(opened=1, reused=1, idle=1, busy=0, waiting=0)


async def test_a_connection_is_idle_again_before_its_answer_is_reported(pool_of: PoolOf) -> None:
    """So that the callback can start the next request on it."""
    async with served(echo) as server:
        pool = pool_of(server.origin)
        await pool.send(a_request(b"1"))
        bodies: asyncio.Queue[bytes] = asyncio.Queue()

        def first(answer: object) -> None:
            assert isinstance(answer, Response)
            bodies.put_nowait(answer.body)
            assert pool.start(a_request(b"3"), lambda: None, second)

        def second(answer: object) -> None:
            assert isinstance(answer, Response)
            bodies.put_nowait(answer.body)

        assert pool.start(a_request(b"2"), lambda: None, first)
        assert [await asyncio.wait_for(bodies.get(), 5) for _ in range(2)] == [b"2", b"3"]
        assert pool.stats.opened == 1


async def test_a_started_request_whose_connection_ends_is_reported_and_gives_its_permit_back(pool_of: PoolOf) -> None:
    async def one_answer(visit: Visit) -> None:
        await visit.answer(OK)
        await visit.read()

    async with served(one_answer) as server:
        pool = pool_of(server.origin, ONE)
        await pool.send(a_request())
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        assert pool.start(a_request(), lambda: None, done.set_result)
        assert isinstance(await asyncio.wait_for(done, 5), StaleConnectionError)
        assert (pool.stats.busy, pool.stats.idle) == (0, 0)
