"""One value for all who ask, renewed ahead of its end; a renewal that fails takes nothing away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from fanout.errors import FanoutError, TokenUnavailableError
from fanout.renewal import Renewed, Term, pause_after
from tests.fakes import FakeClock

HOUR = 3600.0


class Source:
    """Gives values that say which they are; `error` is raised instead, and `gate` is waited for first."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked = 0
        self.error: FanoutError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.lifetime = HOUR
        self.told: list[tuple[str, str, int]] = []

    async def fetch(self) -> Term[str]:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        now = self.clock.wall()
        return Term.of(f"value {number}", now=now, ends_at=now + self.lifetime)

    def renewed(self, what: str, seconds: float) -> None:
        self.told.append(("renewed", "", round(seconds)))

    def failed(self, what: str, reason: str, seconds: float) -> None:
        self.told.append(("failed", reason, round(seconds)))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source(clock: FakeClock) -> Source:
    return Source(clock)


@pytest.fixture
def kept(source: Source, clock: FakeClock) -> Renewed[str]:
    return Renewed("token", source.fetch, clock, source)


@asynccontextmanager
async def kept_up(kept: Renewed[str]) -> AsyncIterator[None]:
    running = asyncio.ensure_future(kept.run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_many_who_ask_at_once_make_one_request(kept: Renewed[str], source: Source, clock: FakeClock) -> None:
    source.gate.clear()
    asking = [asyncio.ensure_future(kept.get()) for _ in range(50)]
    await clock.settle()
    source.gate.set()
    assert {term.value for term in await asyncio.gather(*asking)} == {"value 1"}
    assert (await kept.get()).value == "value 1"
    assert source.asked == 1
    assert "value 1" not in repr(kept)


async def test_one_who_gives_up_leaves_the_request_to_the_next(
    kept: Renewed[str], source: Source, clock: FakeClock
) -> None:
    source.gate.clear()
    first, second = asyncio.ensure_future(kept.get()), asyncio.ensure_future(kept.get())
    await clock.settle()
    first.cancel()
    source.gate.set()
    assert (await second).value == "value 2"
    assert first.cancelled()


async def test_it_is_renewed_ahead_of_its_end(kept: Renewed[str], source: Source, clock: FakeClock) -> None:
    async with kept_up(kept):
        await clock.settle()
        await clock.advance(0.74 * HOUR)
        assert source.asked == 1
        await clock.advance(0.02 * HOUR)
        assert source.asked == 2
        current = kept.current(clock.wall())
        assert current is not None
        assert current.value == "value 2"
    assert source.told == [("renewed", "", 3600)] * 2


async def test_a_source_may_say_when(clock: FakeClock) -> None:
    assert Term.of("v", now=0.0, ends_at=HOUR, renew_at=600.0).renew_at == 600.0
    for nonsense in (-1.0, 0.0, HOUR, HOUR + 1):
        assert Term.of("v", now=0.0, ends_at=HOUR, renew_at=nonsense).renew_at == 0.75 * HOUR
    assert Term.of("v", now=0.0, ends_at=HOUR, renew_at=HOUR - 1).renew_at == HOUR - 30


async def test_a_renewal_that_fails_leaves_the_former_value_until_it_ends(
    kept: Renewed[str], source: Source, clock: FakeClock
) -> None:
    async with kept_up(kept):
        await clock.settle()
        source.error = FanoutError("the authority is away")
        await clock.advance(HOUR - 31)
        assert (await kept.get()).value == "value 1"
        await clock.advance(2)
        with pytest.raises(TokenUnavailableError, match=r"There is no token: the authority is away\.$"):
            await kept.get()
        tries = source.asked
        assert 10 <= tries <= 25  # in a quarter of an hour: it pauses ever longer
        source.error = None
        await clock.advance(61)
        assert (await kept.get()).value == f"value {source.asked}"
    assert source.told[1] == ("failed", "the authority is away", 900)


async def test_who_asks_in_the_pause_after_a_failure_is_answered_at_once(
    kept: Renewed[str], source: Source, clock: FakeClock
) -> None:
    source.error = FanoutError("no")
    for _ in range(20):
        with pytest.raises(TokenUnavailableError):
            await kept.get()
    assert source.asked == 1
    await clock.advance(1.1)
    source.error = None
    assert (await kept.get()).value == "value 2"


async def test_a_request_without_an_answer_is_given_up(kept: Renewed[str], source: Source, clock: FakeClock) -> None:
    source.gate.clear()
    asking = asyncio.ensure_future(kept.get())
    await clock.advance(31)
    with pytest.raises(TokenUnavailableError, match="no answer within 30 s"):
        await asking


async def test_what_has_ended_already_is_no_value(kept: Renewed[str], source: Source) -> None:
    source.lifetime = -5.0
    with pytest.raises(TokenUnavailableError, match="clock of this machine"):
        await kept.get()


async def test_a_refused_value_is_replaced_once_in_a_while(
    kept: Renewed[str], source: Source, clock: FakeClock
) -> None:
    first = await kept.get()
    kept.refuse(first)
    second = await kept.get()
    assert second.value == "value 2"
    kept.refuse(first)  # another call that still had it
    kept.refuse(second)  # then it is not the value that is wrong
    assert await kept.get() is second
    await clock.advance(60)
    kept.refuse(second)
    assert (await kept.get()).value == "value 3"


async def test_one_that_is_due_is_renewed_by_who_asks(kept: Renewed[str], source: Source, clock: FakeClock) -> None:
    await kept.get()
    await clock.advance(0.8 * HOUR)
    source.gate.clear()
    asking = asyncio.ensure_future(kept.get())
    await clock.settle()
    assert (await kept.get()).value == "value 1"  # nobody else waits for it
    source.gate.set()
    assert (await asking).value == "value 2"


async def test_others_hear_of_each_value(kept: Renewed[str], source: Source, clock: FakeClock) -> None:
    heard: list[str] = []
    kept.when_renewed(lambda term: heard.append(term.value))
    async with kept_up(kept):
        await clock.settle()
        await clock.advance(0.76 * HOUR)
    assert heard == ["value 1", "value 2"]
    assert kept.seconds_left == pytest.approx(HOUR, abs=0.02 * HOUR)


def test_pauses_grow_and_end_growing() -> None:
    assert [pause_after(n) for n in (1, 2, 3, 6, 7, 50)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]
