"""What `/emulator/` answers: an index as JSON, or in a browser a page that causes faults and shows the journal.

The page uses the control API and nothing else. Its files are listed here, so that no path leads out of their folder.
"""

from functools import cache
from pathlib import Path

from emulator.http import Request, Response, json_response

_PAGE = Path(__file__).parent / "page"
_FILES = {
    "page/page.js": "text/javascript; charset=utf-8",
    "page/page.css": "text/css; charset=utf-8",
    "page/icon.svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("Cache-Control", "no-cache"),
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
_OPERATIONS = {
    "GET journal": "the calls of the REST API; since=N and limit=N page, tail=N gives the last ones, maxbody=N cuts",
    "DELETE journal": "remove all entries and counts",
    "GET stats": "counts: calls by status, in flight, connections, tokens, duplicates, clients",
    "GET clients": "the connected clients with their groups",
    "GET faults": "the fault rules in force, with the calls they matched and were applied to",
    "PUT faults": 'replace the rules, for example [{"kind":"status","status":400,"match":{"path":":send"},"times":1}]',
    "DELETE faults": "remove all rules",
    "GET quota": "the limits of the rate in force",
    "PUT quota": 'limit the rate, for example {"perSecond":10,"retryAfter":1}, or a list of such with "path"',
    "DELETE quota": "remove the limits",
}


def serve_index(request: Request, path: str, connection_string: str) -> Response | None:
    """Return the response to a GET of `path` under `/emulator/`, None when there is nothing."""
    if path in _FILES:
        return Response(200, _read(path.removeprefix("page/")), _FILES[path], _HEADERS)
    if path:
        return None
    if request.raw_path == "/emulator":  # the links of the page are relative
        return Response(308, headers=(("Location", "/emulator/"),))
    if "text/html" in request.header(b"accept"):
        return Response(200, _read("index.html"), "text/html; charset=utf-8", _HEADERS)
    known = {"connectionString": connection_string} if connection_string else {}
    return json_response(known | {"page": "Open this address in a browser.", "operations": _OPERATIONS})


@cache
def _read(name: str) -> bytes:
    return (_PAGE / name).read_bytes()
