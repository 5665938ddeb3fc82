"""Negotiations of the vendor's own extension and SDK, made again: the same claims in the token of the client.

The vendor refuses an idToken with `Bearer ` in front; here it is taken. What it throws at is a 400.
"""

from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from starlette.datastructures import QueryParams

from fanout.environment import load
from fanout.errors import BadRequestError
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import client_token
from service.negotiate.identity import ClientIdentity, steering_claims
from tests.service.negotiate.asking import identity_from_caller

KEY = "k" * 44
SERVICE = ConnectionString.parse(f"Endpoint=https://example.service.signalr.net;AccessKey={KEY};Version=1.0;")
LATER = ("nbf", "exp", "iat")  # seconds from issue
NOW = 1_800_000_000
RECORDED = Path(__file__).parents[2] / "recorded" / "negotiate.jsonl"
ROWS = [orjson.loads(line) for line in RECORDED.read_bytes().splitlines()]
ANSWERED = [row for row in ROWS if row.get("claims") and not row.get("diagnostic")]


def id_token(claims: object) -> str | None:
    if isinstance(claims, dict):
        return jwt.encode(claims, KEY)
    return claims if isinstance(claims, str) else None


def asked_of(row: dict[str, Any]) -> dict[str, Any]:
    user = "u" * row["userIdLength"] if "userIdLength" in row else row["userId"]
    document = {
        "userId": user,
        "idToken": id_token(row.get("idTokenClaims")),
        "claimTypeList": row.get("claimTypeList"),
        "lifetimeSeconds": row.get("lifetime"),
        "enableDetailedErrors": row.get("detailed"),
    }
    return {name: value for name, value in document.items() if value is not None}


def signed(identity: ClientIdentity) -> dict[str, Any]:
    settings = load({})
    lifetime = identity.lifetime or settings.negotiate_lifetime
    claims = identity.claims | steering_claims(identity, settings, NOW + lifetime)
    token = client_token(SERVICE, "chat", user_id=identity.user_id, claims=claims, now=NOW, lifetime=lifetime)
    found: dict[str, Any] = jwt.decode(token, KEY, algorithms=["HS256"], options={"verify_signature": False})
    return found


@pytest.mark.parametrize("row", ANSWERED, ids=lambda row: str(row["name"]))
def test_a_client_gets_the_claims_that_the_vendor_gives_it(row: dict[str, Any]) -> None:
    found = signed(identity_from_caller(orjson.dumps(asked_of(row)), QueryParams()))
    assert found.pop("iss") == "azure-signalr"  # the vendor leaves it out, and the service does not mind
    assert {name: value - NOW if name in LATER else value for name, value in found.items()} == row["claims"]


def test_there_are_such_rows() -> None:
    assert len(ANSWERED) >= 10


def test_a_broken_token_is_refused_and_one_with_its_scheme_is_taken() -> None:
    with pytest.raises(BadRequestError) as refusal:
        identity_from_caller(b'{"idToken":"x.y","claimTypeList":["sub"]}', QueryParams())
    assert refusal.value.pointer == "/idToken"
    body = orjson.dumps({"idToken": f"Bearer {id_token({'sub': 's1'})}", "claimTypeList": ["sub"]})
    assert identity_from_caller(body, QueryParams()).claims == {"sub": "s1"}
