"""Who is recognised, as what, and what each may do."""

from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.types import Scope

from fanout.environment import load
from fanout.errors import ConfigurationError, ForbiddenError, UnauthorizedError
from fanout.loopback import is_loopback
from service.callers.caller import Caller, Right
from service.http.request import FOREIGN, KEY_HOLDER, KEYLESS, LOCAL, LOCAL_PAGE, WRONG_TOKEN, Guard
from service.startup import check_exposure
from tests.service.apps import BATCH, ITEM, KEY, an_app, client_of

HERE = {"host": "localhost:8080"}


def from_peer(peer: str | None, version: str = "1.1") -> Scope:
    return {"client": None if peer is None else (peer, 50_000), "http_version": version}


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 202),
        ({"Authorization": f"bearer  {KEY} "}, 202),
        ({"X-API-Key": KEY}, 202),
        ({"X-API-Key": KEY, "Authorization": "Bearer another"}, 202),
        ({}, 401),
        ({"Authorization": "Bearer another"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": KEY}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": "another", "Authorization": f"Bearer {KEY}"}, 401),
    ],
)
async def test_with_a_key_set_only_its_holders_send(headers: dict[str, str], status: int) -> None:
    for peer in ("127.0.0.1", "192.0.2.7"):
        async with client_of(an_app(api_key=KEY), peer=peer) as client:
            answer = await client.post(BATCH, json=ITEM, headers=headers)
        assert answer.status_code == status
        assert KEY not in answer.text
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)


async def test_a_key_beyond_ascii_is_compared_byte_for_byte() -> None:
    guard = Guard(load({}, api_key="schl\u00fcssel-der-tests"))
    sent = Headers(raw=[(b"x-api-key", "schl\u00fcssel-der-tests".encode())])
    assert guard.caller_of(from_peer(None), sent) is KEY_HOLDER


def local(**settings: Any) -> Guard:
    return Guard(load({}, auth="none", **settings))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_without_a_key_this_machine_is_served_where_the_settings_say_so(peer: str) -> None:
    assert local().caller_of(from_peer(peer), Headers(HERE)) is LOCAL
    assert Guard(load({})).caller_of(from_peer(peer), Headers(HERE)) is FOREIGN


@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::1", "testclient", None])
def test_without_a_key_nobody_else_is_served(peer: str | None) -> None:
    assert local().caller_of(from_peer(peer), Headers(HERE)) is FOREIGN


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Anything", "Forwarded", "Via", "X-Real-IP", "X-Client-IP"],
)
def test_any_sign_of_a_proxy_makes_a_caller_foreign(name: str) -> None:
    assert local().caller_of(from_peer("127.0.0.1"), Headers({**HERE, name: "127.0.0.1"})) is FOREIGN


def test_what_nginx_forwards_without_being_told_more_is_foreign() -> None:
    assert local().caller_of(from_peer("127.0.0.1", "1.0"), Headers({"host": "127.0.0.1:8080"})) is FOREIGN


@pytest.mark.parametrize(
    ("host", "origin", "caller"),
    [
        ("localhost:8080", "http://localhost:8080", LOCAL),
        ("LOCALHOST:8080", "http://localhost:8080", LOCAL),
        ("[::1]:8080", None, LOCAL),
        ("localhost:8080", "https://app.example.com", FOREIGN),  # listed, but that counts for negotiate alone
        ("localhost:8080", "https://evil.example.com", FOREIGN),
        ("localhost:8080", "http://localhost:9999", FOREIGN),
        ("localhost:8080", "https://localhost:8080", FOREIGN),
        ("localhost:8080", "null", FOREIGN),
        ("localhost:8080", "http://[", FOREIGN),
        ("evil.example.com", None, FOREIGN),  # a name rebound to 127.0.0.1
        ("evil.example.com", "http://evil.example.com", FOREIGN),
        ("[::1", None, FOREIGN),
        ("", None, FOREIGN),
    ],
)
def test_a_page_of_another_origin_in_a_local_browser_is_foreign(host: str, origin: str | None, caller: Caller) -> None:
    guard = local(cors_origins=("https://app.example.com",))
    headers = Headers({"host": host} | ({"origin": origin} if origin else {}))
    assert guard.caller_of(from_peer("127.0.0.1"), headers) is caller


@pytest.mark.parametrize(("site", "caller"), [("none", LOCAL), ("same-origin", LOCAL), ("cross-site", FOREIGN)])
def test_a_request_that_a_page_of_another_site_makes_without_an_origin_is_foreign(site: str, caller: Caller) -> None:
    assert local().caller_of(from_peer("127.0.0.1"), Headers({**HERE, "sec-fetch-site": site})) is caller


def test_a_listed_page_is_recognised_where_it_may_negotiate_and_nowhere_else() -> None:
    origin = "https://app.example.com"
    headers = Headers({**HERE, "origin": origin, "sec-fetch-site": "cross-site"})
    assert local().caller_of(from_peer("127.0.0.1"), headers, (origin,)) is LOCAL_PAGE
    assert local().caller_of(from_peer("192.0.2.7"), headers, (origin,)) is FOREIGN
    assert local().caller_of(from_peer("127.0.0.1"), Headers({**headers, "host": "evil.example"}), (origin,)) is FOREIGN


def test_a_wrong_key_and_no_key_are_told_apart() -> None:
    guard = Guard(load({}, api_key=KEY))
    assert guard.caller_of(from_peer("127.0.0.1"), Headers(HERE)) is KEYLESS
    assert guard.caller_of(from_peer(None), Headers({"authorization": "Bearer "})) is KEYLESS
    assert guard.caller_of(from_peer(None), Headers({"authorization": "Basic eDp5"})) is KEYLESS
    assert guard.caller_of(from_peer(None), Headers({"authorization": "Bearer another"})) is WRONG_TOKEN
    with pytest.raises(UnauthorizedError) as wrong:
        guard.caller_of(from_peer(None), Headers({"x-api-key": "another"}))
    assert wrong.value.label == "wrongKey"


def test_rights_are_refused_differently_to_unknown_and_to_known_callers() -> None:
    for known in (KEY_HOLDER, LOCAL):
        for right in Right:
            known.require(right)
    for unknown, code in ((FOREIGN, "unauthorized"), (KEYLESS, "unauthorized"), (WRONG_TOKEN, "wrongKey")):
        with pytest.raises(UnauthorizedError) as refusal:
            unknown.require(Right.SEND)
        assert refusal.value.label == code
    with pytest.raises(ForbiddenError):
        Caller("sender", frozenset({Right.SEND})).require(Right.ADMIN)


def test_the_guard_shows_no_key() -> None:
    assert KEY not in repr(Guard(load({}, api_key=KEY)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "[::1]", "dev.localhost"])
def test_loopback_may_be_listened_on_without_a_key(host: str) -> None:
    assert is_loopback(host)
    check_exposure(load({}, auth="none"), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "example.com", "localhost.example.com"])
def test_any_other_address_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"FANOUT_AUTH=none serves this machine alone.*FANOUT_API_KEY"):
        check_exposure(load({}, auth="none"), host)
    check_exposure(load({}, api_key=KEY), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_without_any_source_of_callers_it_does_not_start_and_says_how_to_make_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"set FANOUT_API_KEY .*token_urlsafe.*fanout dev.*FANOUT_AUTH=none"):
        check_exposure(load({}), host)


def test_a_key_and_none_contradict_each_other() -> None:
    with pytest.raises(ConfigurationError, match="both set"):
        check_exposure(load({}, auth="none", api_key=KEY), "127.0.0.1")
