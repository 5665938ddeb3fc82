"""Puts the front door together: which routes there are for which role, and what surrounds them all.

Rules guarded: a worker answers probes and metrics and nothing else; routes that everybody may name a hub in come last,
so that no hub can hide one of ours; every refusal, the router's own included, is a problem document (RFC 9457).
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from fanout import __version__
from fanout.errors import FanoutError
from service.admin.dead_letters.documents import DEAD_LETTER, DEAD_LETTERS, PURGE, REPLAY
from service.admin.dead_letters.route import DeadLetterAdmin
from service.admin.traces import TraceAdmin
from service.http.middleware import RequestMiddleware, request_id_of
from service.http.probes import Probes
from service.http.problems import Problem, explanation_of, problem_of, problem_of_status, response_of
from service.ingress.route import Ingress
from service.negotiate.route import Negotiate
from service.openapi.document import (
    DESCRIPTION,
    MESSAGE_TRACE,
    MESSAGES,
    OPERATIONS,
    SCHEMAS,
    SECURITY,
    operation_object,
)

Role = Literal["all", "ingress", "worker"]
_BEFORE_HUB, _AFTER_HUB = MESSAGES.split("{hub}")
Handler = Callable[[Request], Awaitable[Response]]


class Application(FastAPI):
    """FastAPI with the schemas of this service, and its plain route, in the document.

    Batches go to `messages` past the framework, whose way to a route costs more than handling a small one. The route is
    there all the same: for other methods, and for paths that only the router understands.
    """

    messages: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        messages = self.messages
        if messages is not None and scope["type"] == "http" and (hub := _hub_of(scope)):
            scope["path_params"] = {"hub": hub}
            await messages(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"] = {"schemas": SCHEMAS, "securitySchemes": SECURITY}
            if any(isinstance(route, Route) and route.path == MESSAGES for route in self.routes):
                document["paths"][MESSAGES] = {"post": operation_object(OPERATIONS["POST", MESSAGES])}
        return super().openapi()


def _hub_of(scope: Scope) -> str:
    # The hub of a batch that comes in, "" for any other request.
    path: str = scope["path"]
    if scope["method"] != "POST" or not path.startswith(_BEFORE_HUB) or not path.endswith(_AFTER_HUB):
        return ""
    hub = path[len(_BEFORE_HUB) : -len(_AFTER_HUB)]
    return "" if "/" in hub else hub


def create_app(
    probes: Probes,
    *,
    ingress: Ingress | None = None,
    negotiate: Negotiate | None = None,
    traces: TraceAdmin | None = None,
    dead_letters: DeadLetterAdmin | None = None,
    page: Path | None = None,
) -> FastAPI:
    """Make the ASGI application of one process from its routes."""
    app = Application(
        title="signalr-fanout", version=__version__, description=DESCRIPTION, redoc_url=None, redirect_slashes=False
    )
    app.add_middleware(RequestMiddleware)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(FanoutError, _on_fanout)
    if ingress is not None:
        app.router.routes.append(Route(MESSAGES, ingress, methods=["POST"]))
        app.messages = RequestMiddleware(ingress)
    _get(app, "/livez", probes.livez)
    _get(app, "/readyz", probes.readyz)
    _get(app, "/metrics", probes.metrics)
    _get(app, "/problems/{code}", _problem)
    if traces is not None:
        _get(app, MESSAGE_TRACE, traces.trace)
    if dead_letters is not None:
        _mount_dead_letters(app, dead_letters)
    if negotiate is not None:
        _mount_negotiate(app, negotiate)
    if page is not None:
        _mount_page(app, page)
    return app


def _mount_dead_letters(app: FastAPI, admin: DeadLetterAdmin) -> None:
    _get(app, DEAD_LETTERS, admin.list)
    _route(app, "POST", REPLAY, admin.replay)
    _route(app, "POST", PURGE, admin.purge)
    _get(app, DEAD_LETTER, admin.show)  # the last: what is no POST to the two above is refused in their name


def _mount_negotiate(app: FastAPI, negotiate: Negotiate) -> None:
    _route(app, "POST", "/{hub}/negotiate", negotiate.answer)
    app.add_route("/{hub}/negotiate", negotiate.preflight, methods=["OPTIONS"], include_in_schema=False)


def _mount_page(app: FastAPI, page: Path) -> None:
    app.add_route("/", _file(page / "index.html"), methods=["GET"], include_in_schema=False)
    app.mount("/page", StaticFiles(directory=page))


def _get(app: FastAPI, path: str, handler: Handler) -> None:
    _route(app, "GET", path, handler)


def _route(app: FastAPI, method: str, path: str, handler: Handler) -> None:
    whole = path.replace("{message_id}", "{message_id:path}")  # an id may have a / in it
    app.add_api_route(
        whole, handler, methods=[method], response_model=None, response_class=Response, **OPERATIONS[method, path]
    )


def _file(path: Path) -> Handler:
    async def answer(_request: Request) -> Response:
        return FileResponse(path)

    return answer


async def _problem(request: Request) -> Response:
    text = explanation_of(request.path_params["code"])
    if text is None:
        raise HTTPException(404)
    return PlainTextResponse(text)


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _answer(request, problem_of_status(error.status_code, error.headers))


async def _on_fanout(request: Request, error: Exception) -> Response:
    if not isinstance(error, FanoutError):
        raise error
    return _answer(request, problem_of(error))


def _answer(request: Request, problem: Problem) -> Response:
    return response_of(problem, request_id_of(request.scope))
