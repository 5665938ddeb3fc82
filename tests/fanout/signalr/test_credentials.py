"""Tokens are byte for byte what a reference implementation signs, and are shown nowhere."""

from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.errors import BadRequestError
from fanout.secret import Secret
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import (
    SERVICE_CLAIMS_ALLOWED,
    AccessKeyCredential,
    Authorization,
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

# Signed with PyJWT for the well-known key of the emulator.
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


def test_a_rest_token_is_the_known_one() -> None:
    path = route_of("chat", Message(Scope.BROADCAST, "", b"")).path
    assert rest_token(KEY, SERVICE.endpoint + path, 1893456000) == REST_VECTOR


def test_a_client_token_is_the_known_one() -> None:
    assert client() == CLIENT_VECTOR


def test_a_client_s_url_and_audience_differ_by_port_and_client_endpoint() -> None:
    service = ConnectionString.parse(f"Endpoint=http://h;Port=8888;ClientEndpoint=https://gate:1;AccessKey={KEY}")
    assert client_url(service, "chat") == "https://gate:1/client/?hub=chat"
    assert client_audience(service, "chat") == "http://h/client/?hub=chat"


def test_the_service_s_own_claims_cannot_be_overwritten() -> None:
    claims = claims_of(client(claims={"iss": "me", "exp": 1, "role": "admin", "sub": "s"}))
    assert claims["iss"] == "azure-signalr"
    assert claims["asrs.s.uid"] == "user1"
    assert claims["exp"] == 1893456000
    assert (claims["asrs.u.iss"], claims["asrs.u.exp"]) == ("me", 1)
    assert (claims["role"], claims["sub"]) == ("admin", "s")


@pytest.mark.parametrize(
    "name", ["asrs.s.uid", "asrs.s.aut", "asrs.s.rn", "asrs.s.rt", "asrs.s.sn", "ASRS.S.AUT", "asrs.s.", "asrs.s.x/y~"]
)
def test_a_claim_that_steers_the_service_is_refused(name: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        client(claims={"role": "admin", name: "x"})
    assert caught.value.pointer == "/claims/" + name.replace("~", "~0").replace("/", "~1")
    assert "asrs.s.coae" in str(caught.value)


def test_the_claims_that_a_negotiation_may_set_reach_the_token() -> None:
    wanted = dict.fromkeys(SERVICE_CLAIMS_ALLOWED, "true")
    assert wanted.items() <= claims_of(client(claims=wanted)).items()


def test_the_readme_lists_the_claims_of_the_service_that_may_be_set() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in SERVICE_CLAIMS_ALLOWED)


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


def test_an_access_key_signs_at_once_and_asks_to_be_asked_again_in_the_last_tenth_of_the_lifetime() -> None:
    authorization = AccessKeyCredential(Secret(KEY), FakeClock(), lifetime=1000).immediate(AUDIENCE, 5000.0)
    scheme, _space, token = authorization.lines.text.decode().removesuffix("\r\n").partition(" Bearer ")
    assert scheme == "Authorization:"
    assert claims_of(token) == {"aud": AUDIENCE, "exp": 6000}
    assert authorization.renew_at == 5900.0


async def test_an_access_key_that_is_awaited_signs_for_the_time_of_its_clock() -> None:
    credential = AccessKeyCredential(Secret(KEY), FakeClock(wall=7000.0), lifetime=1000)
    assert await credential.authorization(AUDIENCE) == credential.immediate(AUDIENCE, 7000.0)


def test_nothing_shows_a_token_or_the_key() -> None:
    credential = AccessKeyCredential(Secret(KEY), FakeClock(), lifetime=1000)
    authorization = credential.immediate(AUDIENCE, 0.0)
    token = authorization.lines.text.decode().split()[-1]
    for shown in (repr(credential), repr(authorization), str(authorization), repr(authorization.lines)):
        assert token not in shown
        assert KEY not in shown


def test_a_token_that_would_add_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="one word"):
        Authorization.bearer("x\r\nX-Other: y", renew_at=0.0)
