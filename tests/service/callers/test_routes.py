"""Every route against every kind of caller: each pair has exactly one answer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

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
from tests.service.apps import ITEM, KEY, App, an_app, client_of

UNKNOWN, ADMITTED = 401, 200  # ADMITTED stands for whatever is neither 401 nor 403
RIGHTS = ("send", "negotiate", "read", "admin")


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
)


def expected(asked: Asked, rights: set[str] | None, hubs: str) -> int:
    """Return the answer to a caller with these rights on these hubs ("*", "chat"); None for one who is not known."""
    if not asked.right:
        return ADMITTED
    if rights is None:
        return UNKNOWN
    has = asked.right in rights or (asked.right == "read" and "admin" in rights)
    return ADMITTED if has and hubs in ("*", asked.hub) else 403


@pytest.fixture
async def keyed(one_redis: RedisClient) -> AsyncIterator[tuple[App, dict[str, str]]]:
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
        yield _app(one_redis, ring, traces), secrets


def _app(redis_client: RedisClient, ring: KeyRing, traces: Traces) -> App:
    letters = DeadLetters(redis_client, partitions=16)
    app = replace(an_app(api_key=KEY, partitions=16), keys=ring, dead_letters=letters, traces=traces)
    surveyor = Surveyor(redis_client, SystemClock(), partitions=16)
    return replace(app, pauses=Pauses(redis_client), surveyor=surveyor)


async def test_every_route_has_one_answer_for_every_kind_of_caller(keyed: tuple[App, dict[str, str]]) -> None:
    app, secrets = keyed
    kinds: dict[str, tuple[dict[str, str], set[str] | None, str]] = {
        "nobody": ({}, None, "*"),
        "a wrong key": ({"X-API-Key": "another"}, None, "*"),
        "a wrong token": ({"Authorization": "Bearer another"}, None, "*"),
        "a wrong secret": ({"X-API-Key": f"{secrets['admin:*']}x"}, None, "*"),
        "an expired key": ({"X-API-Key": secrets.pop("expired")}, None, "*"),
        "the key of the settings": ({"X-API-Key": KEY}, set(RIGHTS), "*"),
    }
    for kind, secret in secrets.items():
        right, _, hubs = kind.partition(":")
        kinds[kind] = ({"Authorization": f"Bearer {secret}"}, {right}, "*" if hubs == "*" else "chat")
    for number, asked in enumerate(REQUESTS):
        # Each from a peer of its own, because one that tries many wrong keys is answered slowly.
        async with client_of(app, peer=f"192.0.2.{number}") as client:
            for kind, (headers, rights, hubs) in kinds.items():
                answer = await client.request(asked.method, asked.path, json=asked.body, headers=headers)
                wanted = expected(asked, rights, hubs)
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
        if not path.startswith("/api/")  # those are opened by the access key of the service
    }
    for method, path, *right in described:
        written = path.replace("{message_id}", "m").replace("{letter_id}", "0:1-0").replace("{code}", "forbidden")
        written = written.replace("{hub}", "chat")
        found = [asked for asked in REQUESTS if (asked.method, asked.path.partition("?")[0]) == (method, written)]
        assert found, f"{method} {path} is not in the table"
        assert {asked.right for asked in found} == {right[0] if right else ""}, path
