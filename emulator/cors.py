"""Cross-origin responses: any origin, header and method, with credentials, as the service gives them.

Browsers negotiate and connect from the origin of a page, which is never the emulator's. With credentials a wildcard is
not allowed, so the origin is sent back. Source: docs/sources.md, emulator.
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


def with_cors(request: Request, send: Send) -> Send:
    """Return a `send` that lets a browser of the request's origin read the response."""
    origin = request.headers.get(b"origin")
    if origin is None:
        return send

    async def send_with_cors(event: Scope) -> None:
        if event["type"] == "http.response.start":
            headers = [
                *event["headers"],
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"vary", b"Origin"),
            ]
            event = {**event, "headers": headers}
        await send(event)

    return send_with_cors
