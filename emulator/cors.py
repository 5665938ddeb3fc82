"""Cross-origin answers: any origin, header and method, with credentials.

Source: contract 8.1 point 12 and 8.2: browsers negotiate and connect from the page's origin, which is never ours. With
credentials a wildcard is not allowed, so the origin is sent back as it came.
"""

from emulator.exchange import Call, Reply, Scope, Send


def is_preflight(call: Call) -> bool:
    """Tell a browser's question from a request."""
    return call.method == "OPTIONS" and b"access-control-request-method" in call.headers


def preflight_reply(call: Call) -> Reply:
    """Allow what is asked for."""
    return Reply(
        204,
        headers=(
            ("Access-Control-Allow-Methods", call.header(b"access-control-request-method")),
            ("Access-Control-Allow-Headers", call.header(b"access-control-request-headers") or "*"),
            ("Access-Control-Max-Age", "600"),
        ),
    )


def sharing(call: Call, send: Send) -> Send:
    """Give a `send` that marks every answer to a browser of another origin as readable."""
    origin = call.headers.get(b"origin")
    if origin is None:
        return send

    async def send_shared(event: Scope) -> None:
        if event["type"] == "http.response.start":
            headers = [
                *event["headers"],
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"vary", b"Origin"),
            ]
            event = {**event, "headers": headers}
        await send(event)

    return send_shared
