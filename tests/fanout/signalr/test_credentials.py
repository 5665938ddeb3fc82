"""Tokens are those of the contract's test vectors; the cache is bounded and renews early."""

from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.errors import BadRequestError
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import (
    AccessKeyCredential,
    InvalidTokenError,
    client_audience,
    client_token,
    client_url,
    rest_token,
    sign,
    verify,
)
from fanout.signalr.message import Message, Scope
from fanout.signalr.routes import route_of
from tests.fakes import FakeClock

KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
SERVICE = ConnectionString.parse(f"Endpoint=https://example.service.signalr.net;AccessKey={KEY};Version=1.0;")
AUDIENCE = "https://example.service.signalr.net/api/hubs/chat/:send"
FAR = 4_102_444_800  # the year 2100
UNSIGNED = jwt.encode({"aud": AUDIENCE, "exp": FAR}, "", algorithm="none")

# contract 2.6 and 3.4
REST_VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJodHRwczovL2V4YW1wbGUuc2VydmljZS5zaWduYWxyLm5ldC9hcGkvaHVicy9jaGF0Lzp"
    "zZW5kIiwiZXhwIjoxODkzNDU2MDAwfQ.DzEJro-aPLmhXYtjDXop1cw-Y62oXr7nlQLKgRn70jc"
)
CLIENT_VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhc3JzLnMudWlkIjoidXNlcjEiLCJuYmYiOjE4OTM0NTI0MDAsImV4cCI6MTg5MzQ1NjAwMCwiaWF0"
    "IjoxODkzNDUyNDAwLCJpc3MiOiJhenVyZS1zaWduYWxyIiwiYXVkIjoiaHR0cHM6Ly9leGFtcGxlLnNlcnZpY2Uuc2lnbmFsci5uZXQvY2xpZW50Lz9od"
    "WI9Y2hhdCJ9.wTbH0LsLDQv0ILwvUSJwP_D44BMtsRZQxW4_ysw7gMc"
)


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def client(**more: Any) -> str:
    arguments: dict[str, Any] = {"user_id": "user1", "claims": {}, "now": 1893452400.0, "lifetime": 3600.0} | more
    return client_token(SERVICE, "chat", **arguments)


@pytest.mark.parametrize("audience", ["http://h/api/hubs/c/users/a%20b/:send", 'http://h/"\\', AUDIENCE])
@pytest.mark.parametrize("expires", [0, 1893456000])
def test_a_rest_token_is_byte_for_byte_what_the_library_makes(audience: str, expires: int) -> None:
    assert rest_token(KEY, audience, expires) == sign(KEY, {"aud": audience, "exp": expires})


def test_a_rest_token_is_the_contract_s_vector() -> None:
    path = route_of("chat", Message(Scope.BROADCAST, "", b"")).path
    assert rest_token(KEY, SERVICE.endpoint + path, 1893456000) == REST_VECTOR


def test_a_client_token_is_the_contract_s_vector() -> None:
    assert client() == CLIENT_VECTOR


def test_a_client_s_url_and_audience_differ_by_port_and_client_endpoint() -> None:
    service = ConnectionString.parse(f"Endpoint=http://h;Port=8888;ClientEndpoint=https://gate:1;AccessKey={KEY}")
    assert client_url(service, "chat") == "https://gate:1/client/?hub=chat"
    assert client_audience(service, "chat") == "http://h/client/?hub=chat"


def test_the_service_s_own_claims_cannot_be_overwritten() -> None:
    claims = claims_of(client(claims={"iss": "me", "exp": 1, "asrs.s.uid": "root", "role": "admin", "sub": "s"}))
    assert claims["iss"] == "azure-signalr"
    assert claims["asrs.s.uid"] == "user1"
    assert claims["exp"] == 1893456000
    assert (claims["asrs.u.iss"], claims["asrs.u.exp"], claims["asrs.u.asrs.s.uid"]) == ("me", 1, "root")
    assert (claims["role"], claims["sub"]) == ("admin", "s")


def test_without_a_user_id_the_token_names_nobody() -> None:
    assert "asrs.s.uid" not in claims_of(client(user_id=None))


def test_a_token_over_4096_characters_is_refused() -> None:
    with pytest.raises(BadRequestError) as caught:
        client(claims={"big": "x" * 3500})
    assert caught.value.label == "tokenTooLong"


@pytest.mark.parametrize("keys", [[KEY], ["other" * 9, KEY]])
def test_a_token_signed_with_any_of_the_keys_is_accepted(keys: list[str]) -> None:
    token = rest_token(KEY, AUDIENCE, FAR)
    assert verify(token, keys, ["https://elsewhere", AUDIENCE]) == {"aud": AUDIENCE, "exp": FAR}


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (rest_token("x" * 44, AUDIENCE, FAR), "The signature is invalid"),
        (rest_token(KEY, AUDIENCE, 1), "The token expired"),
        (rest_token(KEY, AUDIENCE + "/", FAR), "The audience is invalid"),
        (sign(KEY, {"aud": AUDIENCE}), "The token is malformed"),
        (sign(KEY, {"exp": FAR}), "The token is malformed"),
        (UNSIGNED, "The token is malformed"),
        ("", "The token is malformed"),
        ("a.b.c", "The token is malformed"),
    ],
)
def test_any_other_token_is_refused_with_its_reason_and_without_itself(token: str, reason: str) -> None:
    with pytest.raises(InvalidTokenError) as caught:
        verify(token, [KEY], [AUDIENCE])
    assert str(caught.value) == reason


def test_without_keys_nothing_is_accepted() -> None:
    with pytest.raises(InvalidTokenError):
        verify(rest_token(KEY, AUDIENCE, FAR), [], [AUDIENCE])


@settings(deadline=None)  # a busy machine is no counterexample
@given(st.text(max_size=60))
def test_no_text_crashes_the_check(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        verify(text, [KEY], [AUDIENCE])


async def test_a_cached_token_is_kept_until_the_last_tenth_of_its_life() -> None:
    clock = FakeClock(wall=1000.0)
    cache = AccessKeyCredential(KEY, clock, lifetime=1000, size=10)
    first = cache.token(AUDIENCE)
    await clock.advance(899.0)
    assert cache.token(AUDIENCE) == first
    await clock.advance(1.0)
    assert claims_of(cache.token(AUDIENCE))["exp"] == 2900
    assert (cache.hits, cache.misses) == (1, 2)


def test_the_cache_lets_the_least_recently_used_audience_go() -> None:
    cache = AccessKeyCredential(KEY, FakeClock(), lifetime=1000, size=2)
    for audience in ("a", "b", "a", "c", "a"):
        cache.token(audience)
    assert (len(cache), cache.misses, cache.hits) == (2, 3, 2)
    cache.token("b")
    assert cache.misses == 4


async def test_a_forgotten_token_is_signed_anew() -> None:
    clock = FakeClock(wall=0.0)
    cache = AccessKeyCredential(KEY, clock, lifetime=1000, size=2)
    cache.token("a")
    cache.forget("a")
    cache.forget("never there")
    await clock.advance(1.0)
    assert claims_of(cache.token("a"))["exp"] == 1001


def test_the_cache_shows_no_token_and_no_key() -> None:
    cache = AccessKeyCredential(KEY, FakeClock(), lifetime=1000, size=2)
    token = cache.token("a")
    assert token not in repr(cache)
    assert KEY not in repr(cache)
