"""Tokens: audiences, keys, expiry, temporary keys, and the published examples."""

import base64
import json
import time
from typing import Any

import jwt
import msgspec
import pytest

from emulator.config import WELL_KNOWN_KEY, EmulatorConfig
from emulator.credentials import Credentials, identity_of
from emulator.http import HttpError, Request, request_of
from fanout.signalr.credentials import sign
from tests.emulator.running import JSON, Service, running
from tests.fakes import FakeClock

REST_VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJodHRwczovL2V4YW1wbGUuc2VydmljZS5zaWduYWxyLm5ldC9hcGkvaHVicy9jaGF0"
    "LzpzZW5kIiwiZXhwIjoxODkzNDU2MDAwfQ.DzEJro-aPLmhXYtjDXop1cw-Y62oXr7nlQLKgRn70jc"
)
CLIENT_VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhc3JzLnMudWlkIjoidXNlcjEiLCJuYmYiOjE4OTM0NTI0MDAsImV4cCI6MTg5MzQ1NjAwMCwiaWF0"
    "IjoxODkzNDUyNDAwLCJpc3MiOiJhenVyZS1zaWduYWxyIiwiYXVkIjoiaHR0cHM6Ly9leGFtcGxlLnNlcnZpY2Uuc2lnbmFsci5uZXQvY2xpZW50Lz9o"
    "dWI9Y2hhdCJ9.wTbH0LsLDQv0ILwvUSJwP_D44BMtsRZQxW4_ysw7gMc"
)
PATH = "/api/hubs/chat/:send"
OTHER_KEY = "another-access-key-of-the-same-service-instance"


def https_call(path: str, query: str, token: str, host: str = "example.service.signalr.net") -> Request:
    """Return a request as it arrives behind TLS."""
    headers = [(b"host", host.encode()), (b"authorization", b"Bearer " + token.encode())]
    return request_of(
        {"scheme": "https", "raw_path": path.encode(), "query_string": query.encode(), "headers": headers, "path": path}
    )


def credentials(wall: float = 1_893_455_000.0, **config: Any) -> Credentials:
    return Credentials(EmulatorConfig(**config), FakeClock(wall=wall))


def test_the_published_rest_token_is_good_for_its_url_until_it_expires() -> None:
    call = https_call(PATH, "api-version=2022-06-01", REST_VECTOR)
    credentials().check_rest(call)
    with pytest.raises(HttpError, match="The token expired"):
        credentials(wall=1_893_456_006.0).check_rest(call)
    with pytest.raises(HttpError, match="The audience is invalid"):
        credentials().check_rest(https_call("/api/hubs/other/:send", "", REST_VECTOR))


def test_the_published_client_token_names_its_user() -> None:
    call = https_call("/client/", "hub=chat", CLIENT_VECTOR)
    claims = credentials().check_client(call, in_query=False)
    assert identity_of(claims, "chat").user_id == "user1"


@pytest.mark.parametrize(
    ("audience", "accepted"),
    [
        ("{base}{path}", True),
        ("http://localhost{path}", True),
        ("{base}{path}?api-version=2022-06-01", True),
        ("http://localhost{path}?application=app&api-version=2022-06-01", True),
        ("HTTP://LOCALHOST{path}", True),
        ("https://localhost{path}", False),
        ("http://localhost:1{path}", False),
        ("http://elsewhere{path}", False),
        ("{base}{path}/", False),
        ("{base}", False),
        ("{base}/api/hubs/chat/users/a/b/:send", False),
        ("{base}{path}?api-version=2024-12-01", False),
    ],
)
async def test_audiences(service: Service, audience: str, accepted: bool) -> None:
    path = "/api/hubs/chat/users/a%2Fb/:send"
    headers = {**JSON, "authorization": f"Bearer {service.token(audience.format(base=service.base, path=path))}"}
    url = f"{service.base}{path}?application=app&api-version=2022-06-01&excluded=x"
    if audience.endswith("path}?api-version=2022-06-01"):
        url = f"{service.base}{path}?api-version=2022-06-01"
    answer = await service.http.post(url, headers=headers, content='{"target":"m"}')
    assert answer.status_code == (202 if accepted else 401)
    if not accepted:
        expected = 'Bearer error="invalid_token", error_description="The audience is invalid"'
        assert (answer.headers["www-authenticate"], answer.content) == (expected, b"")


async def test_the_host_header_and_the_configured_endpoint_are_both_audiences() -> None:
    async with running(EmulatorConfig(endpoint="https://prod.example:444")) as service:
        for audience in ("http://gateway", "https://prod.example", "https://prod.example:444"):
            headers = {**JSON, "host": "gateway:81", "authorization": f"Bearer {service.token(audience + PATH)}"}
            assert (await service.send(headers=headers)).status_code == 202


async def test_one_token_may_name_several_audiences(service: Service) -> None:
    claims = {"aud": ["http://x", service.base + PATH], "exp": int(time.time()) + 60}
    headers = {**JSON, "authorization": f"Bearer {sign(WELL_KNOWN_KEY, claims)}"}
    assert (await service.call("POST", ":send", content='{"target":"m"}', headers=headers)).status_code == 202


async def test_both_keys_are_good_and_no_other() -> None:
    async with running(EmulatorConfig(keys=(WELL_KNOWN_KEY, OTHER_KEY))) as service:
        for key, status in ((WELL_KNOWN_KEY, 202), (OTHER_KEY, 202), ("x" * 44, 401)):
            headers = {**JSON, "authorization": f"Bearer {service.token(service.base + PATH, key)}"}
            answer = await service.call("POST", ":send", content='{"target":"m"}', headers=headers)
            assert answer.status_code == status
        assert "signature" in answer.headers["www-authenticate"]


async def test_an_expired_token_is_refused_also_when_it_was_good_before(timed: Service, clock: FakeClock) -> None:
    headers = {**JSON, "authorization": f"Bearer {timed.token(timed.base + PATH, lifetime=10)}"}
    first = await timed.call("POST", ":send", content='{"target":"m"}', headers=headers)
    clock.jump(16)
    second = await timed.call("POST", ":send", content='{"target":"m"}', headers=headers)
    assert (first.status_code, second.status_code) == (202, 401)
    assert "expired" in second.headers["www-authenticate"]


def unsigned(claims: dict[str, object]) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}."


async def test_invalid_tokens_are_refused(service: Service) -> None:
    audience = service.base + PATH
    tokens = [
        "abc",
        "a.b.c",
        unsigned({"aud": audience, "exp": 9_999_999_999}),
        sign(WELL_KNOWN_KEY, {"aud": audience}),
        sign(WELL_KNOWN_KEY, {"exp": 9_999_999_999}),
        sign(WELL_KNOWN_KEY, {"aud": audience, "exp": 9_999_999_999, "x": "y" * 4096}),
        jwt.encode({"aud": audience, "exp": 9_999_999_999}, WELL_KNOWN_KEY * 2, algorithm="HS512"),
        service.client_token("ann"),
    ]
    for token in tokens:
        answer = await service.send(headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401
    assert (await service.http.post(f"{audience}?api-version=2022-06-01")).headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("switch", "claims", "key"),
    [
        ("check_audience", {"aud": "http://x", "exp": 9_999_999_999}, WELL_KNOWN_KEY),
        ("check_expiry", {"aud": "", "exp": 1}, WELL_KNOWN_KEY),
        ("check_signature", {"aud": "", "exp": 9_999_999_999}, "x" * 44),
    ],
)
async def test_each_check_can_be_switched_off(switch: str, claims: dict[str, object], key: str) -> None:
    options: dict[str, Any] = {switch: False}
    async with running(EmulatorConfig(**options)) as service:
        signed = sign(key, {**claims, "aud": claims["aud"] or service.base + PATH})
        headers = {**JSON, "authorization": f"Bearer {signed}"}
        assert (await service.call("POST", ":send", content='{"target":"m"}', headers=headers)).status_code == 202


async def test_a_token_named_as_entra_is_good_for_every_url() -> None:
    async with running(EmulatorConfig(entra_tokens=("opaque",))) as service:
        headers = {**JSON, "authorization": "Bearer opaque"}
        for path in (":send", "users/u/:send"):
            assert (await service.call("POST", path, content='{"target":"m"}', headers=headers)).status_code == 202


@pytest.mark.parametrize("path", ["/api/auth/accessKey", "/api/v1/auth/accessKey"])
async def test_a_temporary_key_counts_with_its_id_until_it_is_over(timed: Service, clock: FakeClock, path: str) -> None:
    answer = (await timed.call("GET", path, version="2023-07-01")).json()
    assert answer["KeyId"].startswith("t-")
    claims = {"aud": f"{timed.base}/client/?hub=chat", "exp": int(clock.wall()) + 36_000}

    async def negotiate(**headers: str) -> int:
        token = jwt.encode(claims, answer["AccessKey"], headers=headers)
        url = f"{timed.base}/client/negotiate?hub=chat"
        return (await timed.http.post(url, headers={"authorization": f"Bearer {token}"})).status_code

    assert await negotiate(kid=answer["KeyId"]) == 200
    assert await negotiate(kid="t-unknown") == 401
    assert await negotiate() == 401
    clock.jump(90 * 60)
    assert await negotiate(kid=answer["KeyId"]) == 401


async def test_a_generated_token_lets_its_user_in(service: Service) -> None:
    answer = await service.call("POST", ":generateToken", "userId=ann&minutesToExpire=5", version="2022-11-01")
    token = answer.json()["token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert 290 < claims["exp"] - time.time() <= 300
    url = f"{service.base}/client/negotiate?hub=chat"
    assert (await service.http.post(url, headers={"authorization": f"Bearer {token}"})).status_code == 200
    assert identity_of(claims, "chat").user_id == "ann"
    assert await service.status("POST", ":generateToken", "minutesToExpire=0", version="2022-11-01") == 400


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"asrs.s.uid": "a", "nameid": "b", "sub": "c"}, "a"),
        ({"nameid": "b", "sub": "c"}, "b"),
        ({"sub": "c"}, "c"),
        ({}, None),
    ],
)
def test_the_user_id_is_taken_from_the_first_claim_that_has_it(claims: dict[str, str], user: str | None) -> None:
    assert identity_of(claims, "chat").user_id == user


def test_no_repr_contains_a_key_or_a_token() -> None:
    config = EmulatorConfig(keys=("secret-key",), entra_tokens=("secret-token",))
    assert "secret" not in repr(config) + repr(Credentials(config, FakeClock()))
