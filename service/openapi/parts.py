"""The words of an OpenAPI document that its operations share: bodies, refusals, parameters.

Rule guarded: a refusal looks the same in the description of every route, as it does on the wire (RFC 9457). Data only;
what the operations are stands in `openapi` and beside the routes of a package of its own.
"""

from typing import Any

from service.http.problems import MEDIA_TYPE


def content(schema: str, media_type: str = "application/json", example: Any = None) -> dict[str, Any]:
    """Describe a body of one of the named schemas."""
    described: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    if example is not None:
        described["example"] = example
    return {media_type: described}


def refusal(description: str, example: Any = None) -> dict[str, Any]:
    """Describe an answer that is a problem document."""
    return {"description": description, "content": content("Problem", MEDIA_TYPE, example)}


def busy(description: str) -> dict[str, Any]:
    """Describe a refusal that says when to come back."""
    retry = {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer", "minimum": 1}}
    return refusal(description) | {"headers": {"Retry-After": retry}}


def text(description: str) -> dict[str, Any]:
    """Describe an answer in plain text."""
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Describe an optional header of a request."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


REQUEST_ID = header(
    "X-Request-Id",
    "Comes back on the answer when it is 1 to 64 letters, digits, dots, dashes or underscores; else one is made here.",
    {"type": "string"},
)
ADMIN: list[Any] = [{"bearer": []}, {"apiKey": []}, {}]  # without a key, callers on this machine
