"""Clients that present a token of their own: verified, or it counts for nothing. The issuer is a real HTTP server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.errors import ConfigurationError
from fanout.log import get_logger
from fanout.signalr.credentials import USER_ID_CLAIM
from service.negotiate.tokens import check_user_tokens, open_user_tokens
from tests.fakes import FakeClock
from tests.redis_servers import eventually
from tests.service.apps import KEY, an_app, client_of
from tests.service.callers.issuing import AUDIENCE, IssuerServer, an_issuer, published
from tests.service.programs import forked_program, service_at

pytestmark = pytest.mark.lengthy

URL = "/chat/negotiate"
BEARER = {"Authorization": f"Bearer {KEY}"}
NOW = 1_800_000_000.0


@asynccontextmanager
async def negotiating(issuer: IssuerServer, clock: FakeClock, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An application that takes the user from `oid` of the tokens of this issuer."""
    usual: dict[str, Any] = {
        "api_key": KEY,
        "negotiate_user": ("token:oid",),
        "negotiate_issuers": (issuer.url,),
        "negotiate_audience": (AUDIENCE,),
    }
    app = an_app(clock=clock, **(usual | settings))
    app = replace(app, user_tokens=open_user_tokens(app.settings, clock, get_logger()))
    async with client_of(app) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def claims_in(answer: httpx.Response) -> Mapping[str, Any]:
    assert answer.status_code == 200, answer.text
    claims: dict[str, Any] = jwt.decode(answer.json()["accessToken"], options={"verify_signature": False})
    return claims


async def test_a_client_is_who_its_token_says_and_no_longer_than_that_is_valid() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock, negotiate_claims=("roles", "tid")) as client:
        token = issuer.token(NOW, oid="alice", roles=["a", "b"], exp=NOW + 600, name="Ann")
        for body in (None, {"idToken": token}, {"idToken": f"Bearer {token}"}):
            headers = bearer(token) if body is None else {}
            claims = claims_in(await client.post(URL, headers=headers, json=body))
            assert (claims[USER_ID_CLAIM], claims["roles"], claims["exp"]) == ("alice", ["a", "b"], NOW + 600)
            assert "name" not in claims
        asked = {"idToken": token, "claimTypeList": ["name", "nothing"]}
        assert claims_in(await client.post(URL, json=asked))["name"] == "Ann"
        for end in (NOW + 100_000, 10**400):
            long = issuer.token(NOW, oid="alice", exp=end)
            assert claims_in(await client.post(URL, headers=bearer(long)))["exp"] == NOW + 3600


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "api://another"},
        {"aud": None},
        {"exp": NOW - 60},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": NOW + 60},
        {"kid": "unpublished"},
    ],
)
async def test_a_token_that_is_not_accepted_is_401_wherever_it_stands(changed: dict[str, Any]) -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock, negotiate_anonymous=True) as client:
        token = issuer.token(NOW, **({"oid": "alice"} | changed))
        answers = [
            await client.post(URL, headers=bearer(token)),
            await client.post(URL, json={"idToken": token}),
            await client.post(URL, json={"idToken": token, "claimTypeList": ["oid"]}, headers=BEARER),
        ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(401, "invalidToken")] * 3
    assert not any(token in answer.text for answer in answers)


async def test_one_that_expired_within_the_leeway_gives_no_token_that_is_valid() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock) as client:
        answer = await client.post(URL, headers=bearer(issuer.token(NOW, oid="alice", exp=NOW - 5)))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalidToken")


async def test_a_forged_token_names_nobody() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock) as client:
        head, claims, signature = issuer.token(NOW, oid="alice").split(".")
        other = issuer.token(NOW, oid="eve").split(".")[1]
        claims_of_alice = {"iss": issuer.url, "aud": AUDIENCE, "exp": NOW + 60, "oid": "alice"}
        forged = [
            f"{head}.{other}.{signature}",
            f"{head}.{claims}.",
            jwt.encode(claims_of_alice, "k" * 64, algorithm="HS256", headers={"kid": "one"}),
            jwt.encode(claims_of_alice, None, algorithm="none", headers={"kid": "one"}),  # type: ignore[arg-type] # as a forger would
        ]
        answers = [await client.post(URL, headers=bearer(token)) for token in forged]
    assert [answer.status_code for answer in answers] == [401] * 4


async def test_a_bearer_token_of_another_issuer_is_not_the_clients_and_an_id_token_is_refused() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock, negotiate_user=("token:oid", "query")) as client:
        token = issuer.token(NOW, oid="alice", iss="https://another.example")
        by_query = await client.post(f"{URL}?userId=bob", headers=bearer(token))
        refused = [await client.post(f"{URL}?userId=bob", json={"idToken": text}) for text in (token, "x.y", "text")]
        as_caller = await client.post(URL, json={"userId": "bob", "idToken": token}, headers=BEARER)
    assert claims_in(by_query)[USER_ID_CLAIM] == "bob"
    assert [answer.status_code for answer in [*refused, as_caller]] == [401] * 4


async def test_a_token_that_names_no_user_is_403() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock) as client:
        for oid in (None, ["alice"], 7, ""):
            answer = await client.post(URL, headers=bearer(issuer.token(NOW, oid=oid)))
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert (await client.post(URL)).status_code == 401


async def test_a_client_asks_for_nothing_but_the_claims_of_its_token() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock) as client:
        token = issuer.token(NOW, oid="alice", **{"asrs.s.uid": "root"})
        others: list[dict[str, Any]] = [{"userId": "root"}, {"claims": {}}, {"lifetimeSeconds": 60}, {"groups": []}]
        for more in others:
            answer = await client.post(URL, json={"idToken": token, **more})
            assert (answer.status_code, "would be ignored" in answer.text) == (401, True)
        steering = await client.post(URL, json={"idToken": token, "claimTypeList": ["asrs.s.uid"]})
        without = await client.post(URL, json={"claimTypeList": ["name"]})
    assert (steering.status_code, without.status_code) == (400, 400)


async def test_a_caller_with_the_right_has_its_users_token_verified_too() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock) as client:
        token = issuer.token(NOW, oid="alice", name="Ann", exp=NOW + 600)
        asked = {"idToken": token, "claimTypeList": ["name"]}
        by_token = claims_in(await client.post(URL, json=asked, headers=BEARER))
        by_name = claims_in(
            await client.post(URL, json={"userId": "bob", "lifetimeSeconds": 900, **asked}, headers=BEARER)
        )
    assert [(each[USER_ID_CLAIM], each["name"], each["exp"]) for each in (by_token, by_name)] == [
        ("alice", "Ann", NOW + 600),
        ("bob", "Ann", NOW + 600),
    ]


async def test_a_new_key_of_the_issuer_counts_at_once_and_one_that_is_away_makes_no_token_wrong() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock) as client:
        assert (await client.post(URL, headers=bearer(issuer.token(NOW, oid="alice")))).status_code == 200
        issuer.keys = published("two")
        await clock.advance(11)
        renewed = bearer(issuer.token(NOW, kid="two", oid="alice"))
        assert (await client.post(URL, headers=renewed)).status_code == 200
        issuer.status = 500
        await clock.advance(11)
        assert (await client.post(URL, headers=renewed)).status_code == 200
        unknown = await client.post(URL, headers=bearer(issuer.token(NOW, kid="three", oid="alice")))
    assert (unknown.status_code, unknown.json()["code"]) == (503, "callersUnavailable")


async def test_who_has_a_known_key_does_not_wait_for_one_that_is_asked_for() -> None:
    clock = FakeClock(wall=NOW)
    async with an_issuer() as issuer, negotiating(issuer, clock) as client:
        known = bearer(issuer.token(NOW, oid="alice"))
        assert (await client.post(URL, headers=known)).status_code == 200
        issuer.held = asyncio.Event()
        await clock.advance(11)
        waiting = asyncio.create_task(client.post(URL, headers=bearer(issuer.token(NOW, kid="two", oid="alice"))))
        await asyncio.to_thread(eventually, lambda: len(issuer.asked) > 2, what="the issuer is asked")
        async with asyncio.timeout(10):
            assert (await client.post(URL, headers=known)).status_code == 200
        assert not waiting.done()
        issuer.held.set()
        assert (await waiting).status_code == 401


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"negotiate_user": ("token:oid",)}, "FANOUT_NEGOTIATE_ISSUERS is not set"),
        ({"negotiate_audience": ("a",)}, "FANOUT_NEGOTIATE_ISSUERS is not set"),
        ({"negotiate_issuers": ("https://a.example",)}, "FANOUT_NEGOTIATE_AUDIENCE is not set"),
        ({"negotiate_issuers": ("http://a.example",), "negotiate_audience": ("a",)}, "is not a https:// URL"),
        (
            {
                "negotiate_issuers": ("https://a.example", "https://b.example"),
                "negotiate_audience": ("a",),
                "negotiate_jwks_url": "https://a.example/keys",
            },
            "FANOUT_NEGOTIATE_JWKS_URL is for one issuer",
        ),
    ],
)
def test_settings_that_cannot_work_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        check_user_tokens(load({}, **settings))


def test_where_no_issuer_is_named_nothing_is_checked() -> None:
    check_user_tokens(load({}))
    assert open_user_tokens(load({}), FakeClock(), get_logger()) is None


@pytest.mark.process
async def test_a_process_fetches_the_keys_and_believes_the_tokens(redis_url: str, tmp_path: Path) -> None:
    async with an_issuer() as issuer:
        environ = {
            "FANOUT_REDIS_URL": redis_url,
            "FANOUT_API_KEY": KEY,
            "FANOUT_PORT": "0",
            "AzureSignalRConnectionString": service_at(9),
            "FANOUT_NEGOTIATE_USER": "token:oid",
            "FANOUT_NEGOTIATE_ISSUERS": issuer.url,
            "FANOUT_NEGOTIATE_AUDIENCE": AUDIENCE,
        }
        async with (
            forked_program(tmp_path, "serve", "--role", "ingress", **environ) as fanout,
            httpx.AsyncClient() as client,
        ):
            client.base_url = f"http://127.0.0.1:{await fanout.port()}"
            token = issuer.token(SystemClock().wall(), oid="alice")
            assert claims_in(await client.post(URL, headers=bearer(token)))[USER_ID_CLAIM] == "alice"
            assert (await client.post(URL, headers=bearer(f"{token}x"))).status_code == 401
        assert "/keys" in issuer.asked
        assert token not in fanout.err
