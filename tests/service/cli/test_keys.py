"""`fanout keys`, against a real Redis and an ingress that learns of every change while it runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from fanout.clock import SystemClock
from fanout.log import get_logger
from fanout.queue.allowances import Allowances
from fanout.queue.api_keys import MAX_KEYS, ApiKeys
from fanout.redis.open import open_redis
from service.callers.caller import parse_keys
from service.callers.key_ring import KeyRing
from service.cli.main import main
from tests.service.apps import BATCH, ITEM, KEY, an_app, served


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[ApiKeys]:
    """Where the keys are, as the ingress reads it."""
    redis_client = open_redis(redis_url, SystemClock())
    yield ApiKeys(redis_client)
    await redis_client.aclose()


async def fanout(redis_url: str, *arguments: str, **more: str) -> Result:
    environment = {"FANOUT_REDIS_URL": redis_url, **more}
    return await asyncio.to_thread(CliRunner().invoke, main, ["keys", *arguments], env=environment)


async def test_a_key_is_made_used_listed_and_revoked_while_the_ingress_runs(redis_url: str, store: ApiKeys) -> None:
    ring = KeyRing(store, "", SystemClock(), get_logger())
    made = await fanout(redis_url, "create", "orders", "--right", "send", "--hub", "chat*", "--for", "90d")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    key_id = secret.split("_")[1]
    async with served(replace(an_app(api_key=KEY), keys=ring)) as url, httpx.AsyncClient(base_url=url) as client:

        async def sent(hub: str) -> int:
            await ring.refresh()
            answer = await client.post(f"/v1/hubs/{hub}/messages", json=ITEM, headers={"X-API-Key": secret})
            return answer.status_code

        assert [await sent("chat"), await sent("news")] == [202, 403]
        listed = await fanout(redis_url, "list")
        assert [line.split()[:4] for line in listed.output.splitlines()][1] == [key_id, "orders", "send", "chat*"]
        assert secret not in listed.output
        kept = await fanout(redis_url, "revoke", key_id)  # nobody answers the question
        assert (kept.exit_code, key_id in kept.output) == (1, True)
        assert (await fanout(redis_url, "revoke", key_id, "--yes")).exit_code == 0
        assert await sent("chat") == 401
    assert (await fanout(redis_url, "revoke", key_id)).exit_code == 1
    assert (await fanout(redis_url, "list")).output == "There are no keys in Redis.\n"


async def test_a_key_has_the_limits_that_it_is_made_with(redis_url: str, store: ApiKeys) -> None:
    ring = KeyRing(store, "", SystemClock(), get_logger())
    options = ("--right", "send", "--hub", "chat", "--rate", "2/h", "--bytes", "1MiB/h")
    secret = (await fanout(redis_url, "create", "orders", *options)).stdout.strip()
    assert "2/h,1MiB/h" in (await fanout(redis_url, "list")).output
    redis_client = open_redis(redis_url, SystemClock())
    app = replace(an_app(api_key=KEY), keys=ring, allowances=Allowances(redis_client))
    await ring.refresh()
    async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
        sent = [
            await client.post(BATCH, json=ITEM, headers={"X-API-Key": key}) for key in (secret, secret, secret, KEY)
        ]
    assert [answer.status_code for answer in sent] == [202, 202, 429, 202]
    assert "RateLimit" not in sent[3].headers
    await redis_client.aclose()
    refused = await fanout(redis_url, "create", "a", "--right", "send", "--hub", "chat", "--rate", "fast")
    assert (refused.exit_code, "a limit must be a number per second" in refused.output) == (2, True)


async def test_what_is_stored_is_a_digest(redis_url: str, store: ApiKeys) -> None:
    secret = (await fanout(redis_url, "create", "a", "--right", "admin", "--hub", "*")).stdout.strip()
    [text] = (await store.all()).values()
    assert secret.split("_", 2)[2] not in text.decode()
    listed = await fanout(redis_url, "list", "--json")
    assert json.loads(listed.output)["name"] == "a"


async def test_a_key_for_a_file_is_stored_nowhere(redis_url: str, tmp_path: Path) -> None:
    made = await fanout(redis_url, "create", "a", "--right", "read", "--hub", "*", "--print")
    [(key_id, key)] = parse_keys(made.stdout.encode()).items()
    assert (key.name, key.rights, key.expires) == ("a", ("read",), None)
    assert f"fanout_{key_id}_" in made.stderr
    assert (await fanout(redis_url, "list")).output == "There are no keys in Redis.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("a", "--hub", "*"),
        ("a", "--right", "send"),
        ("a", "--right", "all", "--hub", "*"),
        ("a", "--right", "send", "--hub", "a**"),
        ("a", "--right", "send", "--hub", "a-*"),
        ("a b", "--right", "send", "--hub", "*"),
        ("a", "--right", "send", "--hub", "*", "--for", "soon"),
    ],
)
async def test_what_a_key_may_do_has_to_be_clear(redis_url: str, arguments: tuple[str, ...]) -> None:
    assert (await fanout(redis_url, "create", *arguments)).exit_code == 2
    assert (await fanout(redis_url, "list")).output == "There are no keys in Redis.\n"


async def test_an_entry_that_cannot_be_read_is_listed_and_there_is_a_bound(redis_url: str, store: ApiKeys) -> None:
    for number in range(MAX_KEYS):
        await store.put(f"k{number}", b"{}")
    full = await fanout(redis_url, "create", "a", "--right", "send", "--hub", "*")
    assert full.exit_code == 2
    assert "revoke some first" in full.output
    assert "cannot be read" in (await fanout(redis_url, "list")).output


async def test_a_wrong_setting_is_one_line() -> None:
    wrong = await fanout("redis://127.0.0.1:1", "list", FANOUT_PARTITION="3")
    assert (wrong.exit_code, wrong.output.count("\n"), "FANOUT_PARTITIONS?" in wrong.output) == (2, 1, True)


async def test_a_redis_that_is_away_is_one_line() -> None:
    gone = await fanout("redis://127.0.0.1:1", "list")
    assert gone.exit_code == 2
    assert gone.output.startswith("fanout: Redis: ")
