"""`POST /{hub}/negotiate`: who gets a token, for whom, and what is in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.log import get_logger
from fanout.queue.entry import Admission
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import USER_ID_CLAIM, verify
from fanout.signalr.message import GroupAction, Scope, Verb
from service.callers.key_ring import KeyRing
from tests.fakes import FakeClock
from tests.service.apps import ACCESS_KEY, KEY, SERVICE, an_app, client_of, metric
from tests.service.callers.test_api_key import SECRET, a_key
from tests.service.memory_queue import MemoryQueue

pytestmark = pytest.mark.lengthy

URL = "/chat/negotiate"
BEARER = {"Authorization": f"Bearer {KEY}"}
ORIGIN = "https://app.example.com"
PRINCIPAL_ID = "x-ms-client-principal-id"
PRINCIPAL_NAME = "x-ms-client-principal-name"


def claims_of(answer: dict[str, Any], hub: str = "chat") -> dict[str, Any]:
    audience = f"https://example.service.signalr.net/client/?hub={hub}"
    return verify(answer["accessToken"], [ACCESS_KEY], [audience])


async def test_a_caller_with_the_key_names_the_user() -> None:
    app = an_app(api_key=KEY)
    async with client_of(app) as client:
        answer = await client.post("/Chat/negotiate?negotiateVersion=1&userId=alice", headers=BEARER)
    assert answer.status_code == 200
    assert set(answer.json()) == {"url", "accessToken"}
    assert answer.json()["url"] == "https://example.service.signalr.net/client/?hub=chat"
    claims = claims_of(answer.json())
    assert (claims[USER_ID_CLAIM], claims["iss"]) == ("alice", "azure-signalr")
    assert claims["exp"] - claims["iat"] == 3600
    assert answer.headers["Cache-Control"] == "no-store"
    assert metric(app, "fanout_negotiate_requests_total", status="2xx") == 1


async def test_a_caller_with_the_key_names_user_and_claims_in_a_body() -> None:
    wanted = {"userId": "alice", "claims": {"role": ["a", "b"], "exp": 1, "aud": "x", "sub": "s"}}
    async with client_of(an_app(api_key=KEY)) as client:
        answer = await client.post(URL, json=wanted, headers=BEARER)
    claims = claims_of(answer.json())
    assert claims[USER_ID_CLAIM] == "alice"
    assert claims["role"] == ["a", "b"]
    assert (claims["asrs.u.exp"], claims["asrs.u.aud"], claims["sub"]) == (1, "x", "s")


@pytest.mark.parametrize("name", [USER_ID_CLAIM, "asrs.s.aut", "asrs.s.rn"])
async def test_a_claim_that_steers_the_service_is_400_with_its_place(name: str) -> None:
    async with client_of(an_app(api_key=KEY)) as client:
        answer = await client.post(URL, json={"userId": "alice", "claims": {name: "eve"}}, headers=BEARER)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, f"/claims/{name}")


@pytest.mark.parametrize("body", [None, {}, {"userId": None, "claims": None}, {"userId": ""}])
async def test_a_caller_with_the_key_may_ask_for_a_client_without_a_user(body: Any) -> None:
    async with client_of(an_app(api_key=KEY)) as client:
        answer = await client.post(URL, headers=BEARER, **({} if body is None else {"json": body}))
    assert USER_ID_CLAIM not in claims_of(answer.json())


@pytest.mark.parametrize(
    ("query", "content", "pointer"),
    [
        ("", b"{", ""),
        ("", b"[]", ""),
        ("", b'{"userId":7}', "/userId"),
        ("", b'{"claims":[]}', "/claims"),
        ("", b'{"user/Id":"a"}', "/user~1Id"),
        ("?userId=bob", b'{"userId":"alice"}', "/userId"),
        ("?userId=bob&userId=eve", b"", ""),
        ("?userId=.", b"", ""),
    ],
)
async def test_a_request_that_does_not_say_clearly_for_whom_is_refused(
    query: str, content: bytes, pointer: str
) -> None:
    async with client_of(an_app(api_key=KEY)) as client:
        answer = await client.post(URL + query, content=content, headers=BEARER)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("sources", "headers", "query", "user"),
    [
        ((), {PRINCIPAL_ID: "id", PRINCIPAL_NAME: "name"}, "?userId=q", None),
        (("principal-id",), {PRINCIPAL_ID: "id", PRINCIPAL_NAME: "name"}, "?userId=q", "id"),
        (("principal-name",), {PRINCIPAL_ID: "id", PRINCIPAL_NAME: "name"}, "?userId=q", "name"),
        (("query",), {PRINCIPAL_ID: "id", PRINCIPAL_NAME: "name"}, "?userId=q", "q"),
        (("principal-name", "principal-id"), {PRINCIPAL_ID: "id", PRINCIPAL_NAME: "name"}, "", "name"),
        (("principal-name", "principal-id"), {PRINCIPAL_ID: "id", PRINCIPAL_NAME: ""}, "", "id"),
        (("principal-id", "query"), {}, "?userId=q", "q"),
        (("principal-id",), {}, "?userId=q", None),
        (("query",), {}, "", None),
    ],
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "192.0.2.7"])
async def test_others_get_the_user_that_the_settings_find_first(
    sources: tuple[str, ...], headers: dict[str, str], query: str, user: str | None, peer: str
) -> None:
    for anonymous in (False, True):
        app = an_app(
            api_key=KEY,
            negotiate_user=sources,
            negotiate_anonymous=anonymous,
            negotiate_peers=("127.0.0.1", "192.0.2.7"),
        )
        async with client_of(app, peer=peer) as client:
            answer = await client.post(URL + query, headers=headers)
        if user is None and not anonymous:
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
            assert metric(app, "fanout_negotiate_requests_total", status="4xx") == 1
        else:
            assert claims_of(answer.json()).get(USER_ID_CLAIM) == user


@pytest.mark.parametrize("wanted", [{"userId": "root"}, {"claims": {"role": "admin"}}, {"userId": "alice"}])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer app-token"}])
async def test_what_a_body_asks_for_is_refused_where_it_would_not_be_used(
    wanted: dict[str, Any], headers: dict[str, str]
) -> None:
    async with client_of(an_app(api_key=KEY, negotiate_user=("query",))) as client:
        answer = await client.post(f"{URL}?userId=alice", json=wanted, headers=headers)
        nothing = [
            await client.post(f"{URL}?userId=alice", content=body)
            for body in (b"", b"{}", b'{"userId":null}', b"[]", b"text")
        ]
    assert answer.status_code == 401
    assert "would be ignored" in answer.json()["detail"]
    assert [each.status_code for each in nothing] == [200] * 5


async def test_this_machine_may_name_anybody_where_no_key_is_asked_for() -> None:
    wanted = {"userId": "alice", "claims": {"role": "admin"}}
    async with client_of(an_app()) as client:
        by_body = claims_of((await client.post(URL, json=wanted)).json())
        by_query = claims_of((await client.post(f"{URL}?userId=bob")).json())
        nobody = await client.post(URL)
    assert (by_body[USER_ID_CLAIM], by_body["role"]) == ("alice", "admin")
    assert by_query[USER_ID_CLAIM] == "bob"
    assert nobody.status_code == 200


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("192.0.2.7", {}),
        ("127.0.0.1", {"Host": "rebound.example.com"}),
        ("127.0.0.1", {"Origin": "https://evil.example.com"}),
        ("127.0.0.1", {"Origin": "http://["}),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}),
        ("127.0.0.1", {"Sec-Fetch-Site": "cross-site"}),
    ],
)
async def test_without_a_key_nobody_else_gets_a_token(peer: str, headers: dict[str, str]) -> None:
    app = an_app(negotiate_user=("query",), negotiate_anonymous=True, cors_origins=(ORIGIN,))
    async with client_of(app, peer=peer) as client:
        answer = await client.post(f"{URL}?userId=alice", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_a_listed_page_negotiates_for_the_users_that_the_settings_find_and_does_nothing_else() -> None:
    app = an_app(negotiate_user=("query",), cors_origins=(ORIGIN,))
    async with client_of(app, Origin=ORIGIN) as client:
        token = await client.post(f"{URL}?userId=alice")
        named = await client.post(f"{URL}?userId=alice", json={"userId": "alice"})
        sent = await client.post("/v1/hubs/chat/messages", json={"target": "t"})
        purged = await client.post("/v1/admin/dead-letters/purge", json={"all": True})
    assert claims_of(token.json())[USER_ID_CLAIM] == "alice"
    assert [each.status_code for each in (named, sent, purged)] == [401, 401, 401]


@pytest.mark.parametrize("depth", [17, 1000, 100_000])
async def test_claims_that_are_nested_too_deep_are_refused(depth: int) -> None:
    body = b'{"userId":"a","claims":{"c":' + b"[" * depth + b"]" * depth + b"}}"
    async with client_of(an_app(api_key=KEY)) as client:
        answer = await client.post(URL, content=body, headers=BEARER)
    assert answer.status_code == (413 if depth == 100_000 else 400)


# Hubs -----------------------------------------------------------------------------------------------------------------


async def test_the_url_of_a_functions_client_means_the_default_hub() -> None:
    async with client_of(an_app(default_hub="Chat")) as client:
        answers = [await client.post(path) for path in ("/api/negotiate", "/negotiate", "/API/negotiate")]
    assert [answer.json()["url"].rpartition("=")[2] for answer in answers] == ["chat"] * 3


@pytest.mark.parametrize("path", ["/api/negotiate", "/negotiate"])
async def test_without_a_default_hub_it_is_refused_with_what_to_set(path: str) -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "unknownHub")
    assert "FANOUT_DEFAULT_HUB" in answer.json()["detail"]


async def test_a_hub_called_api_is_one_when_it_is_listed() -> None:
    async with client_of(an_app(hubs=("api", "chat"), default_hub="chat")) as client:
        answer = await client.post("/api/negotiate")
    assert answer.json()["url"].endswith("hub=api")


async def test_where_the_hubs_are_listed_others_are_refused_with_the_list() -> None:
    async with client_of(an_app(hubs=("Chat", "news"))) as client:
        known = await client.post("/CHAT/negotiate"), await client.post("/v1/hubs/news/messages", json={"target": "t"})
        unknown = await client.post("/chta/negotiate"), await client.post("/v1/hubs/new/messages", json={"target": "t"})
    assert [answer.status_code for answer in known] == [200, 202]
    for answer in unknown:
        assert (answer.status_code, answer.json()["code"]) == (400, "unknownHub")
        assert "chat, news" in answer.json()["detail"]


# ----------------------------------------------------------------------------------------------------------------------


async def test_an_applications_own_bearer_token_does_not_stand_in_the_way() -> None:
    app = an_app(api_key=KEY, negotiate_user=("principal-id",), negotiate_peers=("*",))
    async with client_of(app) as client:
        own = await client.post(URL, headers={"Authorization": "Bearer app-token", PRINCIPAL_ID: "alice"})
        wrong = await client.post(URL, headers={"X-API-Key": "wrong", PRINCIPAL_ID: "alice"})
    assert claims_of(own.json())[USER_ID_CLAIM] == "alice"
    assert (wrong.status_code, wrong.json()["code"]) == (401, "wrongKey")


async def test_an_identity_header_that_stands_twice_is_refused() -> None:
    async with client_of(an_app(negotiate_user=("principal-id",), negotiate_peers=("*",))) as client:
        answer = await client.post(URL, headers=[(PRINCIPAL_ID, "alice"), (PRINCIPAL_ID, "eve")])
    assert answer.status_code == 400


async def test_a_user_name_beyond_ascii_survives_the_header() -> None:
    async with client_of(an_app(negotiate_user=("principal-name",), negotiate_peers=("*",))) as client:
        for sent in ("Zo\u00eb".encode(), "Zo\u00eb".encode("latin-1")):
            answer = await client.post(URL, headers=[(PRINCIPAL_NAME.encode(), sent)])
            assert claims_of(answer.json())[USER_ID_CLAIM] == "Zo\u00eb"


async def test_a_token_over_4k_is_refused_with_413() -> None:
    async with client_of(an_app(api_key=KEY)) as client:
        fits = await client.post(URL, json={"claims": {"c": "x" * 2500}}, headers=BEARER)
        over = await client.post(URL, json={"claims": {"c": "x" * 3000}}, headers=BEARER)
        huge = await client.post(URL, json={"claims": {"c": "x" * 70_000}}, headers=BEARER)
    assert fits.status_code == 200
    assert (over.status_code, over.json()["code"]) == (413, "tokenTooLong")
    assert (huge.status_code, huge.json()["code"]) == (413, "bodyTooLarge")


async def test_a_body_that_is_not_json_is_415() -> None:
    async with client_of(an_app(api_key=KEY)) as client:
        answer = await client.post(URL, content=b"userId=a", headers={**BEARER, "Content-Type": "text/html"})
    assert answer.status_code == 415


async def test_the_application_is_the_prefix_of_the_hub() -> None:
    async with client_of(an_app(api_key=KEY, application="Shop")) as client:
        answer = await client.post(URL, headers=BEARER)
    assert answer.json()["url"].endswith("/client/?hub=shop_chat")
    assert claims_of(answer.json(), "shop_chat")


async def test_the_lifetime_is_a_setting_and_starts_now() -> None:
    clock = FakeClock()
    async with client_of(an_app(api_key=KEY, negotiate_lifetime=120, clock=clock)) as client:
        claims = claims_of((await client.post(URL, headers=BEARER)).json())
    assert (claims["iat"], claims["exp"]) == (int(clock.wall()), int(clock.wall()) + 120)


@pytest.mark.parametrize(
    "service", [None, ConnectionString.parse("Endpoint=https://e.example;AuthType=azure;Version=1.0;")]
)
async def test_without_a_key_to_sign_with_the_operator_is_named_as_the_one_to_act(
    service: ConnectionString | None,
) -> None:
    async with client_of(an_app(api_key=KEY, service=service)) as client:
        answer = await client.post(URL, headers=BEARER)
    assert (answer.status_code, answer.json()["code"]) == (503, "notConfigured")
    assert "AzureSignalRConnectionString" in answer.json()["detail"]


async def test_refreshing_a_connection_is_not_offered() -> None:
    async with client_of(an_app()) as client:
        refreshed = await client.post("/chat/refresh?id=token")
        assert "tokenLifetimeSeconds" not in (await client.post(URL)).json()
    assert (refreshed.status_code, refreshed.json()["code"]) == (404, "notFound")


async def test_get_is_refused_with_405() -> None:
    async with client_of(an_app()) as client:
        answer = await client.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (405, "methodNotAllowed")
    assert "POST" in answer.headers["Allow"]


async def test_a_hub_name_the_service_cannot_have_is_refused() -> None:
    async with client_of(an_app(api_key=KEY)) as client:
        assert (await client.post("/9lives/negotiate", headers=BEARER)).status_code == 400


async def test_a_listed_origin_may_read_answers_and_refusals() -> None:
    async with client_of(an_app(cors_origins=(ORIGIN,), negotiate_user=("query",)), Origin=ORIGIN) as client:
        answers = [await client.post(f"{URL}?userId=a"), await client.post(URL)]
    assert [a.status_code for a in answers] == [200, 401]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://evil.example.com", f"{ORIGIN}:444", ORIGIN.upper(), "null"])
async def test_an_origin_that_is_not_listed_gets_no_cors_header(origin: str) -> None:
    async with client_of(an_app(cors_origins=(ORIGIN,), negotiate_anonymous=True), Origin=origin) as client:
        answer = await client.post(URL)
        preflight = await client.options(URL, headers={"Access-Control-Request-Method": "POST"})
    for response in (answer, preflight):
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert response.headers["Vary"] == "Origin"


async def test_a_preflight_allows_what_signalr_clients_send() -> None:
    async with client_of(an_app(cors_origins=(ORIGIN,)), Origin=ORIGIN) as client:
        answer = await client.options(
            URL,
            headers={
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-requested-with,x-signalr-user-agent",
            },
        )
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"x-requested-with", "x-signalr-user-agent", "authorization", "content-type"} <= set(allowed)


async def test_the_token_belongs_to_the_service_of_the_connection_string() -> None:
    assert SERVICE.access_key not in repr(an_app())


# Groups ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "ttl"),
    [({}, 3600), ({"groupTtlSeconds": 0}, 0), ({"groupTtlSeconds": 60}, 60), ({"lifetimeSeconds": 120.9}, 120)],
)
async def test_the_user_is_added_to_groups_before_it_gets_its_token(asked: dict[str, Any], ttl: int) -> None:
    queue = MemoryQueue()
    wanted = {"userId": "alice", "groups": ["red", "blue", "red"], **asked}
    async with client_of(an_app(queue, api_key=KEY)) as client:
        answer = await client.post("/Chat/negotiate", json=wanted, headers=BEARER)
    assert (answer.status_code, set(answer.json())) == (200, {"url", "accessToken"})
    assert [submission.entry.hub for submission in queue.stored] == ["chat", "chat"]
    assert [submission.entry.item for submission in queue.stored] == [
        GroupAction(Verb.ADD, Scope.USER, "alice", group, ttl) for group in ("red", "blue")
    ]


@pytest.mark.parametrize(
    ("admission", "code"),
    [(Admission.FULL, "queueFull"), (Admission.UNKNOWN, "queueSilent")],
)
async def test_there_is_no_token_where_a_join_is_not_stored(admission: Admission, code: str) -> None:
    queue = MemoryQueue()
    queue.outcomes[1] = admission
    async with client_of(an_app(queue, api_key=KEY)) as client:
        answer = await client.post(URL, json={"userId": "alice", "groups": ["red", "blue"]}, headers=BEARER)
    assert (answer.status_code, answer.json()["code"], "accessToken" in answer.text) == (503, code, False)
    assert answer.headers["Retry-After"] == "1"


async def test_there_is_no_token_while_the_queue_is_away() -> None:
    queue = MemoryQueue()
    queue.error = QueueError("Redis is away.")
    async with client_of(an_app(queue, api_key=KEY)) as client:
        answer = await client.post(URL, json={"userId": "alice", "groups": ["red"]}, headers=BEARER)
        others = await client.post(URL, json={"userId": "alice"}, headers=BEARER)
    assert (answer.status_code, answer.json()["code"]) == (503, "queueUnavailable")
    assert others.status_code == 200


async def test_names_that_no_call_could_carry_are_refused() -> None:
    wanted = {"userId": "\u5317" * 300, "groups": ["\u4eac" * 300]}
    async with client_of(an_app(api_key=KEY)) as client:
        answer = await client.post(URL, json=wanted, headers=BEARER)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "namesTooLong")


@pytest.mark.parametrize(("rights", "status"), [(("negotiate",), 403), (("negotiate", "send"), 200)])
async def test_who_may_not_send_to_the_hub_may_not_add_to_its_groups(
    rights: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(a_key(rights=rights, hubs=("chat",)).text)
    ring = KeyRing(None, str(file), SystemClock(), get_logger())
    await ring.refresh()
    queue = MemoryQueue()
    app = replace(an_app(queue, api_key=KEY, api_keys_file=str(file)), keys=ring)
    async with client_of(app) as client:
        headers = {"X-API-Key": SECRET}
        answer = await client.post(URL, json={"userId": "alice", "groups": ["red"]}, headers=headers)
        without = await client.post(URL, json={"userId": "alice"}, headers=headers)
    assert (answer.status_code, without.status_code, len(queue.stored)) == (status, 200, int(status == 200))
    assert status == 200 or "send for hub chat" in answer.json()["detail"]


async def test_no_answer_may_be_kept() -> None:
    async with client_of(an_app(api_key=KEY)) as client:
        answers = [await client.post(URL, headers=headers) for headers in ({}, BEARER)]
        tokens = [(await client.post(URL, json={"userId": user}, headers=BEARER)).json() for user in ("a", "b")]
    assert [(answer.status_code, answer.headers["Cache-Control"]) for answer in answers] == [
        (401, "no-store"),
        (200, "no-store"),
    ]
    assert tokens[0]["accessToken"] != tokens[1]["accessToken"]
