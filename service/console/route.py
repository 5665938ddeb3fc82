"""The page `/console`, which shows in a browser what the admin API answers.

Rules guarded: the page itself holds no data and asks for the API key, which it sends as a header and never in an
address. Its content security policy lets it load and ask nothing but this origin, makes no markup of text, and no other
page may frame it. Only the files that are listed are served. Addresses are relative, so that it also works behind a
path prefix.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

PAGE: Final = Path(__file__).parent / "page"
CONSOLE: Final = "/console"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
Endpoint = Callable[[], Awaitable[Response]]


def router() -> APIRouter:
    """Return the routes of the page and of its files."""
    routes = APIRouter(include_in_schema=False)
    files = sorted(path for path in PAGE.iterdir() if path.suffix in (".css", ".js", ".svg"))
    endpoints: dict[str, Endpoint] = {CONSOLE: _page}
    endpoints |= {f"{CONSOLE}/{path.name}": partial(_file, path) for path in files}
    for address, endpoint in endpoints.items():
        routes.add_api_route(address, endpoint, response_model=None)
    return routes


async def _page() -> Response:
    return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": _POLICY})


async def _file(path: Path) -> Response:
    return FileResponse(path, headers={"Cache-Control": "no-cache"})
