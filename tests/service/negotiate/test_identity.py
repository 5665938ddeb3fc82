"""Whose token a negotiation asks for."""

import base64
import re

import jwt
import orjson
import pytest
from starlette.datastructures import Headers, QueryParams

from fanout.environment import load
from fanout.errors import BadRequestError, ConfigurationError, FanoutError
from fanout.settings import Settings
from service.negotiate.identity import MAX_GROUPS, ClientIdentity, steering_claims
from tests.service.negotiate.asking import GATEWAY, identity_from_caller, identity_from_settings

PRINCIPAL = "x-ms-client-principal"
ID, NAME = f"{PRINCIPAL}-id", f"{PRINCIPAL}-name"


def settings(*sources: str, anonymous: bool = False, claims: str = "", peers: str = "10.0.0.0/8") -> Settings:
    named = {
        "FANOUT_NEGOTIATE_USER": ",".join(sources),
        "FANOUT_NEGOTIATE_CLAIMS": claims,
        "FANOUT_NEGOTIATE_PEERS": peers,
    }
    return load(named, negotiate_anonymous=anonymous)


def principal(*claims: object) -> str:
    """The header as App Service Authentication writes it; a claim is a pair, or nothing that can be read."""
    named = [{"typ": claim[0], "val": claim[1]} if isinstance(claim, tuple) else claim for claim in claims]
    document = {"auth_typ": "aad", "claims": named, "name_typ": "name", "role_typ": "roles"}
    return base64.b64encode(orjson.dumps(document)).decode()


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode()) for name, value in pairs])


NO_HEADERS, NO_QUERY = headers(), QueryParams()


# Strangers


def test_a_stranger_gets_nothing_where_no_place_to_look_is_named() -> None:
    assert identity_from_settings(settings(), headers((ID, "alice")), QueryParams("userId=alice")) is None


def test_a_stranger_without_a_user_gets_a_token_where_that_is_allowed() -> None:
    assert identity_from_settings(settings("query", anonymous=True), NO_HEADERS, NO_QUERY) == ClientIdentity()


def test_the_places_are_looked_at_in_order() -> None:
    found = identity_from_settings(settings("principal-name", "query"), headers((ID, "id")), QueryParams("userId=q"))
    assert found == ClientIdentity("q")
    named = headers((ID, "id"), (NAME, "name"))
    assert identity_from_settings(settings("principal-name", "principal-id"), named, NO_QUERY) == ClientIdentity("name")


def test_a_stranger_never_has_claims() -> None:
    found = identity_from_settings(settings("query"), NO_HEADERS, QueryParams("userId=q&claims=admin"))
    assert found is not None
    assert found.claims == {}


def test_an_identity_header_that_stands_twice_is_refused() -> None:
    with pytest.raises(BadRequestError, match="more than once"):
        identity_from_settings(settings("principal-id"), headers((ID, "alice"), (ID, "mallory")), NO_QUERY)


def test_a_header_that_is_not_looked_at_may_stand_twice() -> None:
    twice = headers((NAME, "a"), (NAME, "b"), (ID, "alice"))
    assert identity_from_settings(settings("principal-id"), twice, NO_QUERY) == ClientIdentity("alice")


def test_a_name_in_utf_8_is_read_as_the_gateway_wrote_it() -> None:
    assert identity_from_settings(settings("principal-name"), headers((NAME, "Zoë 北")), NO_QUERY) == ClientIdentity(
        "Zoë 北"
    )


def test_a_name_in_latin_1_is_read_as_such() -> None:
    raw = Headers(raw=[(NAME.encode(), "Zoë".encode("latin-1"))])
    assert identity_from_settings(settings("principal-name"), raw, NO_QUERY) == ClientIdentity("Zoë")


def test_two_user_ids_in_the_query_are_refused() -> None:
    with pytest.raises(BadRequestError, match="one userId"):
        identity_from_settings(settings("query"), NO_HEADERS, QueryParams("userId=a&userId=b"))


def test_a_user_id_the_service_would_not_take_is_refused() -> None:
    with pytest.raises(FanoutError):
        identity_from_settings(settings("query"), NO_HEADERS, QueryParams({"userId": "u" * 5000}))


@pytest.mark.parametrize("source", ["principal-id", "principal-name", "principal:sub", "header:x-user"])
@pytest.mark.parametrize(
    ("peers", "peer", "believed"),
    [
        ("10.0.0.0/8", GATEWAY, True),
        ("10.0.0.0/8", f"::ffff:{GATEWAY}", True),
        ("10.0.0.0/8", "192.0.2.7", False),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "a-socket", False),
        ("10.1.2.3, fd00::/8", "fd12::1", True),
        ("10.1.2.4", GATEWAY, False),
        ("*", "", True),
    ],
)
def test_a_header_is_believed_from_the_gateways_that_are_named_and_from_nobody_else(
    source: str, peers: str, peer: str, believed: bool
) -> None:
    sent = headers((ID, "alice"), (NAME, "alice"), ("x-user", "alice"), (PRINCIPAL, principal(("sub", "alice"))))
    found = identity_from_settings(settings(source, peers=peers), sent, NO_QUERY, peer)
    assert found == (ClientIdentity("alice") if believed else None)


def test_where_a_header_is_not_believed_the_next_place_counts_and_nothing_is_read_of_it() -> None:
    broken = headers((PRINCIPAL, "?"), (PRINCIPAL, "?"))
    sources = settings("principal:sub", "query:who", claims="role")
    assert identity_from_settings(sources, broken, QueryParams("who=bob"), "192.0.2.7") == ClientIdentity("bob")


@pytest.mark.parametrize("claims", ["", "role,roles,nothing"])
def test_claims_of_a_principal_go_along_where_they_are_named(claims: str) -> None:
    sent = headers((PRINCIPAL, principal(("sub", "alice"), ("role", "a"), ("roles", "x"), ("roles", "y"), ("z", "z"))))
    found = identity_from_settings(settings("principal:sub", claims=claims), sent, NO_QUERY)
    assert found == ClientIdentity("alice", {"role": "a", "roles": ["x", "y"]} if claims else {})


def test_claims_of_a_principal_do_not_go_to_a_user_of_the_query() -> None:
    sent = headers((PRINCIPAL, principal(("role", "admin"))))
    found = identity_from_settings(settings("query", claims="role"), sent, QueryParams("userId=eve"))
    assert found == ClientIdentity("eve")


@pytest.mark.parametrize("padded", [True, False])
def test_a_principal_may_be_written_in_either_alphabet_and_without_padding(padded: bool) -> None:
    value = base64.urlsafe_b64encode(b'{"claims":[{"typ":"sub","val":"\xe5\x8c\x97??>>"}]}').decode()
    assert "_" in value
    sent = headers((PRINCIPAL, value if padded else value.rstrip("=")))
    assert identity_from_settings(settings("principal:sub"), sent, NO_QUERY) == ClientIdentity("\u5317??>>")


@pytest.mark.parametrize(
    "value", ["?", "e30x", "bm8ganNvbg==", "W10=", principal("sub"), principal(("sub", "a"), ("sub", "b")), "\xff"]
)
def test_a_principal_that_cannot_be_read_is_refused(value: str) -> None:
    with pytest.raises(BadRequestError, match=PRINCIPAL):
        identity_from_settings(settings("principal:sub"), headers((PRINCIPAL, value)), NO_QUERY)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("FANOUT_NEGOTIATE_USER", "cookie", "'cookie' is none of"),
        ("FANOUT_NEGOTIATE_USER", "header:", "is none of"),
        ("FANOUT_NEGOTIATE_USER", "header:a b", "not the name of a header"),
        ("FANOUT_NEGOTIATE_USER", "principal:", "is none of"),
        ("FANOUT_NEGOTIATE_USER", "query,header:X-User", "header:x-user is a header and anybody can send one"),
        ("FANOUT_NEGOTIATE_USER", "principal-id", "FANOUT_NEGOTIATE_PEERS"),
        ("FANOUT_NEGOTIATE_PEERS", "gateway.local", "not an address or a network"),
        ("FANOUT_NEGOTIATE_CLAIMS", "role,asrs.s.uid", "steers the service"),
    ],
)
def test_settings_that_would_believe_anybody_or_nobody_are_refused(variable: str, value: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        load({variable: value})


# Callers that proved themselves


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b'{"userId":null,"claims":null}', b'{"userId":""}'])
def test_a_caller_that_names_nobody_gets_a_token_for_nobody(body: bytes) -> None:
    assert identity_from_caller(body, NO_QUERY) == ClientIdentity()


def test_a_caller_names_user_and_claims() -> None:
    body = b'{"userId":"alice","claims":{"role":["a","b"]}}'
    assert identity_from_caller(body, NO_QUERY) == ClientIdentity("alice", {"role": ["a", "b"]})


def test_claims_of_the_request_count_before_those_of_the_id_token() -> None:
    token = jwt.encode({"role": "reader", "name": "Ann", "nothing": None}, "k" * 44)
    asked = {"idToken": token, "claimTypeList": ["role", "name", "nothing"], "claims": {"role": "admin"}}
    assert identity_from_caller(orjson.dumps(asked), NO_QUERY).claims == {"role": "admin", "name": "Ann"}


@pytest.mark.parametrize(
    ("asked", "configured", "claims"),
    [
        ({}, {}, {}),
        ({"enableDetailedErrors": True}, {}, {"asrs.s.derror": "True"}),
        ({}, {"negotiate_detailed_errors": True}, {"asrs.s.derror": "True"}),
        ({"enableDetailedErrors": False}, {"negotiate_detailed_errors": True}, {}),
        ({"closeOnAuthenticationExpiration": True}, {}, {"asrs.s.coae": "true", "asrs.s.aeo": "5000"}),
        ({}, {"negotiate_close_on_expiration": True}, {"asrs.s.coae": "true", "asrs.s.aeo": "5000"}),
        ({"closeOnAuthenticationExpiration": False}, {"negotiate_close_on_expiration": True}, {}),
    ],
)
def test_the_request_says_how_the_service_treats_the_client_and_else_the_settings_do(
    asked: dict[str, bool], configured: dict[str, bool], claims: dict[str, str]
) -> None:
    identity = identity_from_caller(orjson.dumps(asked), NO_QUERY)
    assert steering_claims(identity, load({}, **configured), 5000.7) == claims


def test_query_and_body_may_name_the_same_user_or_one_of_them_a_user() -> None:
    assert identity_from_caller(b'{"userId":"alice"}', QueryParams("userId=alice")) == ClientIdentity("alice")
    assert identity_from_caller(b"{}", QueryParams("userId=alice")) == ClientIdentity("alice")


@pytest.mark.parametrize(
    ("body", "query", "pointer"),
    [
        (b'{"userId":"alice"}', "userId=bob", "/userId"),
        (b'{"userId":7}', "", "/userId"),
        (b'{"claims":[]}', "", "/claims"),
        (b'{"user":"alice"}', "", "/user"),
        (b'{"a/b~c":1}', "", "/a~1b~0c"),
        (b"[]", "", None),
        (b'"alice"', "", None),
        (b"{", "", None),
        (b'{"userId":"\xff"}', "", None),
        (b'{"claimTypeList":["sub"]}', "", "/claimTypeList"),
        (b'{"claimTypeList":"sub"}', "", "/claimTypeList"),
        (b'{"idToken":7}', "", "/idToken"),
        (b'{"lifetimeSeconds":59}', "", "/lifetimeSeconds"),
        (b'{"lifetimeSeconds":86401}', "", "/lifetimeSeconds"),
        (b'{"lifetimeSeconds":true}', "", "/lifetimeSeconds"),
        (b'{"enableDetailedErrors":"yes"}', "", "/enableDetailedErrors"),
        (b'{"closeOnAuthenticationExpiration":1}', "", "/closeOnAuthenticationExpiration"),
        (b'{"idToken":"Bearer "}', "", "/idToken"),
        (b'{"groups":["red"]}', "", "/groups"),
        (b'{"groups":"red"}', "userId=a", "/groups"),
        (b'{"groups":[7]}', "userId=a", "/groups"),
        (b'{"groups":["red",""]}', "userId=a", "/groups/1"),
        (orjson.dumps({"groups": ["red"] * (MAX_GROUPS + 1)}), "userId=a", "/groups"),
        (b'{"groups":["red"],"groupTtlSeconds":-1}', "userId=a", "/groupTtlSeconds"),
        (b'{"groups":["red"],"groupTtlSeconds":1.5}', "userId=a", "/groupTtlSeconds"),
        (b'{"groups":["red"],"groupTtlSeconds":true}', "userId=a", "/groupTtlSeconds"),
        (b'{"groups":["red"],"groupTtlSeconds":2147483648}', "userId=a", "/groupTtlSeconds"),
        (b'{"groups":[],"groupTtlSeconds":60}', "userId=a", "/groups"),
        (b"", "userId=a&userId=b", None),
    ],
)
def test_what_cannot_be_meant_is_refused_and_the_place_is_named(body: bytes, query: str, pointer: str | None) -> None:
    with pytest.raises(BadRequestError) as refusal:
        identity_from_caller(body, QueryParams(query))
    assert (refusal.value.pointer or None) == pointer
