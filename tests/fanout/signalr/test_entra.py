"""One identity token authorizes every call, until it is due or refused."""

import pytest

from fanout.errors import FanoutError, TokenUnavailableError
from fanout.renewal import Renewed, Term
from fanout.signalr.entra import EntraCredential
from tests.fakes import FakeClock
from tests.fanout.test_renewal import HOUR, Source


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Tokens(Source):
    """The same with tokens, which have no spaces."""

    async def fetch(self) -> Term[str]:
        term = await super().fetch()
        return Term(term.value.replace(" ", "-"), term.renew_at, term.ends_at)


@pytest.fixture
def source(clock: FakeClock) -> Tokens:
    return Tokens(clock)


@pytest.fixture
def credential(source: Tokens, clock: FakeClock) -> EntraCredential:
    return EntraCredential(Renewed("token", source.fetch, clock, source), clock)


async def test_one_token_is_for_every_audience(credential: EntraCredential, source: Tokens, clock: FakeClock) -> None:
    assert credential.immediate("https://h/a", clock.wall()) is None
    first = await credential.authorization("https://h/a")
    assert first.value == "Bearer value-1"
    assert credential.immediate("https://h/b", clock.wall()) is first
    assert source.asked == 1
    assert "value-1" not in repr(credential)
    assert "value-1" not in repr(first)


async def test_a_token_that_is_due_is_used_and_looked_at_again(
    credential: EntraCredential, source: Tokens, clock: FakeClock
) -> None:
    first = await credential.authorization("https://h/a")
    assert first.renew_at == clock.wall() + 0.75 * HOUR
    await clock.advance(0.8 * HOUR)
    source.error = FanoutError("away")
    due = credential.immediate("https://h/a", clock.wall())
    assert due is not None
    assert due.lines == first.lines
    assert due.renew_at == clock.wall() + 10
    assert credential.immediate("https://h/b", clock.wall()) is due
    await clock.advance(0.2 * HOUR)
    assert credential.immediate("https://h/a", clock.wall()) is None
    with pytest.raises(TokenUnavailableError, match="away"):
        await credential.authorization("https://h/a")


async def test_a_401_brings_another_token_once(credential: EntraCredential, clock: FakeClock) -> None:
    first = await credential.authorization("https://h/a")
    credential.refused(first)
    assert credential.immediate("https://h/a", clock.wall()) is None
    second = await credential.authorization("https://h/a")
    assert second.value == "Bearer value-2"
    credential.refused(first)
    credential.refused(second)
    assert credential.immediate("https://h/a", clock.wall()) is second
