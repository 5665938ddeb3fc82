"""Key sets and signatures: what is taken, what is left out, and what a token may not get away with."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest

from fanout.signalr.credentials import InvalidTokenError
from service.callers.jwks import check_claims, keys_of, read, verify
from tests.service.callers.issuing import ec_key, published, published_rsa, rsa_key

NOW = 1_800_000_000.0


def a_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_keys_of_each_kind_verify_what_they_are_for() -> None:
    keys = keys_of(a_set(*published("one"), published_rsa("two"), published_rsa("three", alg="PS256")))
    assert [name for name, key in keys.items() if key.is_for("RS256")] == ["two"]
    assert [name for name, key in keys.items() if key.is_for("PS256")] == ["two", "three"]
    assert [name for name, key in keys.items() if key.is_for("ES256")] == ["one"]
    assert not [name for name, key in keys.items() if key.is_for("ES384") or key.is_for("HS256") or key.is_for("none")]
    for name, signer, algorithm in (
        ("one", ec_key("one"), "ES256"),
        ("two", rsa_key(2048), "RS256"),
        ("three", rsa_key(2048), "PS256"),
    ):
        token = jwt.encode({"a": 1}, signer, algorithm=algorithm)
        verify(token, keys[name], algorithm)
        with pytest.raises(InvalidTokenError, match="signature"):
            verify(token[:-8] + "AAAAAAAA", keys[name], algorithm)
        head, claims, signature = token.split(".")
        with pytest.raises(InvalidTokenError, match="signature"):
            verify(f"{head}.{claims[:-1]}A.{signature}", keys[name], algorithm)


def test_keys_that_cannot_be_trusted_are_left_out() -> None:
    [good] = published("one")
    secret = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec_key("two")))
    bad: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {**good, "kid": "for-encryption", "use": "enc"},
        {**secret, "kid": "that-signs"},
        published_rsa("short", bits=1024),
        {**good, "kid": "for-hmac", "alg": "HS256"},
        {**good, "kid": "broken", "x": "!"},
        {**good, "kid": "of-no-known-curve", "crv": "secp256k1"},
        {"kid": "of-no-type"},
        "no object",
    ]
    assert list(keys_of(a_set(good, *bad))) == ["one"]
    with pytest.raises(ValueError, match="no key"):
        keys_of(a_set(*bad))


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_key_set_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        keys_of(content)
    with pytest.raises(ValueError, match="at most"):
        keys_of(a_set(*published("one") * 101))


def part(document: Any) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_what_is_no_token_is_told_apart_from_one_that_is_wrong() -> None:
    claims = part({"iss": "i"})
    told = read(f"{part({'alg': 'none', 'kid': 7})}.{claims}.")
    assert told is not None
    assert (told.algorithm, told.kid, told.issuer) == ("none", "", "i")
    deep = urlsafe_b64encode(b"[" * 9_000).decode()
    for text in (
        "",
        "a.b",
        "a.b.c",
        f"{claims}.{deep}.c",
        f"{part([])}.{claims}.c",
        f"{part({'alg': 'ES256', 'crit': ['x']})}.{claims}.c",
        "\u00e4.b.c",
        f"{claims}.{claims}.{claims}.{claims}",
    ):
        assert read(text) is None


def test_a_token_counts_from_its_beginning_to_its_end_for_its_audience() -> None:
    good = {"exp": NOW + 10, "aud": "a"}
    assert check_claims(good, ("a", "b"), NOW, 30.0) == NOW + 40
    assert check_claims({**good, "aud": ["x", "b"], "nbf": NOW + 29}, ("a", "b"), NOW, 30.0) == NOW + 40
    assert check_claims({**good, "exp": NOW - 29}, ("a",), NOW, 30.0) == NOW + 1
    assert check_claims({**good, "exp": 10**400}, ("a",), NOW, 30.0) > NOW  # more than a float can hold


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "a"}, "no expiration"),
        ({"aud": "a", "exp": "9"}, "no expiration"),
        ({"aud": "a", "exp": True}, "no expiration"),
        ({"aud": "a", "exp": NOW - 30}, "has expired"),
        ({"aud": "a", "exp": -(10**400)}, "has expired"),
        ({"aud": "a", "exp": NOW + 9, "nbf": NOW + 31}, "not valid yet"),
        ({"aud": "a", "exp": NOW + 9, "nbf": "now"}, "not valid yet"),
        ({"aud": "b", "exp": NOW + 9}, "another audience"),
        ({"aud": ["b", {"a": 1}, None], "exp": NOW + 9}, "another audience"),
        ({"exp": NOW + 9}, "another audience"),
    ],
)
def test_a_token_that_does_not_count_says_why(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidTokenError, match=reason):
        check_claims(claims, ("a",), NOW, 30.0)
