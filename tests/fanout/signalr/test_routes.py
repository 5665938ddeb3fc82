"""Each item becomes the REST call that the OpenAPI files name, escaped once."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from emulator.client import Client, Identity
from emulator.rest.sends import parse_filter
from fanout.metrics import CLASSES
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, RouteClass, Scope, Verb, class_of
from fanout.signalr.routes import Route, execute_body, execute_route, route_of
from tests.builders import a_join, a_message
from tests.examples import examples

U, G, C = Scope.USER, Scope.GROUP, Scope.CONNECTION
OPENAPI = Path(__file__).parents[4] / "shared" / "signalr-rest" / "azure-signalr.2022-06-01.json"
V = "api-version=2022-06-01"

CALLS: list[tuple[Item, str]] = [
    (Message(Scope.BROADCAST, "", b""), f"POST /api/hubs/chat/:send?{V}"),
    (Message(U, "u", b""), f"POST /api/hubs/chat/users/u/:send?{V}"),
    (Message(G, "g", b""), f"POST /api/hubs/chat/groups/g/:send?{V}"),
    (Message(C, "c", b""), f"POST /api/hubs/chat/connections/c/:send?{V}"),
    (GroupAction(Verb.ADD, C, "c", "g"), f"PUT /api/hubs/chat/groups/g/connections/c?{V}"),
    (GroupAction(Verb.REMOVE, C, "c", "g"), f"DELETE /api/hubs/chat/groups/g/connections/c?{V}"),
    (GroupAction(Verb.REMOVE_ALL, C, "c"), f"DELETE /api/hubs/chat/connections/c/groups?{V}"),
    (GroupAction(Verb.ADD, U, "u", "g"), f"PUT /api/hubs/chat/users/u/groups/g?{V}"),
    (GroupAction(Verb.ADD, U, "u", "g", 0), f"PUT /api/hubs/chat/users/u/groups/g?{V}&ttl=0"),
    (GroupAction(Verb.REMOVE, U, "u", "g"), f"DELETE /api/hubs/chat/users/u/groups/g?{V}"),
    (GroupAction(Verb.REMOVE_ALL, U, "u"), f"DELETE /api/hubs/chat/users/u/groups?{V}"),
    (CloseConnections(C, "c", "so long"), f"DELETE /api/hubs/chat/connections/c?{V}&reason=so%20long"),
    (CloseConnections(U, "u"), f"POST /api/hubs/chat/users/u/:closeConnections?{V}"),
    (
        CloseConnections(G, "g", "bye", ("a", "b")),
        f"POST /api/hubs/chat/groups/g/:closeConnections?{V}&excluded=a&excluded=b&reason=bye",
    ),
]


@pytest.mark.parametrize(("item", "call"), CALLS)
def test_an_item_becomes_its_call(item: Item, call: str) -> None:
    route = route_of("chat", item)
    assert f"{route.method} {route.target}" == call


@pytest.mark.parametrize(("item", "call"), CALLS)
@pytest.mark.skipif(not OPENAPI.exists(), reason="the vendor's OpenAPI files are not part of this repository")
def test_the_vendor_s_openapi_file_knows_the_call(item: Item, call: str) -> None:
    route = route_of("chat", item)
    known = {
        (method.upper(), re.sub(r"\{[^}]*\}", "[^/]+", path))  # the paths hold no other character special to patterns
        for path, methods in json.loads(OPENAPI.read_text())["paths"].items()
        for method in methods
    }
    assert any(method == route.method and re.fullmatch(pattern, route.path) for method, pattern in known), call


def test_the_documented_examples_are_met_byte_for_byte() -> None:
    broadcast = Message(Scope.BROADCAST, "", b"", excluded=("conn1", "conn2"))
    assert route_of("chat", broadcast).target == f"/api/hubs/chat/:send?{V}&excluded=conn1&excluded=conn2"
    join = GroupAction(Verb.ADD, U, "user/a", "g1", 3600)
    assert route_of("chat", join).target == f"/api/hubs/chat/users/user%2Fa/groups/g1?{V}&ttl=3600"


@pytest.mark.parametrize("name", ["user/a", "a b", "ä€😀", "%2F", "a?b#c", "A:b@c", "a+b&c=d", "..%2f", "[x]", "a;b,c"])
def test_a_name_is_one_path_segment_and_keeps_its_case(name: str) -> None:
    path = route_of("chat", Message(U, name, b"")).path
    segment = path.removeprefix("/api/hubs/chat/users/").removesuffix("/:send")
    assert "/" not in segment
    assert segment.isascii()
    assert unquote(segment) == name
    assert urlsplit("https://h" + path).path == path


def test_hub_and_application_are_lower_case_and_the_application_comes_first() -> None:
    route = route_of("Chat", Message(U, "U", b""), application="MyApp", api_version="2024-12-01")
    assert route.target == "/api/hubs/chat/users/U/:send?application=myapp&api-version=2024-12-01"


def test_a_hub_name_s_legal_punctuation_is_escaped() -> None:
    assert route_of("a`,.[]", Message(Scope.BROADCAST, "", b"")).path == "/api/hubs/a%60%2C.%5B%5D/:send"


# Several messages in one call -----------------------------------------------------------------------------------------

EXECUTE = "/api/hubs/chat/:execute?api-version=2023-07-01"
# What could end a string, start another condition, or be read as something else after one more decoding.
_fragments = st.sampled_from(
    ["'", "''", "%27", "%2527", "\u2019", "\u2018", "\u02bc", "\uff07", '"', "\\", "&", "filter=", "#", "+", " ", "\n",
     "' or userId ne '", "' or 1 eq 1 or '", "userId eq ", "startswith(userId,'')", "(", ")", "\0", "a", "A", "\u00e9"]
)  # fmt: skip
_users = st.lists(_fragments | st.text(st.characters(codec="utf-8"), max_size=3), min_size=1, max_size=6).map("".join)


def reaches(route: Route, user: str | None) -> bool:
    """Whether the service, reading the query as its HTTP server does, would send to a client of `user`."""
    (text,) = (value for name, value in parse_qsl(route.query, keep_blank_values=True) if name == "filter")
    return parse_filter(text)(Client("c", Identity("chat", user), "webSockets", now=0, unread=1))


def test_everybody_is_reached_without_a_filter() -> None:
    route = execute_route("Chat", Scope.BROADCAST, "")
    assert f"{route.method} {route.target}" == f"POST {EXECUTE}"


@pytest.mark.parametrize(
    ("user", "escaped"),
    [
        ("ann", "ann"),
        ("O'Neil", "O%27%27Neil"),
        ("'", "%27%27"),
        ("%27", "%2527"),
        ("O\u2019Neil", "O%E2%80%99Neil"),
        ("a b&c=d+e", "a%20b%26c%3Dd%2Be"),
        ("' or userId ne '", "%27%27%20or%20userId%20ne%20%27%27"),
        ("", ""),
    ],
)
def test_a_user_stands_in_the_filter_as_one_odata_string(user: str, escaped: str) -> None:
    route = execute_route("chat", Scope.USER, user)
    assert route.target == f"{EXECUTE}&filter=userId%20eq%20%27{escaped}%27"
    assert route.path == "/api/hubs/chat/:execute"


@settings(max_examples=examples(1000), deadline=None)  # a busy machine is no counterexample
@given(_users, _users)
@example("a", "a'")
@example("' or userId ne '", "a")
@example("a' or userId eq 'b", "b")
@example("%27", "'")
@example("\u2019", "'")
@example("A", "a")
def test_what_is_for_one_user_reaches_no_other(user: str, other: str) -> None:
    route = execute_route("chat", Scope.USER, user)
    assert reaches(route, user)
    assert not reaches(route, None)
    assume(user != other)
    assert not reaches(route, other)


@given(_users)
def test_a_filter_s_query_is_printable_ascii_with_two_parameters(user: str) -> None:
    route = execute_route("chat", Scope.USER, user)
    assert re.fullmatch(r"[A-Za-z0-9%&=._~-]+", route.query)
    assert [name for name, _ in parse_qsl(route.query)] == ["api-version", "filter"]


@pytest.mark.parametrize("scope", [G, C])
def test_a_scope_that_no_filter_names_is_refused(scope: Scope) -> None:
    with pytest.raises(ValueError, match=scope.value):
        execute_route("chat", scope, "x")


def test_the_commands_hold_the_bodies_byte_for_byte_and_in_order() -> None:
    bodies = [b'{"target":"a","arguments":[ 1.10 ]}', b'{"target":"\xc3\xa9","arguments":[]}']
    assert execute_body(bodies) == (
        b'[{"type":"SendMessage","message":{"target":"a","arguments":[ 1.10 ]}},'
        b'{"type":"SendMessage","message":{"target":"\xc3\xa9","arguments":[]}}]'
    )
    assert execute_body([]) == b"[]"


# Classes of calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "route_class"),
    [
        (a_message("", scope=Scope.BROADCAST), RouteClass.BROADCAST),
        (a_message("alice", scope=Scope.USER), RouteClass.SEND),
        (a_message("g", scope=Scope.GROUP), RouteClass.SEND),
        (a_message("c1", scope=Scope.CONNECTION), RouteClass.SEND),
        (a_join(), RouteClass.ACTION),
        (CloseConnections(Scope.USER, "alice"), RouteClass.ACTION),
    ],
)
def test_every_item_is_of_one_class(item: Item, route_class: RouteClass) -> None:
    assert class_of(item) is route_class


def test_the_labels_are_those_of_the_metrics_in_the_same_order() -> None:
    assert tuple(route_class.label for route_class in RouteClass) == CLASSES
    assert [CLASSES[route_class] for route_class in RouteClass] == [c.label for c in RouteClass]


def test_a_hub_may_name_an_application_of_its_own_or_none() -> None:
    message = Message(U, "u", b"{}")
    assert route_of("other/chat", message, application="app").target == (
        f"/api/hubs/chat/users/u/:send?application=other&{V}"
    )
    assert route_of("/chat", message, application="app").target == f"/api/hubs/chat/users/u/:send?{V}"


@pytest.mark.parametrize(
    ("message", "call", "has_body"),
    [
        (Message(Scope.CONNECTION, "c", b"1", stream="s/1"), "s%2F1/:send?api-version=2024-12-01", True),
        (
            Message(Scope.CONNECTION, "c", b"1", stream="s", completion=""),
            "s/:send?api-version=2024-12-01&completed=true",
            True,
        ),
        (Message(Scope.CONNECTION, "c", b"", stream="s", completion=""), "s/:complete?api-version=2024-12-01", False),
        (
            Message(Scope.CONNECTION, "c", b"", stream="s", completion="a b"),
            "s/:complete?api-version=2024-12-01&reason=a%20b&error=a%20b",
            False,
        ),
    ],
)
def test_items_and_ends_of_a_stream_are_calls_of_the_version_that_has_them(
    message: Message, call: str, has_body: bool
) -> None:
    route = route_of("chat", message)
    assert (route.method, route.target) == ("POST", f"/api/hubs/chat/connections/c/streams/{call}")
    assert route.has_body is has_body
