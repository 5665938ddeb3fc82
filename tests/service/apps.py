"""Applications to ask: with defaults, in memory or on a real port, every answer held against /openapi.json."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator

from fanout.binding.refusals import ITEM_CODES
from fanout.clock import Clock, SystemClock
from fanout.environment import load
from fanout.metrics import Metrics
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints
from service.app import Role
from service.applications import Parts
from service.http.connection import Timeouts
from service.http.probes import PROBE_PATHS, Readiness
from service.http.problems import MEDIA_TYPE as PROBLEM
from service.http.refusals import Refusals
from service.http.server import Server, ServerLimits
from service.startup import Queue
from tests.service.memory_queue import MemoryQueue

KEY = "the-key-of-the-tests"
ACCESS_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
SERVICE = ConnectionString.parse(f"Endpoint=https://example.service.signalr.net;AccessKey={ACCESS_KEY};Version=1.0;")
BATCH = "/v1/hubs/chat/messages"
ITEM: dict[str, Any] = {"userId": "alice", "target": "newMessage", "arguments": ["hi"]}
_CODE_IN_TEXT = re.compile(r"\nCode: (\w+)\. Request: ")  # in a refusal of the compatible routes


App = Parts


def an_app(
    queue: Queue | None = None,
    *,
    role: Role = "all",
    service: ConnectionString | None = SERVICE,
    clock: Clock | None = None,
    page: Path | None = None,
    **settings: Any,
) -> App:
    """Choose the parts of an application; keyword arguments it does not know are settings."""
    local = {} if settings.get("api_key") else {"auth": "none"}
    metrics, clock = Metrics(), clock or SystemClock()
    return App(
        settings=load({}, **{**local, **settings}),
        role=role,
        queue=queue or MemoryQueue(),
        metrics=metrics,
        clock=clock,
        readiness=Readiness(),
        refusals=Refusals(metrics, clock),
        endpoints=None if service is None else Endpoints.single(service),
        page=page,
    )


@asynccontextmanager
async def client_of(app: App, *, peer: str = "127.0.0.1", **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose requests reach the application without a network, as if they came from `peer`."""
    built = app.build().main
    transport = httpx.ASGITransport(app=built, client=(peer, 50_000))
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://127.0.0.1:8080",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        event_hooks={"response": [Documented.of(built)]},
    ) as client:
        yield client


@asynccontextmanager
async def served(app: App, **limits: Any) -> AsyncIterator[str]:
    """The base URL of a real server on a loopback port; `limits` are those of `Timeouts` and `ServerLimits`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", limits.pop("port", 0)))
        listener.listen(2048)
        listener.setblocking(False)
        url = "http://{}:{}".format(*listener.getsockname())
        timeouts = Timeouts(*(limits.pop(name, 30.0) for name in ("head", "idle", "unread")))
        bounds = ServerLimits(limits.pop("max_connections", 100), timeouts, probes=PROBE_PATHS, **limits)
        server = Server(app.build().main, listener, bounds, SystemClock(), app.refusals.note_connection)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve())
            try:
                yield url
            finally:
                serving.cancel()


class Documented:
    """Fails a test whose answer is not what the OpenAPI document says.

    Applications with the same routes have the same document, and making one takes longer than most tests.
    """

    _known: ClassVar[dict[Hashable, "Documented"]] = {}

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._validators: dict[int, Draft202012Validator] = {}

    @classmethod
    def of(cls, app: FastAPI) -> "Documented":
        """Return what the document of an application promises."""
        routes = [(getattr(route, "path", ""), *sorted(getattr(route, "methods", None) or ())) for route in app.routes]
        key = (tuple(routes), *[server["url"] for server in app.servers or ()])
        if key not in cls._known:
            cls._known[key] = cls(app.openapi())
        return cls._known[key]

    async def __call__(self, response: httpx.Response) -> None:
        await response.aread()
        described = self._described(response)
        if described is None:
            return
        content = described.get("content", {})
        if response.request.method == "HEAD" or not (content or response.content):
            return
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in content, f"{response.status_code} {media_type} is not documented"
        if media_type.endswith("json"):
            self._validator(content[media_type]["schema"]).validate(response.json())
        if media_type == PROBLEM:
            code = response.json()["code"]
            assert code in content[media_type].get("examples", {code}) or code in ITEM_CODES, (
                f"{code} is not documented"
            )
        if code := _CODE_IN_TEXT.search(response.text):
            assert code[1] in content[media_type]["examples"] or code[1] in ITEM_CODES, f"{code[1]} is not documented"
        for name, header in described.get("headers", {}).items():
            assert name in response.headers or not header["required"]

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        found = self._validators.get(id(schema))  # it is part of the document, which lives as long as this
        if found is None:
            whole = schema | {"components": self._document["components"]}
            found = self._validators[id(schema)] = Draft202012Validator(whole)
        return found

    def _described(self, response: httpx.Response) -> dict[str, Any] | None:
        request = response.request
        for path, operations in self._document["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", path)
            operation = operations.get(request.method.lower())
            if operation is not None and re.fullmatch(pattern, request.url.path):
                responses: dict[str, dict[str, Any]] = operation["responses"]
                status = str(response.status_code)
                known = next((each for each in (status, f"{status[0]}XX", "default") if each in responses), "")
                assert known, f"{path}: {status} is not documented"
                if known != status:
                    return None  # the service may answer anything where it is asked
                described = responses[known]
                name = described.get("$ref", "").removeprefix("#/components/responses/")
                return self._document["components"]["responses"][name] if name else described
        return None


def metric(app: App, name: str, **labels: str) -> float:
    """Read one sample; a metric that is not there fails the test."""
    value = app.metrics.registry.get_sample_value(name, labels)
    assert value is not None, f"{name}{labels} is not exported"
    return value
