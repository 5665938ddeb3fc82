"""Each item becomes the REST call that the OpenAPI files name, escaped once."""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from fanout.signalr.routes import route_of

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


def test_the_example_of_the_contract_is_met_byte_for_byte() -> None:
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
