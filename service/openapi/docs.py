"""The page /docs: Swagger UI with the OpenAPI document of this process.

Rules guarded: the page works without internet, so its script and style come from an installed package. Its content
security policy lets it load and ask nothing but this origin, and no other page may frame it. Addresses are relative,
so that the page also works behind a path prefix.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

_PACKAGE = "fastapi_swagger"  # only its files are used: Swagger UI as published
_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
# Swagger UI sets style attributes and shows images that are part of its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>signalr-fanout API</title>
  <link rel="icon" href="docs/favicon-32x32.png">
  <link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="docs/swagger-ui-bundle.js"></script>
  <script src="docs/start.js"></script>
</body>
</html>
"""
# Without `validatorUrl: null` the page would send the document to a validator on the internet.
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""
_CACHED = {"Cache-Control": "max-age=3600"}
Endpoint = Callable[[], Awaitable[Response]]


def router(document: Callable[[], dict[str, Any]], dependencies: Sequence[Any] = ()) -> APIRouter:
    """Return the routes of the page, of its files, and of the document; `dependencies` decide who may read them."""
    routes = APIRouter(include_in_schema=False, dependencies=list(dependencies))
    endpoints: dict[str, Endpoint] = {"": _page, "/start.js": _start}
    folder = _folder()
    endpoints |= {f"/{name}": partial(_asset, folder / name) for name in _ASSETS}
    for path, endpoint in endpoints.items():
        routes.add_api_route(f"/docs{path}", endpoint, response_model=None)
    routes.add_api_route("/openapi.json", partial(_document, document), response_model=None)
    return routes


def _folder() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"The package {_PACKAGE} is not installed.", name=_PACKAGE)
    return Path(spec.origin).parent / "resources"


async def _page() -> Response:
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


async def _start() -> Response:
    return Response(_START, media_type="text/javascript")


async def _asset(path: Path) -> Response:
    return FileResponse(path, headers=_CACHED)


async def _document(document: Callable[[], dict[str, Any]]) -> Response:
    return JSONResponse(document())
