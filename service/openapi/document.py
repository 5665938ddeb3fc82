"""The OpenAPI document of one process: what FastAPI collects from the routes, and what it cannot know.

Rule guarded: the document is true. FastAPI describes the routes from the models they read and write; added here are the
batch, which has no model, the documents that only requests and refusals have, and the ways to prove who calls.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.openapi import batch, compatible

DESCRIPTION = (
    "Accepts batches of SignalR messages and group actions, stores them in order, and delivers them to Azure SignalR "
    "Service. A 202 means stored. Every refusal is a problem document (RFC 9457) whose `type` explains itself."
)
_SECURITY: Mapping[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a token (JWT) of an issuer that the settings name. Either has rights on hubs. "
        "The roles of a route name the right that it needs.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "accessKey": compatible.SECURITY_SCHEME,
}


def complete(
    document: dict[str, Any], models: Sequence[type[BaseModel]], *, with_batch: bool, with_compatible: bool
) -> None:
    """Add to the document of FastAPI the schemas of `models`, the ways to prove who calls, and the plain routes."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, described = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas |= described["$defs"] | batch.SCHEMAS | compatible.SCHEMAS
    components["securitySchemes"] = _SECURITY
    if with_batch:
        document["paths"][batch.MESSAGES] = {"post": batch.OPERATION}
    if with_compatible:
        document["paths"] |= compatible.paths()
        components["responses"] = compatible.RESPONSES
