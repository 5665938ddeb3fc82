"""Every route against every kind of caller: each pair has exactly one answer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from fanout.clock import SystemClock
from fanout.log import get_logger
from fanout.queue.api_keys import ApiKeys
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.keys import KEYS
from fanout.queue.pauses import Pauses
from fanout.queue.survey import Surveyor
from fanout.queue.traces import Traces, open_traces
from fanout.redis.client import RedisClient
from service.callers.caller import ApiKey, digest_of, secret_of
from service.callers.key_ring import KeyRing
from service.callers.tokens import open_tokens
from tests.service.apps import ITEM, KEY, App, an_app, client_of
from tests.service.callers.issuing import AUDIENCE, IssuerServer, an_issuer

UNKNOWN, ADMITTED = 401, 200  # ADMITTED stands for whatever is neither 401 nor 403
RIGHTS = ("send", "negotiate", "read", "admin")
# Tokens: their roles, and the hubs on which each right holds that they give.
TOKENS: dict[str, tuple[list[str], dict[str, str]]] = {
    **{f"a token with {right}": ([f"fanout.{right}:cha*"], {right: "chat"}) for right in RIGHTS},
    "a token with several roles": (["fanout.send:chat", "fanout.read:*", "x"], {"send": "chat", "read": "*"}),
    "a token with a role of the settings": (["Chat.Admin"], {"admin": "chat", "send": "*"}),
    "a token without roles": ([], {}),
}


@dataclass(frozen=True)
class Asked:
    """A request: the right it needs ("" for none), and on which hub ("*" for what concerns all, "" for any)."""

    method: str
    path: str
    right: str
    hub: str = "*"
    body: object = None


REQUESTS = (
    Asked("POST", "/v1/hubs/chat/messages", "send", "chat", ITEM),
    Asked("POST", "/v1/hubs/CHAT/messages", "send", "chat", ITEM),
    Asked("POST", "/v1/hubs/news/messages", "send", "news", ITEM),
    Asked("POST", "/chat/negotiate", "negotiate", "chat"),
    Asked("POST", "/news/negotiate", "negotiate", "news"),
    Asked("GET", "/v1/admin/messages/m/trace", "read"),
    Asked("GET", "/v1/admin/dead-letters", "read"),
    Asked("GET", "/v1/admin/dead-letters?hub=chat", "read", "chat"),
    Asked("GET", "/v1/admin/dead-letters?hub=news", "read", "news"),
    Asked("GET", "/v1/admin/dead-letters/0:1-0", "read"),
    *(
        asked
        for action in ("replay", "purge")
        for asked in (
            Asked("POST", f"/v1/admin/dead-letters/{action}", "admin", "*", {"all": True}),
            Asked("POST", f"/v1/admin/dead-letters/{action}", "admin", "*", {"ids": ["0:1-0"]}),
            Asked("POST", f"/v1/admin/dead-letters/{action}", "admin", "chat", {"hub": "chat"}),
            Asked("POST", f"/v1/admin/dead-letters/{action}", "admin", "news", {"hub": "news"}),
        )
    ),
    Asked("GET", "/v1/admin/config", "read"),
    *(
        asked
        for hub in ("chat", "news")
        for asked in (
            Asked("GET", f"/v1/admin/hubs/{hub}/exists", "read", hub),
            Asked("GET", f"/v1/admin/hubs/{hub}/connections", "read", hub),
            Asked("POST", f"/v1/admin/hubs/{hub}/close", "admin", hub, {"all": True}),
            Asked("POST", "/v1/admin/pauses/preview", "read", hub, {"hub": hub}),
        )
    ),
    Asked("POST", "/v1/admin/pauses/preview", "read", "*", {"all": True}),
    Asked("GET", "/v1/admin/overview", "read"),
    Asked("GET", "/v1/admin/pauses", "read"),
    *(
        asked
        for action in ("set", "lift")
        for asked in (
            Asked("POST", f"/v1/admin/pauses/{action}", "admin", "*", {"all": True}),
            Asked("POST", f"/v1/admin/pauses/{action}", "admin", "*", {"class": "send"}),
            Asked("POST", f"/v1/admin/pauses/{action}", "admin", "chat", {"hub": "chat"}),
            Asked("POST", f"/v1/admin/pauses/{action}", "admin", "chat", {"hub": "chat", "endpoint": "default"}),
            Asked("POST", f"/v1/admin/pauses/{action}", "admin", "news", {"hub": "news"}),
        )
    ),
    Asked("GET", "/metrics", "read"),
    Asked("GET", "/backlog", "read"),
    Asked("GET", "/docs", "read"),
    Asked("GET", "/console", ""),
    Asked("GET", "/console/app.js", ""),
    Asked("GET", "/openapi.json", "read"),
    Asked("GET", "/livez", ""),
    Asked("GET", "/readyz", ""),
    Asked("GET", "/problems/forbidden", ""),
    Asked("GET", "/server/", ""),
)


def expected(asked: Asked, rights: dict[str, str] | None) -> int:
    """Return the answer to a caller with these rights, each on its hubs ("*", "chat"); None for one not known."""
    if not asked.right:
        return ADMITTED
    if rights is None:
        return UNKNOWN
    counted = [asked.right, "admin"] if asked.right == "read" else [asked.right]
    return ADMITTED if any(rights.get(right) in ("*", asked.hub) for right in counted) else 403


@pytest.fixture
async def issuer() -> AsyncIterator[IssuerServer]:
    """An issuer of tokens."""
    async with an_issuer() as server:
        yield server


@pytest.fixture
async def keyed(one_redis: RedisClient, issuer: IssuerServer) -> AsyncIterator[tuple[App, dict[str, str]]]:
    """An application with a key for each right, on all hubs and on those that begin with chat, and an expired one."""
    clock, store, secrets = SystemClock(), ApiKeys(one_redis), dict[str, str]()
    kinds: list[tuple[str, str, str, float | None]] = [
        (f"{right}:{hubs}", right, hubs, None) for right in RIGHTS for hubs in ("*", "cha*")
    ]
    kinds.append(("expired", "admin", "*", 1.0))
    for number, (kind, right, hubs, expires) in enumerate(kinds):
        key_id = f"{number:012x}"
        secrets[kind] = secret_of(key_id, f"random-{number}")
        digest = digest_of(secrets[kind].encode()).hex()
        await store.put(key_id, ApiKey(key_id, f"caller-{number}", digest, (right,), (hubs,), 0.0, expires).text)
    ring = KeyRing(store, "", clock, get_logger())
    await ring.refresh()
    async with open_traces(one_redis, clock, KEYS, keep=60, max_per_second=10) as traces:
        yield _app(one_redis, ring, traces, issuer), secrets


def _app(redis_client: RedisClient, ring: KeyRing, traces: Traces, issuer: IssuerServer) -> App:
    letters = DeadLetters(redis_client, partitions=16)
    roles = ("Chat.Admin=admin:chat send:*",)
    app = an_app(
        api_key=KEY, partitions=16, jwt_issuers=(issuer.url,), jwt_audience=(AUDIENCE,), jwt_roles=roles,
    )  # fmt: skip
    tokens = open_tokens(app.settings, app.clock, get_logger())
    app = replace(app, keys=ring, dead_letters=letters, pauses=Pauses(redis_client), traces=traces, tokens=tokens)
    return replace(app, surveyor=Surveyor(redis_client, SystemClock(), partitions=16))


def kinds_of_callers(secrets: dict[str, str], issuer: IssuerServer) -> dict[str, tuple[dict[str, str], Any]]:
    """The headers that each kind of caller sends, and what it may do; None for one who is not known."""
    admin, now = ["fanout.admin:*"], SystemClock().wall()
    unknown = {
        "nobody": {},
        "a wrong key": {"X-API-Key": "another"},
        "a wrong token": {"Authorization": "Bearer another"},
        "a wrong secret": {"X-API-Key": f"{secrets['admin:*']}x"},
        "an expired key": {"X-API-Key": secrets.pop("expired")},
        "an expired token": bearer(issuer.token(now - 7200, roles=admin)),
        "a token for another audience": bearer(issuer.token(now, aud="api://other", roles=admin)),
        "a token of another issuer": bearer(issuer.token(now, iss="https://other.example.com", roles=admin)),
        "a token signed by somebody else": bearer(issuer.token(now, kid="somebody", roles=admin)),
        "a token instead of a key": {"X-API-Key": issuer.token(now, roles=admin)},
    }
    kinds: dict[str, tuple[dict[str, str], Any]] = {kind: (headers, None) for kind, headers in unknown.items()}
    kinds["the key of the settings"] = ({"X-API-Key": KEY}, dict.fromkeys(RIGHTS, "*"))
    for kind, secret in secrets.items():
        right, _, hubs = kind.partition(":")
        kinds[kind] = (bearer(secret), {right: "*" if hubs == "*" else "chat"})
    for kind, (roles, rights) in TOKENS.items():
        kinds[kind] = (bearer(issuer.token(now, roles=roles)), rights)
    return kinds


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.slow
async def test_every_route_has_one_answer_for_every_kind_of_caller(
    keyed: tuple[App, dict[str, str]], issuer: IssuerServer
) -> None:
    app, secrets = keyed
    kinds = kinds_of_callers(secrets, issuer)
    for number, asked in enumerate(REQUESTS):
        # Each from a peer of its own, because one that tries many wrong keys is answered slowly.
        async with client_of(app, peer=f"192.0.2.{number}") as client:
            for kind, (headers, rights) in kinds.items():
                answer = await client.request(asked.method, asked.path, json=asked.body, headers=headers)
                wanted = expected(asked, rights)
                status = answer.status_code if answer.status_code in (401, 403) else ADMITTED
                assert status == wanted, f"{asked} by {kind}: {answer.status_code} {answer.text[:200]}"
                _explained(answer, asked)


def _explained(answer: httpx.Response, asked: Asked) -> None:
    if answer.status_code == 403:
        detail = answer.json()["detail"]
        assert asked.right in detail
        assert asked.hub in detail or asked.hub == "*" or "any hub" in detail
    assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)


async def test_the_table_above_has_every_route_with_the_right_that_the_document_names() -> None:
    async with client_of(an_app(api_key=KEY), X_API_Key=KEY) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    described = {
        (method.upper(), path, *(right for way in operation.get("security", ()) for right in way.get("bearer", ())))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if not path.startswith(("/api/", "/server/"))  # those are opened by the access key of the service, or by nobody
    }
    for method, path, *right in described:
        written = path.replace("{message_id}", "m").replace("{letter_id}", "0:1-0").replace("{code}", "forbidden")
        written = written.replace("{hub}", "chat")
        found = [asked for asked in REQUESTS if (asked.method, asked.path.partition("?")[0]) == (method, written)]
        assert found, f"{method} {path} is not in the table"
        assert {asked.right for asked in found} == {right[0] if right else ""}, path
