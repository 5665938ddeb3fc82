"""The ASGI application of one listener: its routes, and what surrounds them all.

Rules guarded: every refusal, the router's own included, is a problem document (RFC 9457). Which listener has which
routes is decided in `compose`; the route with a hub at the start of its path comes last there, so that no hub can hide
another route.

Around every request are its id (the caller's own when it is valid), its time, and the handler of unexpected errors: one
is logged once with the request id and answered as a problem without internals. A client that disconnected is not an
error. The label of a route in metrics is one of a closed set, whatever path a client sends. Plain ASGI, because every
request passes here.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fanout import __version__
from fanout.clock import Clock
from fanout.environment import variable_of
from fanout.errors import FanoutError
from fanout.log import get_logger
from fanout.metrics import Metrics
from service.admin.dead_letters.documents import DeadLetterCommand
from service.admin.hubs.documents import CloseCommand
from service.admin.pauses import PauseCommand, ResumeCommand
from service.compat.route import is_compatible
from service.http.addresses import meant_address
from service.http.exchange import completed
from service.http.probes import PROBE_PATHS
from service.http.problems import (
    PREFIX,
    Problem,
    ProblemDocument,
    explanation_of,
    problem_of,
    problem_of_status,
    refusal_in,
    response_of,
    unexpected,
)
from service.http.refusals import Refusals
from service.http.request import REQUEST_ID, peer_of, request_id_of
from service.negotiate.documents import NegotiateRequest
from service.openapi.batch import MESSAGES
from service.openapi.describe import path as path_parameter
from service.openapi.describe import refusal, text
from service.openapi.document import DESCRIPTION, complete

Role = Literal["all", "ingress", "worker"]
_REQUESTS = (
    ProblemDocument,
    NegotiateRequest,
    DeadLetterCommand,
    PauseCommand,
    ResumeCommand,
    CloseCommand,
)  # the documents that no answer of a route has
_BEFORE_HUB, _AFTER_HUB = MESSAGES.split("{hub}")
_EXPLAIN: dict[str, Any] = {
    "operation_id": "explainProblem",
    "summary": "Explain the code of a problem",
    "tags": ["operation"],
    "responses": {200: text("What it means and what to do."), 404: refusal("There is no such code.", "notFound")},
    "openapi_extra": {"parameters": [path_parameter("code", {"type": "string"}) | {"example": "invalidItems"}]},
}
_TAGS = ("messages", "compatible", "clients", "admin", "operation")  # as the document lists them
_ADMIN = "/v1/admin/"
_ADMIN_IS_ELSEWHERE = (
    f"Administration is not on this port: an ingress has it on the port of {variable_of('admin_port')}."
)
_UNAUTHORIZED: Final = 401
_REFUSED: Final = 400  # and all above it
_VALID_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}", re.ASCII)
_COMPATIBLE = ("/api/hubs/", "/api/v1/hubs/", "/server")
_PROBES = frozenset({*PROBE_PATHS, "/metrics", "/backlog"})
Handler = Callable[[Request], Awaitable[Response]]


# Around every request ------------------------------------------------------------------------------------------------


class RequestTimes:
    """The times of the requests of one process, from their head to the head of their answer."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._histograms = metrics.http_seconds
        self.now = clock.monotonic

    def answered(self, scope: Scope, status: int, began: float) -> None:
        """Observe an answer to a request that began at this time."""
        key = (route_of(scope["path"]), f"{status // 100}xx")
        histogram = self._histograms.get(key)
        if histogram is not None:
            histogram.observe(self.now() - began)


def route_of(path: str) -> str:
    """Return what a path is about: one of `fanout.metrics.ROUTES`."""
    if path.startswith("/v1/hubs/") and path.endswith("/messages"):
        return "messages"
    if path.startswith(_COMPATIBLE):
        return "compatible"
    if path.endswith("/negotiate"):
        return "negotiate"
    if path.startswith("/v1/admin/"):
        return "admin"
    return "probe" if path in _PROBES else "other"


class RequestMiddleware:
    """ASGI middleware around the application, and around the batch route, which passes by the framework."""

    def __init__(self, app: ASGIApp, refusals: Refusals, times: RequestTimes) -> None:
        self._app = app
        self._refusals = refusals
        self._times = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope["headers"]) or secrets.token_hex(8)
        scope[REQUEST_ID] = request_id
        started = False
        began = self._times.now()

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= _REFUSED:
                    await self._before_refusal(message["status"], scope)
                message["headers"] = completed(message["headers"], request_id)
                self._times.answered(scope, message["status"], began)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            return
        except Exception:
            if started:
                raise  # half an answer is out: only closing the connection tells the client
            get_logger().exception("request.failed", request_id=request_id, method=scope["method"], path=scope["path"])
            await response_of(unexpected(), request_id)(scope, receive, send_with_id)

    async def _before_refusal(self, status: int, scope: Scope) -> None:
        problem = refusal_in(scope)
        if problem is None:
            return
        peer = peer_of(scope)
        if status == _UNAUTHORIZED:
            await self._refusals.slow_down(problem, peer)
        self._refusals.note(
            problem, request_id=request_id_of(scope), peer=peer, method=scope["method"], path=scope["path"]
        )


def _given(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if _VALID_ID.fullmatch(text) else None
    return None


# The routes ----------------------------------------------------------------------------------------------------------


class Application(FastAPI):
    """FastAPI with the schemas of this service, and its plain route, in the document.

    Batches go to `messages` past the framework, whose way to a route costs more than handling a small one. The route is
    there all the same: for other methods, and for paths that only the router understands.
    """

    messages: ASGIApp | None = None
    compatible: ASGIApp | None = None
    prefix = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a batch to its route, and everything else to the router; remove the prefix; route HEAD as GET."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        if self.prefix and scope["path"].startswith(f"{self.prefix}/"):
            scope["path"] = scope["path"][len(self.prefix) :]
            scope[PREFIX] = self.prefix
        if self.messages is not None and (hub := _hub_of(scope)):
            scope["path_params"] = {"hub": hub}
            await self.messages(scope, receive, send)
            return
        if self.compatible is not None and is_compatible(scope["path"]):
            await self.compatible(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope["method"] = "GET"  # the server leaves the body out
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is made once."""
        if self.openapi_schema is None:
            complete(
                super().openapi(),
                _REQUESTS,
                with_batch=self.messages is not None,
                with_compatible=self.compatible is not None,
            )
        return super().openapi()


def _hub_of(scope: Scope) -> str:
    # The hub of a batch that comes in, "" for any other request.
    path: str = scope["path"]
    if scope["method"] != "POST" or not path.startswith(_BEFORE_HUB) or not path.endswith(_AFTER_HUB):
        return ""
    hub = path[len(_BEFORE_HUB) : -len(_AFTER_HUB)]
    return "" if "/" in hub else hub


def create_app(
    refusals: Refusals,
    times: RequestTimes,
    routers: Sequence[APIRouter],
    *,
    ingress: ASGIApp | None = None,
    compatible: ASGIApp | None = None,
    page: Path | None = None,
    prefix: str = "",
) -> FastAPI:
    """Make the application of one listener from its routers, in this order, and the batch route where it has one."""
    app = _bare(prefix)
    app.add_middleware(RequestMiddleware, refusals=refusals, times=times)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(FanoutError, _on_fanout)
    if ingress is not None:
        app.router.routes.append(Route(MESSAGES, ingress, methods=["POST"]))
        app.messages = RequestMiddleware(ingress, refusals, times)
    if compatible is not None:
        app.compatible = RequestMiddleware(compatible, refusals, times)
    app.add_api_route("/problems/{code}", _problem, response_model=None, response_class=PlainTextResponse, **_EXPLAIN)
    for router in routers:
        app.include_router(router)
    if page is not None:
        _mount_page(app, page)
    return app


def _bare(prefix: str) -> Application:
    app = Application(
        title="signalr-fanout",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=[{"name": name} for name in _TAGS],
        openapi_url=None,  # the document and its page have routes of their own
        redirect_slashes=False,
        servers=[{"url": prefix}] if prefix else None,
    )
    app.prefix = prefix
    return app


def _mount_page(app: FastAPI, page: Path) -> None:
    app.add_route("/", _file(page / "index.html"), methods=["GET"], include_in_schema=False)
    app.mount("/page", StaticFiles(directory=page))


def _file(path: Path) -> Handler:
    async def answer(_request: Request) -> Response:
        return FileResponse(path, headers={"Content-Security-Policy": "frame-ancestors 'none'"})  # its own has the rest

    return answer


async def _problem(request: Request) -> Response:
    text = explanation_of(request.path_params["code"])
    if text is None:
        raise HTTPException(404)
    return PlainTextResponse(text)


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    problem = problem_of_status(error.status_code, error.headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        templates = [route.path for route in request.app.routes if isinstance(route, Route)]
        path = request.scope["path"]
        if path.startswith(_ADMIN) and not any(template.startswith(_ADMIN) for template in templates):
            problem = replace(problem, detail=_ADMIN_IS_ELSEWHERE)
        elif meant := meant_address(path, templates):
            problem = replace(problem, detail=f"There is nothing at this address. Did you mean {meant}?")
    return _answer(request, problem)


async def _on_fanout(request: Request, error: Exception) -> Response:
    if not isinstance(error, FanoutError):
        raise error
    return _answer(request, problem_of(error))


def _answer(request: Request, problem: Problem) -> Response:
    return response_of(problem, request_id_of(request.scope))
