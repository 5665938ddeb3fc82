"""The routes of the dead letters, on the real app and a real Redis; answers are held against the OpenAPI document."""

import base64
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog

from fanout.clock import SystemClock
from fanout.log import configure
from fanout.queue.entry import decode
from fanout.queue.keys import KEYS, flow_of, lane_of
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.message import Message, Scope
from service.app import Role
from tests.builders import a_join, a_message, an_entry
from tests.service.admin.dead_letters.parked import (
    ADDRESS,
    a_client,
    an_admin_app,
    park,
    park_entry,
    park_row,
    parked_count,
    queued,
)
from tests.service.apps import BATCH, KEY, an_app, client_of, metric

pytestmark = pytest.mark.slow

REPLAY, PURGE = f"{ADDRESS}/replay", f"{ADDRESS}/purge"
NOBODY = {"matched": 0, "more": False, "next": None}


async def test_a_list_tells_of_each_letter_why_and_what(one_redis: RedisClient) -> None:
    name = await park(one_redis, "1795388238626-0", message_id="order-1")
    async with a_client(one_redis) as client:
        answer = await client.get(ADDRESS)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    [item] = answer.json()["items"]
    size = item.pop("bytes")
    assert size > 60
    assert item == {
        "id": name, "parkedAt": "2026-11-22T22:57:18.626Z", "reason": "refused", "status": 400, "attempts": 1,
        "detail": "HTTP 400", "hub": "chat", "endpoint": "default", "messageId": "order-1", "operation": "sendToUser",
        "to": "alice",
    }  # fmt: skip
    assert answer.json()["next"] is None


async def test_letters_of_all_partitions_come_in_the_order_in_which_they_were_parked(one_redis: RedisClient) -> None:
    names = [await park(one_redis, f"{1000 + number // 3}-{number}", to=f"user-{number}") for number in range(40)]
    assert len({name.partition(":")[0] for name in names}) == 4
    found: list[str] = []
    async with a_client(one_redis) as client:
        cursor: str | None = ""
        while cursor is not None:
            query = {"limit": "7"} | ({"cursor": cursor} if cursor else {})
            page = (await client.get(ADDRESS, params=query)).json()
            found += [item["id"] for item in page["items"]]
            cursor = page["next"]
    assert sorted(found) == sorted(names)
    times = [tuple(map(int, name.partition(":")[2].split("-"))) for name in found]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "abcd"),
        ({"hub": "chat"}, "abd"),
        ({"hub": "CHAT", "reason": "tooOld"}, "b"),
        ({"reason": "refused"}, "acd"),
        ({"messageId": "d"}, "d"),
        ({"endpoint": "EAST"}, "c"),
        ({"endpoint": "default", "reason": "refused"}, "ad"),
        ({"endpoint": "gone"}, ""),
        ({"before": "3"}, "ab"),
        ({"since": "3"}, "cd"),
        ({"since": "2", "before": "3"}, "b"),
        ({"since": "0"}, "abcd"),
        ({"to": "2"}, "b"),
        ({"to": "3", "hub": "chat"}, ""),
        ({"before": "1970-01-01T00:00:03.001Z"}, "abc"),
        ({"before": "1970-01-01T02:00:02+02:00"}, "a"),
        ({"before": "1970-01-01"}, ""),
        ({"before": "4", "hub": "news"}, "c"),
        ({"limit": "3"}, "abc"),
    ],
)
async def test_a_list_may_be_narrowed(one_redis: RedisClient, query: dict[str, str], found: str) -> None:
    await park(one_redis, "1000-0", message_id="a", to="1")
    await park(one_redis, "2000-0", message_id="b", to="2", reason="tooOld")
    await park(one_redis, "3000-0", message_id="c", to="3", hub="news", endpoint="east")
    await park(one_redis, "4000-0", message_id="d", to="4")
    async with a_client(one_redis) as client:
        items = (await client.get(ADDRESS, params=query)).json()["items"]
    assert "".join(item["messageId"] for item in items) == found


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=1001", "limit=-1", "limit=1.5", "limit=ten", "limit=", "limit=1&limit=2", "reason=refusd",
        "reason=", "hub=", "hub=1st", "messageId=", f"messageId={'m' * 1025}", "before=soon", "before=", "before=-1",
        "before=1e3", "before=1_000", "before=999999999999", "cursor=1", "cursor=0-0.0.9999999999999999", "cursor=",
        "hubs=chat", "dryRun=true", "ids=1", "since=soon", "to=", f"to={'m' * 1025}",
    ],
)  # fmt: skip
async def test_a_query_that_is_not_understood_is_refused_by_name(one_redis: RedisClient, query: str) -> None:
    async with a_client(one_redis) as client:
        answer = await client.get(f"{ADDRESS}?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0].removesuffix("s") in answer.json()["detail"] or "nothing else" in answer.text


async def test_one_letter_is_shown_with_its_message_as_it_may_be_sent_again(one_redis: RedisClient) -> None:
    body = b'{"target":"t","arguments":[1.50, {"deep": [null,"\xc3\xa4"]}, 12345678901234567890123]}'
    item = Message(Scope.GROUP, "red", body, ("c1",), 30.0, "ACME", at_most_once=True)
    name = await park_entry(one_redis, an_entry(item, message_id="order-1"))
    async with a_client(one_redis) as client:
        shown = await client.get(f"{ADDRESS}/{name}")
        assert shown.json()["operation"] == "sendToGroup"
        assert b'"arguments":[1.50, {"deep": [null,"\xc3\xa4"]}, 12345678901234567890123]' in shown.content
        message = shown.json()["message"]
        assert message["groupName"] == "red"
        again = await client.post(BATCH, json=message)
    assert again.status_code == 202, again.text


async def test_what_cannot_be_read_is_shown_as_it_is(one_redis: RedisClient) -> None:
    """A row of a newer version: fields missing and more of them, an entry nobody here knows."""
    name = await park_row(one_redis, 2, "entry", b"\xffnew", "colour", "red", "status", "n/a", "reason", "sleepy")
    bare = await park_row(one_redis, 3, "colour", "red")
    async with a_client(one_redis) as client:
        listed = (await client.get(ADDRESS)).json()["items"]
        shown = (await client.get(f"{ADDRESS}/{name}")).json()
        some = (await client.get(ADDRESS, params={"hub": "chat"})).json()["items"]
        unknown = (await client.get(ADDRESS, params={"reason": "unknown"})).json()["items"]
    assert [(item["id"], item["reason"], item["hub"], item["status"]) for item in listed] == [
        (name, "sleepy", None, 0),
        (bare, "unknown", None, 0),
    ]
    assert (shown["message"], base64.b64decode(shown["entry"])) == (None, b"\xffnew")
    assert (some, [item["id"] for item in unknown]) == ([], [bare])


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("0:1-0", 404, "deadLetterUnknown"),
        ("9999:1-0", 404, "deadLetterUnknown"),
        ("nonsense", 400, "invalidRequest"),
        ("0:9999999999999999999-0", 400, "invalidRequest"),
        ("a/b", 404, "notFound"),
        ("replay", 405, "methodNotAllowed"),
        ("purge", 405, "methodNotAllowed"),
    ],
)
async def test_what_is_no_letter_is_told(one_redis: RedisClient, name: str, status: int, code: str) -> None:
    async with a_client(one_redis) as client:
        answer = await client.get(f"{ADDRESS}/{name}")
        explained = await client.get(answer.json()["type"])
    assert (answer.status_code, answer.json()["code"], explained.status_code) == (status, code, 200)
    assert answer.headers.get("Allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_replay_and_purge_take_a_post_and_say_so(one_redis: RedisClient, method: str) -> None:
    await park(one_redis)
    async with a_client(one_redis) as client:
        answers = [await client.request(method, address, json={"all": True}) for address in (REPLAY, PURGE)]
    assert [(answer.status_code, answer.headers["Allow"]) for answer in answers] == [(405, "POST")] * 2
    assert await parked_count(one_redis) == 1


async def test_a_replay_puts_the_entry_back_as_it_was_and_a_repeat_does_nothing(one_redis: RedisClient) -> None:
    name = await park(one_redis)
    async with a_client(one_redis) as client:
        first = await client.post(REPLAY, json={"ids": [name]})
        second = await client.post(REPLAY, json={"ids": [name]})
    assert first.json() == {"matched": 1, "replayed": 1, "more": False, "next": None, "before": None}
    assert second.json() == {"replayed": 0, "before": None, **NOBODY}
    [entry] = await queued(one_redis)
    assert decode(entry, "chat") == an_entry()
    assert await parked_count(one_redis) == 0


async def test_a_purge_deletes_and_sends_nothing(one_redis: RedisClient) -> None:
    keep, gone = await park(one_redis, message_id="keep"), await park(one_redis, message_id="gone")
    async with a_client(one_redis) as client:
        purged = await client.post(PURGE, json={"ids": [gone, gone, "3:1-0"]})
        left = (await client.get(ADDRESS)).json()["items"]
    assert purged.json() == {"matched": 1, "purged": 1, "more": False, "next": None, "before": None}
    assert [item["id"] for item in left] == [keep]
    assert await queued(one_redis) == []


@pytest.mark.parametrize(
    ("command", "count"),
    [
        ({"reason": "refused"}, 3),
        ({"hub": "chat"}, 3),
        ({"hub": "chat", "reason": "refused"}, 2),
        ({"messageId": "b"}, 1),
        ({"before": 3}, 2),
        ({"before": "1970-01-01T00:00:03Z", "reason": "tooOld"}, 1),
        ({"all": True}, 4),
        ({"all": True, "limit": 3}, 3),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
async def test_letters_are_chosen_by_what_is_true_of_them(
    one_redis: RedisClient, command: dict[str, Any], count: int, *, dry: bool
) -> None:
    await park(one_redis, "1000-0", message_id="a", to="1")
    await park(one_redis, "2000-0", message_id="b", to="2", reason="tooOld")
    await park(one_redis, "3000-0", message_id="c", to="3", hub="news")
    await park(one_redis, "4000-0", message_id="d", to="4")
    async with a_client(one_redis) as client:
        answer = await client.post(REPLAY, json=command | {"dryRun": dry})
    done = 0 if dry else count
    told = answer.json()
    assert (told["matched"], told["replayed"], told["more"]) == (count, done, "limit" in command)
    assert (len(await queued(one_redis)), await parked_count(one_redis)) == (done, 4 - done)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"", ""),
        (b" \n", ""),
        (b"{}", ""),
        (b"null", ""),
        (b"[]", ""),
        (b"{", ""),
        (b'{"all":false}', ""),
        (b'{"dryRun":true}', ""),
        (b'{"limit":5}', ""),
        (b'{"all":true,"hub":"chat"}', "/all"),
        (b'{"ids":["0:1-0"],"all":true}', ""),
        (b'{"ids":["0:1-0"],"reason":"refused"}', ""),
        (b'{"ids":["0:1-0"],"cursor":"1-0.0.5"}', ""),
        (b'{"ids":[]}', "/ids"),
        (b'{"ids":"0:1-0"}', "/ids"),
        (b'{"ids":["0:1-0","1-0"]}', "/ids/1"),
        (b'{"ids":["0:1-0",7]}', "/ids/1"),
        (b'{"ids":[%s]}' % b",".join([b'"0:1-0"'] * 1001), "/ids"),
        (b'{"reason":"refusd"}', "/reason"),
        (b'{"reason":null}', "/reason"),
        (b'{"hub":"1st"}', "/hub"),
        (b'{"messageId":7}', "/messageId"),
        (b'{"before":true}', "/before"),
        (b'{"before":-1}', "/before"),
        (b'{"before":1e300}', "/before"),
        (b'{"before":"soon"}', "/before"),
        (b'{"all":1}', "/all"),
        (b'{"all":true,"dryRun":"yes"}', "/dryRun"),
        (b'{"all":true,"limit":0}', "/limit"),
        (b'{"all":true,"limit":10001}', "/limit"),
        (b'{"all":true,"limit":1.5}', "/limit"),
        (b'{"all":true,"limit":true}', "/limit"),
        (b'{"all":true,"cursor":"x"}', "/cursor"),
        (b'{"all":true,"raeson":"refused"}', "/raeson"),
        (b'{"all":true,"a/b~":1}', "/a~1b~0"),
    ],
)
@pytest.mark.parametrize("address", [REPLAY, PURGE])
async def test_nothing_happens_by_accident(one_redis: RedisClient, address: str, body: bytes, pointer: str) -> None:
    await park(one_redis)
    async with a_client(one_redis) as client:
        answer = await client.post(address, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)
    assert (await queued(one_redis), await parked_count(one_redis)) == ([], 1)


async def test_a_body_that_is_no_json_or_too_large_is_refused(one_redis: RedisClient) -> None:
    async with a_client(one_redis) as client:
        form = await client.post(
            PURGE, content=b"all=true", headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        large = await client.post(PURGE, content=b" " * 200_000)
    assert (form.status_code, large.status_code) == (415, 413)


async def test_a_cursor_goes_on_where_the_limit_ended_it(one_redis: RedisClient) -> None:
    for number in range(10):
        await park(one_redis, to=f"user-{number}")
    counts = []
    async with a_client(one_redis) as client:
        command: dict[str, Any] = {"all": True, "limit": 4, "dryRun": True}
        while True:
            told = (await client.post(PURGE, json=command)).json()
            counts.append(told["matched"])
            if not told["more"]:
                break
            command["cursor"] = told["next"]
    assert counts == [4, 4, 2]


async def test_what_is_parked_after_a_walk_began_is_not_met_by_it(one_redis: RedisClient) -> None:
    """So that a letter that is sent again and refused again is not sent again and again by one order."""
    for number in range(3):
        await park(one_redis, to=f"user-{number}")
    async with a_client(one_redis) as client:
        first = (await client.post(REPLAY, json={"all": True, "limit": 2})).json()
        # parked again, and as one more after what the walk has seen
        for number in range(2):
            await park(one_redis, "9999999999999-0", to=f"user-{number}", message_id="again")
        rest = (await client.post(REPLAY, json={"all": True, "cursor": first["next"]})).json()
        again = (await client.post(REPLAY, json={"all": True, "dryRun": True})).json()
        bounded = (await client.post(REPLAY, json={"before": first["before"], "dryRun": True})).json()
    assert (first["replayed"], rest["replayed"], rest["more"]) == (2, 1, False)
    assert (again["matched"], bounded["matched"]) == (2, 0)


async def test_a_full_store_refuses_a_replay_and_keeps_the_letter(one_redis: RedisClient) -> None:
    name = await park(one_redis)
    await one_redis.ask("CONFIG", "SET", "maxmemory", "1")
    async with a_client(one_redis) as client:
        answers = [await client.post(REPLAY, json=command) for command in ({"ids": [name]}, {"all": True})]
        purged = await client.post(PURGE, json={"all": True})
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "queueFull")] * 2
    assert all(answer.headers["Retry-After"] for answer in answers)
    assert purged.json()["purged"] == 1  # which is how one makes room


async def test_a_letter_without_an_entry_stays_and_can_be_purged(one_redis: RedisClient) -> None:
    name = await park_row(one_redis, 1, "reason", "refused")
    async with a_client(one_redis) as client:
        told = (await client.post(REPLAY, json={"ids": [name]})).json()
        purged = (await client.post(PURGE, json={"all": True})).json()
    assert (told["matched"], told["replayed"], purged["purged"]) == (1, 0, 1)


async def test_a_store_that_is_away_is_a_503(tmp_path: Path) -> None:
    redis_client = open_redis(f"unix://{tmp_path / 'none.sock'}", SystemClock())
    async with a_client(redis_client) as client:
        answers = [await client.get(ADDRESS), await client.get(f"{ADDRESS}/0:1-0")]
        answers += [await client.post(address, json={"all": True}) for address in (REPLAY, PURGE)]
        answers += [await client.post(address, json={"ids": ["0:1-0"]}) for address in (REPLAY, PURGE)]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "queueUnavailable")}


@pytest.mark.parametrize(
    ("settings", "peer", "headers", "status"),
    [
        ({"api_key": KEY}, "192.0.2.7", {"X-API-Key": KEY}, 200),
        ({"api_key": KEY}, "127.0.0.1", {}, 401),
        ({}, "127.0.0.1", {}, 200),
        ({}, "127.0.0.1", {"Origin": "https://evil.example.com"}, 401),
        ({"auth": "key"}, "127.0.0.1", {}, 401),
    ],
)
async def test_only_who_may_administer_gets_in(
    one_redis: RedisClient, settings: dict[str, Any], peer: str, headers: dict[str, str], status: int
) -> None:
    name = await park(one_redis)
    async with client_of(an_admin_app(one_redis, **settings), peer=peer) as client:
        answers = [await client.get(ADDRESS, headers=headers), await client.get(f"{ADDRESS}/{name}", headers=headers)]
        answers += [await client.post(address, json={"all": True}, headers=headers) for address in (REPLAY, PURGE)]
    assert [answer.status_code for answer in answers] == [status] * 4
    assert await parked_count(one_redis) == (0 if status == 200 else 1)


@pytest.mark.parametrize(("role", "status"), [("all", 200), ("ingress", 200), ("worker", 404)])
async def test_an_ingress_answers_and_a_worker_does_not(one_redis: RedisClient, role: Role, status: int) -> None:
    async with client_of(an_admin_app(one_redis, role=role)) as client:
        assert (await client.get(ADDRESS)).status_code == status


async def test_where_nobody_may_look_there_is_nothing() -> None:
    async with client_of(an_app()) as client:
        assert (await client.get(f"{ADDRESS}/0:1-0")).json()["code"] == "notFound"


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """What is logged, as JSON lines."""
    stream = StringIO()
    configure(level="info", style="json", stream=stream)
    yield stream
    structlog.reset_defaults()


async def test_what_was_done_is_one_log_line_of_counts(one_redis: RedisClient, logged: StringIO) -> None:
    await park(one_redis, to="secret-user", message_id="secret-message")
    await park_entry(one_redis, an_entry(a_join("secret-user")))
    async with a_client(one_redis) as client:
        await client.post(REPLAY, json={"all": True, "dryRun": True})
        await client.post(REPLAY, json={"all": True, "limit": 1}, headers={"X-Request-Id": "r1"})
        await client.post(PURGE, json={"all": True}, headers={"X-Request-Id": "r2"})
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    one, two = (line for line in lines if line["event"].startswith("dead_letters."))
    assert (one["event"], one["request_id"], one["matched"], one["replayed"]) == ("dead_letters.replayed", "r1", 1, 1)
    assert (two["event"], two["request_id"], two["purged"], two["more"]) == ("dead_letters.purged", "r2", 1, False)
    assert "secret" not in logged.getvalue()


async def test_what_was_done_is_counted(one_redis: RedisClient) -> None:
    for number in range(5):
        await park(one_redis, to=str(number))
    app = an_admin_app(one_redis)
    async with client_of(app) as client:
        await client.post(REPLAY, json={"all": True, "dryRun": True})
        await client.post(REPLAY, json={"all": True, "limit": 2})
        await client.post(PURGE, json={"all": True})
    assert (metric(app, "fanout_replayed_total"), metric(app, "fanout_purged_total")) == (2, 3)


async def test_a_replayed_letter_counts_as_accepted_anew(one_redis: RedisClient) -> None:
    for number in range(3):
        await park(one_redis, to=str(number))
    await park_entry(one_redis, an_entry(a_join()))
    flow = KEYS.stream(0, flow_of(lane_of("chat", a_message())))
    await park_row(one_redis, 0, "entry", "unreadable", "id", "1-0", "flow", flow, "reason", "unreadable")
    app = an_admin_app(one_redis)
    async with client_of(app) as client:
        assert (await client.post(REPLAY, json={"all": True})).json()["replayed"] == 5
        assert (await client.post(REPLAY, json={"all": True})).json()["replayed"] == 0
    assert metric(app, "fanout_accepted_total", operation="sendToUser") == 3
    assert metric(app, "fanout_accepted_total", operation="addUser") == 1
    assert metric(app, "fanout_replayed_total") == 5


async def test_replays_of_one_lane_keep_the_order_in_which_they_were_parked(one_redis: RedisClient) -> None:
    names = [await park(one_redis, f"{1000 + number}-0", message_id=f"m{number:03}") for number in range(250)]
    async with a_client(one_redis) as client:
        await client.post(REPLAY, json={"ids": names[:20][::-1]})
        await client.post(REPLAY, json={"all": True})
    assert [decode(data, "").message_id for data in await queued(one_redis)] == [
        f"m{number:03}" for number in range(250)
    ]
    assert await one_redis.ask("XLEN", KEYS.dead(int(names[0].partition(":")[0]))) == 0
