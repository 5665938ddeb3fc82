"""Client tokens of a service that is called by identity: signed with its temporary key, or made by it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest

from emulator.config import EmulatorConfig
from emulator.control.faults import FaultRule, Match
from fanout.clock import SystemClock
from fanout.environment import load
from fanout.errors import FanoutError, NotConfiguredError
from fanout.renewal import Renewed, Term
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.entra import EntraCredential
from service.compat.questions import Service as Asked
from service.compat.questions import ServiceUnavailableError
from service.identities import Identities
from service.negotiate.client_tokens import ClientTokens, client_tokens_of
from service.negotiate.identity import ClientIdentity
from tests.emulator.running import Service, running
from tests.fakes import FakeClock

TOKEN = "opaque"
KEY_PATH = "/api/v1/auth/accessKey"
ALICE = ClientIdentity("alice")


class Quiet:
    """Hears of renewals."""

    def renewed(self, what: str, seconds: float) -> None: ...

    def failed(self, what: str, reason: str, seconds: float) -> None: ...


@asynccontextmanager
async def by_identity() -> AsyncIterator[tuple[Service, ClientTokens, FakeClock]]:
    """Run an emulator that takes one identity token, and what makes client tokens for it. Time stands still."""
    clock = FakeClock(wall=SystemClock().wall())  # the emulator has the time of the machine
    async with running(EmulatorConfig(entra_tokens=(TOKEN,), keys=("k" * 44,))) as service:
        where = ConnectionString.parse(f"Endpoint={service.base};AuthType=azure")

        async def token() -> Term[str]:
            return Term.of(TOKEN, now=clock.wall(), ends_at=clock.wall() + 86_400)

        credential = EntraCredential(Renewed("token", token, clock, Quiet()), clock)
        asked = Asked(where, load({}), clock, service.http, credential)
        yield service, client_tokens_of(where, asked, clock, Identities(clock)), clock


def fault(service: Service, path: str, status: int) -> None:
    service.emulator.faults.set([FaultRule("status", Match(path=path), status)])


def calls(service: Service) -> list[str]:
    return [f"{entry.method} {entry.path}" for entry in service.emulator.journal.entries()]


async def connects(service: Service, token: str, hub: str = "chat") -> None:
    """Negotiate with the emulator, which checks the token as the service does."""
    answer = await service.http.post(
        f"{service.base}/client/negotiate?hub={hub}", headers={"authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200, answer.text


def claims_of(token: str) -> Mapping[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_tokens_are_signed_with_one_temporary_key_and_carry_its_id() -> None:
    async with by_identity() as (service, tokens, clock):
        wanted = ClientIdentity("alice", {"team": "blue", "asrs.s.derror": "True"})
        made = await asyncio.gather(*(tokens.issue("chat", wanted, clock.wall(), 3600) for _ in range(20)))
        assert jwt.get_unverified_header(made[0])["kid"].startswith("t-")
        assert claims_of(made[0])["team"] == "blue"
        assert claims_of(made[0])["asrs.s.uid"] == "alice"
        await connects(service, made[-1])
        assert calls(service) == [f"GET {KEY_PATH}"]


async def test_the_key_is_renewed_so_early_that_no_token_of_an_hour_outlives_it() -> None:
    async with by_identity() as (service, tokens, clock):
        first = await tokens.issue("chat", ALICE, clock.wall(), 3600)
        await clock.advance(24 * 60)
        same = await tokens.issue("chat", ALICE, clock.wall(), 3600)
        await clock.advance(2 * 60)
        second = await tokens.issue("chat", ALICE, clock.wall(), 3600)
        ids = [jwt.get_unverified_header(token)["kid"] for token in (first, same, second)]
        assert ids[0] == ids[1] != ids[2]
        # An outage leaves the key in use for an hour, not for ever.
        fault(service, "/api/v1/auth/", 503)
        await clock.advance(50 * 60)
        kept = await tokens.issue("chat", ALICE, clock.wall(), 3600)
        assert jwt.get_unverified_header(kept)["kid"] == ids[2]
        await clock.advance(11 * 60)
        with pytest.raises(ServiceUnavailableError, match="no key to sign"):
            await tokens.issue("chat", ALICE, clock.wall(), 3600)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_service_that_gives_no_key_makes_the_tokens(status: int) -> None:
    async with by_identity() as (service, tokens, clock):
        fault(service, "/api/v1/auth/", status)
        for _ in range(2):
            token = await tokens.issue("app_chat", ClientIdentity("a/b c"), clock.wall(), 7200)
            await connects(service, token, "app_chat")
        assert claims_of(token)["asrs.s.uid"] == "a/b c"
        assert claims_of(token)["exp"] - claims_of(token)["iat"] == 7200
        assert calls(service).count(f"GET {KEY_PATH}") == 1
        with pytest.raises(NotConfiguredError, match="carry no claims"):
            await tokens.issue("chat", ClientIdentity("alice", {"team": "blue"}), clock.wall(), 3600)
        nobody = await tokens.issue("chat", ClientIdentity(), clock.wall(), 60)
        assert "asrs.s.uid" not in claims_of(nobody)


async def test_a_missing_role_is_said_with_what_to_do() -> None:
    async with by_identity() as (service, tokens, clock):
        fault(service, "/api/", 403)
        with pytest.raises(FanoutError, match=r"answered 403.*SignalR Service Owner"):
            await tokens.issue("chat", ALICE, clock.wall(), 3600)


async def test_an_answer_of_something_else_is_no_key() -> None:
    async with by_identity() as (service, tokens, clock):
        fault(service, "/api/v1/auth/", 200)
        with pytest.raises(ServiceUnavailableError, match="no key to sign"):
            await tokens.issue("chat", ALICE, clock.wall(), 3600)
