"""Lets browsers of listed origins negotiate. Pure: headers in, headers out.

Source: the Fetch standard's CORS protocol. Rules guarded: SignalR clients send credentials, so the origin is echoed
exactly and never `*`; an origin that is not listed gets no CORS header at all; every answer says that it varies.
"""

from collections.abc import Collection

from starlette.datastructures import Headers

# What the SignalR clients send, besides headers that need no leave.
_HEADERS = "authorization, content-type, x-requested-with, x-signalr-user-agent"
_KEEP_SECONDS = "600"


def cors_headers(headers: Headers, origins: Collection[str]) -> dict[str, str]:
    """Give the headers of an actual answer."""
    origin = headers.get("origin")
    if origin is None or origin not in origins:
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "X-Request-Id",
    }


def preflight_headers(headers: Headers, origins: Collection[str]) -> dict[str, str]:
    """Give the headers of the answer to an OPTIONS request that asks for leave to POST."""
    answer = cors_headers(headers, origins)
    if "Access-Control-Allow-Origin" in answer:
        answer |= {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": _HEADERS,
            "Access-Control-Max-Age": _KEEP_SECONDS,
        }
    return answer
