"""Callers with tokens, and an issuer over real HTTP that rotates its keys, lies, and goes away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.errors import CallersUnavailableError, ConfigurationError
from fanout.log import get_logger
from fanout.settings import Settings
from service.callers.caller import Caller, Right
from service.callers.issuer import GOOD_FOR, INTERVAL, RETRY
from service.callers.tokens import _MAX_REMEMBERED, TokenCallers, open_tokens
from service.startup import check_exposure
from tests.fakes import FakeClock
from tests.service.callers.issuing import AUDIENCE, IssuerServer, an_issuer, ec_key, published, published_rsa, rsa_key


class StillClock(FakeClock):
    """A clock that stands still, and whose time limits are those of the real one: the issuer is really asked."""

    def timeout(self, seconds: float | None) -> Any:
        return SystemClock().timeout(seconds)


@pytest.fixture
async def issuer() -> AsyncIterator[IssuerServer]:
    async with an_issuer() as server:
        yield server


def settings_of(*issuers: IssuerServer, **more: Any) -> Settings:
    return load({}, jwt_issuers=tuple(each.url for each in issuers), jwt_audience=(AUDIENCE,), **more)


def callers_of(*issuers: IssuerServer, clock: FakeClock, **more: Any) -> TokenCallers:
    tokens = open_tokens(settings_of(*issuers, **more), clock, get_logger())
    assert tokens is not None
    return tokens


async def until(holds: Callable[[], bool]) -> None:
    """Let the issuer answer until something holds; the time limit of the test bounds it."""
    while not holds():  # noqa: ASYNC110 - what is waited for happens in a socket
        await asyncio.sleep(0.01)


async def found(tokens: TokenCallers, token: str) -> Caller:
    await tokens.look_for_key(token)
    caller = tokens.find(token)
    assert caller is not None
    return caller


async def test_a_token_of_the_issuer_names_its_caller_and_what_it_may_do(issuer: IssuerServer) -> None:
    clock = StillClock()
    tokens = callers_of(issuer, clock=clock)
    token = issuer.token(clock.wall(), roles=["fanout.send:chat-*"])
    caller = await found(tokens, token)
    assert (caller.name, sorted(caller.rights), caller.refusal) == ("jwt:orders-app", [Right.SEND], "")
    assert tokens.find(token) is caller  # remembered
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    other = await found(tokens, issuer.token(clock.wall(), azp=None, sub="robot", roles="fanout.read:*"))
    assert (other.name, sorted(other.rights)) == ("jwt:robot", [Right.READ])
    assert len(issuer.asked) == 2
    clock.jump(3600 + 30)
    assert "expired" in (await found(tokens, token)).refusal


async def test_what_is_wrong_with_a_token_is_said_without_showing_it(issuer: IssuerServer) -> None:
    clock = StillClock()
    tokens, now = callers_of(issuer, clock=clock), clock.wall()
    good = issuer.token(now)
    await tokens.look_for_key(good)
    claims = {"iss": issuer.url, "aud": AUDIENCE, "exp": now + 60, "sub": "x"}
    public = published("one")[0]["x"]
    wrong = {
        "expired": issuer.token(now, exp=now - 31),
        "another audience": issuer.token(now, aud="api://other"),
        "no expiration": issuer.token(now, exp=None),
        "not valid yet": issuer.token(now, nbf=now + 100),
        "names its caller": issuer.token(now, azp=None),
        "not of an issuer": issuer.token(now, iss="https://other.example.com"),
        "does not publish": issuer.token(now, kid="two"),
        "signature": jwt.encode(claims, ec_key("two"), "ES256", headers={"kid": "one"}),
        "algorithm": jwt.encode(claims, public * 2, "HS256", headers={"kid": "one"}),
        "algorithm that": jwt.encode(claims, "", "none", headers={"kid": "one"}),
        "publish for it": jwt.encode(claims, rsa_key(2048), "RS256", headers={"kid": "one"}),
    }
    for reason, token in wrong.items():
        caller = await found(tokens, token)
        assert reason in caller.refusal, reason
        assert (caller.code, caller.rights, caller.is_client) == ("invalidToken", frozenset(), True)
        assert not any(segment in repr(caller) for segment in token.split(".") if segment)
    assert tokens.find("no-token") is None
    assert tokens.find("fanout_0123456789ab_secret") is None
    assert tokens.find(f"{good}{'A' * 16_384}") is None
    assert (await found(tokens, good)).refusal == ""


async def test_a_new_key_is_fetched_at_once_and_unknown_ones_are_not_asked_for_again_and_again(
    issuer: IssuerServer,
) -> None:
    clock = StillClock()
    tokens = callers_of(issuer, clock=clock, jwt_jwks_url=f"{issuer.url}/keys")
    await tokens.look_for_key(issuer.token(clock.wall()))
    assert issuer.asked == ["/keys"]
    issuer.keys = published("two")
    renewed = issuer.token(clock.wall(), kid="two")
    assert "does not publish" in (await found(tokens, renewed)).refusal  # it was asked a moment ago
    clock.jump(RETRY)
    callers = await asyncio.gather(*[found(tokens, issuer.token(clock.wall(), kid="two", n=n)) for n in range(20)])
    assert {caller.refusal for caller in callers} == {""}
    assert issuer.asked == ["/keys"] * 2  # once for all
    for number in range(20):
        await found(tokens, issuer.token(clock.wall(), kid=f"guess-{number}"))
    assert issuer.asked == ["/keys"] * 2


async def test_a_token_whose_key_the_issuer_took_back_counts_no_longer(issuer: IssuerServer) -> None:
    clock = StillClock()
    tokens = callers_of(issuer, clock=clock)
    token = issuer.token(clock.wall())
    assert (await found(tokens, token)).refusal == ""
    issuer.keys = published("two")
    clock.jump(RETRY)
    await found(tokens, issuer.token(clock.wall(), kid="two"))
    assert "does not publish" in (await found(tokens, token)).refusal


async def test_an_issuer_that_is_away_makes_no_token_wrong(
    issuer: IssuerServer, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = StillClock()
    tokens = callers_of(issuer, clock=clock)
    issuer.status = 500
    token = issuer.token(clock.wall(), exp=clock.wall() + 2 * GOOD_FOR)
    with pytest.raises(CallersUnavailableError):
        await found(tokens, token)
    assert "it answered 500" in tokens.warning()
    assert tokens.age() is None
    issuer.status = 200
    clock.jump(RETRY)
    assert (await found(tokens, token)).refusal == ""
    assert (tokens.warning(), tokens.age()) == ("", 0.0)
    issuer.status = 503
    clock.jump(RETRY)
    with pytest.raises(CallersUnavailableError):
        await found(tokens, issuer.token(clock.wall(), kid="two"))
    assert (await found(tokens, issuer.token(clock.wall(), n=2))).refusal == ""  # the known key counts on
    clock.jump(GOOD_FOR)
    with pytest.raises(CallersUnavailableError):
        await found(tokens, issuer.token(clock.wall(), n=3))
    text = "".join(capsys.readouterr())
    assert "callers.unreadable" in text
    assert token not in text


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"named": "https://other.example.com"}, "not the configuration of an issuer of this name"),
        ({"body": b"<html>"}, "it is not JSON"),
        ({"body": b" " * 600_000}, "more than 524288 bytes"),
        ({"body": b'{"keys":[]}'}, "no key"),
        ({"status": 302}, "it answered 302"),
    ],
)
async def test_what_an_issuer_may_not_answer_is_named(issuer: IssuerServer, lie: dict[str, Any], reason: str) -> None:
    tokens = callers_of(issuer, clock=StillClock())
    for name, value in lie.items():
        setattr(issuer, name, value)
    await tokens.look_for_key(issuer.token(0))
    assert reason in tokens.warning()


async def test_an_issuer_that_does_not_answer_is_waited_for_a_while(issuer: IssuerServer) -> None:
    clock, issuer.held = FakeClock(), asyncio.Event()
    tokens = callers_of(issuer, clock=clock)
    looking = asyncio.create_task(tokens.look_for_key(issuer.token(0)))
    await until(lambda: bool(issuer.asked))
    await clock.advance(5)
    await looking
    assert "did not answer within 5 s" in tokens.warning()
    issuer.held.set()


async def test_a_token_whose_key_is_known_does_not_wait_for_the_issuer(issuer: IssuerServer) -> None:
    clock = StillClock()
    tokens = callers_of(issuer, clock=clock)
    await tokens.look_for_key(issuer.token(clock.wall()))
    clock.jump(RETRY)
    issuer.held = asyncio.Event()
    looking = asyncio.create_task(tokens.look_for_key(issuer.token(clock.wall(), kid="two")))
    await until(lambda: len(issuer.asked) == 3)
    tokens._headers.clear()
    assert (await found(tokens, issuer.token(clock.wall(), n=1))).refusal == ""
    assert not looking.done()
    issuer.held.set()
    await looking


async def test_an_issuer_behind_https_may_not_name_keys_that_are_not() -> None:
    answers = {
        "https://i.example.com/.well-known/openid-configuration": (
            b'{"issuer":"https://i.example.com","jwks_uri":"http://localhost/keys"}'
        )
    }

    async def fetch(url: str) -> bytes:
        return answers[url]

    settings = load({}, jwt_issuers=("https://i.example.com",), jwt_audience=(AUDIENCE,))
    tokens = open_tokens(settings, StillClock(), get_logger(), fetch)
    assert tokens is not None
    await tokens.look_for_key(IssuerServer("https://i.example.com").token(0))
    assert "not behind https://" in tokens.warning()


async def test_keys_are_fetched_again_without_being_asked_for(issuer: IssuerServer) -> None:
    clock = StillClock()
    tokens = callers_of(issuer, clock=clock, jwt_jwks_url=f"{issuer.url}/keys")
    running = asyncio.create_task(tokens.run())
    await until(lambda: len(issuer.asked) == 1 and clock.sleeping == 1)
    await clock.advance(INTERVAL)
    await until(lambda: len(issuer.asked) == 2)
    running.cancel()


async def test_callers_of_different_issuers_never_share_a_name(issuer: IssuerServer) -> None:
    clock = StillClock()
    async with an_issuer() as other:
        tokens = callers_of(issuer, other, clock=clock)
        names = [(await found(tokens, each.token(clock.wall()))).name for each in (issuer, other)]
        assert names == ["jwt:orders-app", "jwt2:orders-app"]
        odd = [(await found(tokens, issuer.token(clock.wall(), azp=name))).name for name in ("x" * 200, "a\nb")]
        assert all(name.startswith("jwt:") and len(name) == 36 for name in odd)


async def test_what_is_remembered_is_bounded(issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StillClock()
    monkeypatch.setattr("service.callers.tokens._MAX_REMEMBERED", 3)
    tokens = callers_of(issuer, clock=clock)
    for number in range(5):
        await found(tokens, issuer.token(clock.wall(), n=number))
    assert len(tokens._remembered) == 3
    assert _MAX_REMEMBERED == 1024


async def test_a_token_signed_with_rsa_by_an_issuer_of_one_key_needs_no_kid(issuer: IssuerServer) -> None:
    clock = StillClock()
    issuer.keys = [published_rsa("")]
    tokens = callers_of(issuer, clock=clock)
    claims = {"iss": issuer.url, "aud": [AUDIENCE], "exp": clock.wall() + 60, "sub": "x"}
    for algorithm in ("RS256", "PS256"):
        assert (await found(tokens, jwt.encode(claims, rsa_key(2048), algorithm))).name == "jwt:x"
    assert "algorithm that" in (await found(tokens, jwt.encode(claims, rsa_key(2048), "RS512"))).refusal


GOOD = {"FANOUT_JWT_ISSUERS": "https://i.example.com", "FANOUT_JWT_AUDIENCE": "a"}
TWO = {"FANOUT_JWT_ISSUERS": "https://a.example,https://b.example", "FANOUT_JWT_JWKS_URL": "https://a.example/k"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"FANOUT_JWT_ISSUERS": "https://i.example.com"}, "FANOUT_JWT_AUDIENCE is not set"),
        ({"FANOUT_JWT_AUDIENCE": "a"}, "FANOUT_JWT_ISSUERS is not set"),
        ({**GOOD, "FANOUT_JWT_ISSUERS": "http://i.example.com"}, "not a https:// URL"),
        ({**GOOD, "FANOUT_JWT_ISSUERS": "tenant"}, "not a https:// URL"),
        ({**GOOD, **TWO}, "is for one issuer"),
        ({**GOOD, "FANOUT_JWT_ROLES": "A=write:*"}, "FANOUT_JWT_ROLES: 'write"),
        ({**GOOD, "FANOUT_AUTH": "none"}, "FANOUT_JWT_ISSUERS and FANOUT_AUTH=none"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        check_exposure(load(settings), "127.0.0.1")


def test_tokens_alone_are_enough_to_start_and_shared_keys_cannot_be_allowed() -> None:
    good = {"FANOUT_JWT_ISSUERS": "https://login.microsoftonline.com/t/v2.0", "FANOUT_JWT_AUDIENCE": "a"}
    check_exposure(load(good), "0.0.0.0")
    for algorithm in ("HS256", "none"):
        with pytest.raises(ConfigurationError, match="FANOUT_JWT_ALGORITHMS"):
            load({**good, "FANOUT_JWT_ALGORITHMS": algorithm})
    assert open_tokens(load({}), FakeClock(), get_logger()) is None
