"""Lets browsers of listed origins negotiate. Pure: headers in, headers out.

Source: the CORS protocol of the Fetch standard. Rules guarded: SignalR clients send credentials, so an answer names the
origin itself and never `*`. An origin that is not listed gets no CORS header at all. Every answer says that it varies.
"""

from collections.abc import Collection, Iterable

from starlette.datastructures import Headers

_KEEP_SECONDS = "600"


def cors_headers(headers: Headers, origins: Collection[str]) -> dict[str, str]:
    """Return the headers of an answer."""
    origin = headers.get("origin")
    if origin is None or origin not in origins:
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "X-Request-Id",
    }


def preflight_headers(headers: Headers, origins: Collection[str], allowed: Iterable[str]) -> dict[str, str]:
    """Return the headers of the answer to an OPTIONS request; `allowed` are the request headers a page may send."""
    answer = cors_headers(headers, origins)
    if "Access-Control-Allow-Origin" in answer:
        answer |= {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": ", ".join(allowed),
            "Access-Control-Max-Age": _KEEP_SECONDS,
        }
    return answer
