"""Tokens of the vendor's SDK are accepted in every form it sends; a token for another URL, key or time is not."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.secret import Secret
from fanout.signalr.credentials import InvalidTokenError
from service.compat.tokens import AccessTokens, CalledUrl

KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
OTHER = "0123456789ABCDEFGHABCDEFGHIJKLMNOPQRSTUVWXYZ"
NOW = 1_893_452_400.0
TOKENS = AccessTokens(
    (Secret(KEY), Secret(OTHER)), ("https://example.service.signalr.net", "https://service.internal:8443")
)
PATH = "/api/hubs/chat/users/user%2Fa/:send"
CALLED = CalledUrl("fanout.example:8080", PATH, "application=app&api-version=2022-06-01&excluded=c1")

RECORDED = Path(__file__).parents[2] / "recorded" / "sdk.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_bytes().splitlines()]


def token(audience: object, *, key: str = KEY, expires: object = NOW + 3600, alg: str = "HS256") -> str:
    claims = {"aud": audience, "exp": expires, "nbf": int(NOW), "iat": int(NOW), "nameid": "host_0f3a"}
    return jwt.encode(claims, key, algorithm=alg, headers={"kid": "-1557308560"})


def refusal(presented: str, called: CalledUrl = CALLED) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        TOKENS.check(presented, called, NOW)
    assert len(presented) < 100 or presented not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "host", ["example.service.signalr.net", "service.internal", "fanout.example", "FANOUT.example"]
)
@pytest.mark.parametrize("port", ["", ":8080", ":443"])
@pytest.mark.parametrize("path", [PATH, PATH.replace("%2F", "%2f"), PATH.replace(":", "%3A")])
@pytest.mark.parametrize(
    "query", ["", "?api-version=2022-06-01", "?application=app", "?application=app&api-version=2022-06-01"]
)
def test_the_audience_may_have_every_form_that_an_sdk_sends(host: str, port: str, path: str, query: str) -> None:
    TOKENS.check(token(f"https://{host}{port}{path}{query}"), CALLED, NOW)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "claims" in row], ids=lambda row: f"{row['call']}-{row['options']}"
)
def test_every_recorded_token_of_the_sdk_is_accepted(row: dict[str, Any]) -> None:
    claims = row["claims"] | {name: NOW + row["claims"][name] for name in ("iat", "nbf", "exp")}
    signed = jwt.encode(claims, KEY, algorithm="HS256", headers=row["tokenHeader"])
    path, _, query = row["target"].partition("?")
    TOKENS.check(signed, CalledUrl("fanout.example", path, query), NOW)


def test_the_secondary_key_signs_as_well() -> None:
    TOKENS.check(token(f"http://fanout.example{PATH}", key=OTHER), CALLED, NOW)


def test_one_of_several_audiences_suffices() -> None:
    TOKENS.check(token(["https://elsewhere/", f"https://fanout.example{PATH}"]), CALLED, NOW)


@pytest.mark.parametrize(
    "audience",
    [
        f"https://elsewhere.example{PATH}",
        "https://fanout.example/api/hubs/chat/users/user/a/:send",
        "https://fanout.example/api/hubs/chat/users/user%2FA/:send",
        f"https://fanout.example{PATH}/",
        f"https://fanout.example{PATH}?application=other",
        f"https://fanout.example{PATH}?excluded=c1",
        f"https://fanout.example{PATH}#part",
        f"ftp://fanout.example{PATH}",
        "https://[broken/",
        "https://fanout.example/client/?hub=chat",
        "",
        None,
        7,
    ],
)
def test_a_token_opens_no_other_url(audience: object) -> None:
    claims = {"aud": audience, "exp": NOW + 3600}
    assert refusal(jwt.encode(claims, KEY, algorithm="HS256")) == "The audience is invalid"


def test_an_expired_token_is_refused_at_its_second() -> None:
    assert refusal(token(f"https://fanout.example{PATH}", expires=NOW)) == "The token expired"


@pytest.mark.parametrize("expires", ["4000000000", True, None])
def test_an_expiry_must_be_a_number(expires: object) -> None:
    claims = {"aud": f"https://fanout.example{PATH}"} | ({} if expires is None else {"exp": expires})
    signed = jwt.PyJWS().encode(json.dumps(claims).encode(), KEY, algorithm="HS256")
    assert refusal(signed) == "The token has no expiration"


@pytest.mark.parametrize("alg", ["HS512", "HS384"])
def test_the_algorithm_is_pinned(alg: str) -> None:
    assert (
        refusal(token(f"https://fanout.example{PATH}", key=KEY * 2, alg=alg))
        == "The signature algorithm is not accepted"
    )


def test_a_token_without_signature_is_refused() -> None:
    unsigned = jwt.encode({"aud": f"https://fanout.example{PATH}", "exp": NOW + 9}, "", algorithm="none")
    assert refusal(unsigned) == "The signature algorithm is not accepted"


def test_another_key_is_refused() -> None:
    assert refusal(token(f"https://fanout.example{PATH}", key="x" * 44)) == "The signature is invalid"


def test_an_empty_key_is_no_key() -> None:
    signed = token(f"https://fanout.example{PATH}")
    with pytest.raises(InvalidTokenError, match="signature"):
        AccessTokens((Secret(),), TOKENS.endpoints).check(signed, CALLED, NOW)


def test_a_long_token_is_refused_before_it_is_read() -> None:
    assert refusal("a" * 4097) == "AccessToken must not be longer than 4K"


def test_no_key_is_shown() -> None:
    assert KEY not in repr(TOKENS)


@given(st.one_of(st.text(max_size=200), st.text(alphabet="abcZ019-_.=", max_size=200)))
def test_whatever_else_arrives_is_refused_in_words(text: str) -> None:
    refusal(text)
