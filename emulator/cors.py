"""Cross-origin responses of `/client` and `/api`: any origin, header and method.

Browsers negotiate and connect from the origin of a page, which is never the emulator's. The vendor's client asks for
credentials although it sends none, and with credentials a wildcard is not allowed, so `/client` sends the origin back.
`/api` is called with a token in a header and needs no credentials. Source: docs/sources.md, emulator.
"""

from emulator.http import Request, Response, Scope, Send


def is_preflight(request: Request) -> bool:
    """Return whether a request is a browser's preflight."""
    return request.method == "OPTIONS" and b"access-control-request-method" in request.headers


def preflight_response(request: Request) -> Response:
    """Return a response that allows what a preflight asks for."""
    return Response(
        204,
        headers=(
            ("Access-Control-Allow-Methods", request.header(b"access-control-request-method")),
            ("Access-Control-Allow-Headers", request.header(b"access-control-request-headers") or "*"),
            ("Access-Control-Max-Age", "600"),
        ),
    )


def with_cors(request: Request, send: Send, *, credentials: bool) -> Send:
    """Return a `send` that lets a page of the request's origin read the response."""
    origin = request.headers.get(b"origin")
    if origin is None:
        return send
    allowed = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
    if credentials:
        allowed.append((b"access-control-allow-credentials", b"true"))

    async def send_with_cors(event: Scope) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event["headers"], *allowed]}
        await send(event)

    return send_with_cors
