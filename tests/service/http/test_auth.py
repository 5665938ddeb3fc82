"""Who is recognised, as what, and what each may do."""

import pytest
from starlette.datastructures import Headers

from fanout.environment import load
from fanout.errors import ConfigurationError, ForbiddenError, UnauthorizedError
from fanout.loopback import is_loopback
from service.http.auth import (
    ANYBODY,
    KEY_HOLDER,
    LOCAL,
    OUTSIDER,
    STRANGER,
    Caller,
    Guard,
    Right,
    check_exposure,
)
from tests.service.apps import BATCH, ITEM, KEY, an_app, client_of

HERE = {"host": "localhost:8080"}


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
    guard = Guard(load({}, api_key="schl\u00fcssel"))
    sent = Headers(raw=[(b"x-api-key", "schl\u00fcssel".encode())])
    assert guard.caller_of(sent, None) is KEY_HOLDER


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_without_a_key_this_machine_is_served(peer: str) -> None:
    assert Guard(load({})).caller_of(Headers(HERE), peer) is LOCAL


@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::1", "testclient", None])
def test_without_a_key_nobody_else_is_served(peer: str | None) -> None:
    assert Guard(load({})).caller_of(Headers(HERE), peer) is OUTSIDER


PROXY_HEADERS = ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "Via"]


@pytest.mark.parametrize("name", PROXY_HEADERS)
def test_a_local_proxy_does_not_make_its_callers_local(name: str) -> None:
    assert Guard(load({})).caller_of(Headers({**HERE, name: "127.0.0.1"}), "127.0.0.1") is OUTSIDER


@pytest.mark.parametrize(
    ("host", "origin", "caller"),
    [
        ("localhost:8080", "http://localhost:8080", LOCAL),
        ("[::1]:8080", None, LOCAL),
        ("localhost:8080", "https://app.example.com", LOCAL),  # listed in the settings
        ("localhost:8080", "https://evil.example.com", OUTSIDER),
        ("localhost:8080", "http://localhost:9999", OUTSIDER),
        ("localhost:8080", "null", OUTSIDER),
        ("evil.example.com", None, OUTSIDER),  # a name rebound to 127.0.0.1
        ("evil.example.com", "http://evil.example.com", OUTSIDER),
        ("[::1", None, OUTSIDER),
        ("", None, OUTSIDER),
    ],
)
def test_a_foreign_page_in_a_local_browser_is_an_outsider(host: str, origin: str | None, caller: Caller) -> None:
    guard = Guard(load({}, cors_origins=("https://app.example.com",)))
    headers = Headers({"host": host} | ({"origin": origin} if origin else {}))
    assert guard.caller_of(headers, "127.0.0.1") is caller


@pytest.mark.parametrize(
    ("site", "mode", "caller"),
    [
        ("none", "navigate", LOCAL),
        ("same-origin", "cors", LOCAL),
        ("cross-site", "no-cors", OUTSIDER),  # an image or a script of a foreign page: it has no Origin
        ("same-site", "no-cors", OUTSIDER),
        ("cross-site", "navigate", LOCAL),  # somebody followed a link
    ],
)
def test_what_a_foreign_page_loads_is_an_outsiders(site: str, mode: str, caller: Caller) -> None:
    headers = Headers({**HERE, "sec-fetch-site": site, "sec-fetch-mode": mode})
    assert Guard(load({})).caller_of(headers, "127.0.0.1") is caller


def test_open_to_anybody_only_when_the_settings_say_so() -> None:
    guard = Guard(load({}, allow_anonymous=True))
    assert guard.caller_of(Headers({"x-forwarded-for": "192.0.2.7"}), "192.0.2.7") is ANYBODY


def test_a_key_is_asked_for_even_where_anonymous_callers_are_allowed() -> None:
    guard = Guard(load({}, allow_anonymous=True, api_key=KEY))
    assert guard.caller_of(Headers(HERE), "127.0.0.1") is STRANGER


def test_rights_are_refused_differently_to_strangers_and_to_the_known() -> None:
    KEY_HOLDER.require(Right.NEGOTIATE)
    LOCAL.require(Right.SEND)
    with pytest.raises(UnauthorizedError, match="FANOUT_API_KEY is not set"):
        OUTSIDER.require(Right.SEND)
    with pytest.raises(UnauthorizedError, match="Send the API key"):
        STRANGER.require(Right.SEND)
    with pytest.raises(ForbiddenError):
        LOCAL.require(Right.NEGOTIATE)


def test_the_guard_shows_no_key() -> None:
    assert KEY not in repr(Guard(load({}, api_key=KEY)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "[::1]", "dev.localhost"])
def test_loopback_may_be_listened_on_without_a_key(host: str) -> None:
    assert is_loopback(host)
    check_exposure(load({}), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "example.com", "localhost.example.com"])
def test_any_other_address_needs_a_key_or_words(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"FANOUT_API_KEY.*FANOUT_ALLOW_ANONYMOUS=true"):
        check_exposure(load({}), host)
    check_exposure(load({}, api_key=KEY), host)
    check_exposure(load({}, allow_anonymous=True), host)
