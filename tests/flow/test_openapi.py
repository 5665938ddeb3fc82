"""Every call the product can make is one the published REST API describes.

Rule guarded (REST OpenAPI, 2022-06-01): method, path, query, content type and body of each kind of item, as they arrive
at the service, against facts written down in `rest_facts`; and those facts against the published files where they are.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fanout.clock import SystemClock
from fanout.http1.exchange import Limits, Origin
from fanout.http1.pool import Pool
from fanout.secret import Secret
from fanout.signalr.client import Client, ServiceAddress
from fanout.signalr.credentials import AccessKeyCredential
from fanout.signalr.message import OPERATIONS as KINDS
from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb
from fanout.signalr.message import operation_of as kind_of
from tests.flow.child import Child
from tests.flow.rest_facts import OPERATIONS, Operation, names_in, operation_of, problems_of
from tests.flow.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")
PUBLISHED = Path(__file__).parents[3] / "shared" / "signalr-rest"
ODD = 'ä/ö ?#%&+"\\'  # a name with everything that has a meaning in a URL
GROUP = {"groupName": ODD}
EVERY_KIND: list[dict[str, Any]] = [
    {"target": "t", "arguments": [1]},
    {"target": "t", "excluded": ["c 1", "c&2"]},
    {"target": "t", "userId": ODD},
    {"target": "t", "arguments": [], "ttlSeconds": 60, **GROUP},
    {"target": "t", "excluded": ["c=3"], **GROUP},
    {"target": "t", "connectionId": "c_-="},
    {"target": "t", "connectionId": ODD, "arguments": [{"deep": [None, "ä"]}]},
    # Each member is another one: opposite actions of one member would be reduced to the last.
    {"action": "add", "userId": ODD + "1", **GROUP},
    {"action": "add", "userId": ODD + "2", "ttlSeconds": 3600, **GROUP},
    {"action": "remove", "userId": ODD + "3", **GROUP},
    {"action": "removeAll", "userId": ODD + "4"},
    {"action": "add", "connectionId": ODD + "5", **GROUP},
    {"action": "remove", "connectionId": ODD + "6", **GROUP},
    {"action": "removeAll", "connectionId": ODD + "7"},
    {"action": "closeConnection", "connectionId": ODD + "8"},
    {"action": "closeConnection", "connectionId": ODD + "9", "reason": "so & so?"},
    {"action": "closeConnection", "userId": ODD, "excluded": ["c&4"], "reason": "ä"},
    {"action": "closeConnection", **GROUP},
]


async def test_every_kind_of_item_becomes_a_call_the_api_describes(stack: Stack, worker: Child, hub: str) -> None:
    """And the service, strict about tokens, names and versions, takes each; the only 404s are of connections gone."""
    await stack.post(hub, EVERY_KIND)
    await stack.drained()
    calls = await stack.journal(hub)
    assert len(calls) == len(EVERY_KIND)
    assert {call.target: problems_of(call.method, call.target, call.body) for call in calls} == {
        call.target: [] for call in calls
    }
    for call in calls:
        operation = operation_of(call.method, call.target.partition("?")[0])
        assert operation is not None
        assert call.status in operation.success or (call.status == 404 and "/connections/" in call.target), call
    assert {operation_of(call.method, call.target.partition("?")[0]) for call in calls} == {*OPERATIONS}
    metrics = await worker.metrics()
    ended = {k: sum(metrics[f'fanout_{end}_total{{operation="{k}"}}'] for end in ("delivered", "gone")) for k in KINDS}
    # A whole hub is closed by callers of the REST API alone.
    assert [kind for kind, count in ended.items() if not count] == ["closeHub"]
    assert metrics['fanout_gone_total{operation="addConnection"}'], "the join of a connection that is gone"
    assert await stack.dead_letters() == []


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/api/hubs/h/users//:send?api-version=2022-06-01", b'{"target":"t"}'),
        ("POST", "/api/hubs/h/users/a/b/:send?api-version=2022-06-01", b'{"target":"t"}'),
        ("POST", "/api/hubs/1h/:send?api-version=2022-06-01", b'{"target":"t"}'),
        ("POST", "/api/hubs/h/:send", b'{"target":"t"}'),
        ("POST", "/api/hubs/h/:send?api-version=2022-06-01&ttl=1", b'{"target":"t"}'),
        ("POST", "/api/hubs/h/:send?api-version=2022-06-01", b'{"target":""}'),
        ("POST", "/api/hubs/h/:send?api-version=2022-06-01", b'{"target":"t","arguments":{}}'),
        ("POST", "/api/hubs/h/:send?api-version=2022-06-01", b""),
        ("PUT", "/api/hubs/h/users/a/groups/%20?api-version=2022-06-01", b""),
        ("PUT", "/api/hubs/h/users/a/groups/g?api-version=2022-06-01&ttl=-1", b""),
        ("PUT", "/api/hubs/h/users/a/groups/g?api-version=2022-06-01", b"{}"),
        ("DELETE", "/api/hubs/h/users/a?api-version=2022-06-01", b""),
    ],
)
async def test_what_the_api_does_not_describe_is_found(method: str, target: str, body: bytes) -> None:
    """The check itself is checked: each of these has one thing wrong."""
    assert len(problems_of(method, target, body) or ["no JSON"]) == 1
    assert problems_of(method, target, body)


ONE_OF_EACH: list[Item] = [
    Message(Scope.USER, "alice", b'{"target":"t","arguments":[]}'),
    GroupAction(Verb.ADD, Scope.USER, "alice", "g"),
    GroupAction(Verb.REMOVE_ALL, Scope.CONNECTION, "c"),
    CloseConnections(Scope.GROUP, "g"),
]


@pytest.mark.parametrize("item", ONE_OF_EACH, ids=kind_of)
async def test_the_headers_are_what_the_api_asks_for(item: Item) -> None:
    """A bearer token on every call, JSON in UTF-8 announced exactly where there is a body, and a length."""
    async with _recorder() as (port, heads):
        credential = AccessKeyCredential(Secret("k" * 44), SystemClock(), lifetime=600)
        pool = Pool(Origin.parse(f"http://localhost:{port}"), Limits(), SystemClock())
        address = ServiceAddress(prefix="", audience=f"http://localhost:{port}")
        client = Client(pool, credential, address, SystemClock(), cache_size=10)
        assert (await client.call("h", item)).status == 202
        await client.aclose()
    (head,) = heads
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    has_body = isinstance(item, Message)
    assert headers["host"] == f"localhost:{port}"
    assert headers["authorization"].startswith("Bearer ey")
    assert headers.get("content-type") == ("application/json; charset=utf-8" if has_body else None)
    assert headers["content-length"] == (str(len(item.body)) if isinstance(item, Message) else "0")
    assert "signalr-fanout/" in headers["asrs-user-agent"]


@asynccontextmanager
async def _recorder() -> AsyncIterator[tuple[int, list[bytes]]]:
    """Run a server that keeps the heads of requests and answers each with 202."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await reader.read()  # until the client goes
        writer.close()

    async with await asyncio.start_server(answer, "localhost", 0) as server:
        yield server.sockets[0].getsockname()[1], heads


# The published files ----------------------------------------------------------------------------------------------

_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published OpenAPI files are not at hand")


def _document(version: str) -> Any:
    return json.loads((PUBLISHED / f"azure-signalr.{version}.json").read_text())


def _described(document: Any, operation: Operation) -> Any:
    methods = document["paths"].get(operation.path)
    assert methods is not None, f"{operation.path} is not published"
    return methods[operation.method.lower()]


@_published
@pytest.mark.parametrize("version", ["2022-06-01", "2023-07-01", "2024-12-01"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: f"{op.method} {op.path}")
async def test_the_facts_agree_with_the_published_files(version: str, operation: Operation) -> None:
    """Of the version that is called by default, and of the newer ones that a setting may choose."""
    described = _described(_document(version), operation)
    parameters = described["parameters"]
    query = {each["name"]: each for each in parameters if each["in"] == "query"}
    assert operation.query == {*query}
    assert {name for name, each in query.items() if each.get("required")} == {"api-version"}
    assert bool([each for each in parameters if each["in"] == "body"]) == operation.body
    if operation.body:
        assert "application/json" in described["consumes"]
    assert operation.success == {int(status) for status in described["responses"] if status.startswith("2")}
    if "excluded" in operation.query:
        assert (query["excluded"]["type"], query["excluded"]["collectionFormat"]) == ("array", "multi")


@_published
async def test_the_calls_themselves_agree_with_the_published_file(stack: Stack, worker: Child, hub: str) -> None:
    """Bodies against the schema of a message, and every name in a path against the pattern of its parameter."""
    document = _document("2022-06-01")
    schema = {**document["definitions"]["PayloadMessage"], "definitions": document["definitions"]}
    await stack.post(hub, EVERY_KIND)
    await stack.drained()
    for call in await stack.journal(hub):
        operation = operation_of(call.method, call.target.partition("?")[0])
        assert operation is not None
        patterns = {each["name"]: each.get("pattern", "") for each in _described(document, operation)["parameters"]}
        for name, value in (names_in(operation.path, call.target.partition("?")[0]) or {}).items():
            assert re.search(patterns[name], value), (name, value)
        if operation.body:
            jsonschema.validate(json.loads(call.body), schema)
