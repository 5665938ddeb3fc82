"""What the descriptions of all routes share: refusals, parameters, bodies.

Rule guarded: a refusal looks the same in the description of every route, as it does in every answer (RFC 9457). Schemas
come from the models of the routes; here they are only referred to.
"""

from types import UnionType
from typing import Any

from pydantic import BaseModel

from service.callers.caller import Right
from service.http.problems import MEDIA_TYPE, PROBLEM_TYPES

HUB_PATTERN = r"^[A-Za-z][A-Za-z0-9_`,.\[\]]{0,127}$"


def content(schema: str, media_type: str = "application/json", example: Any = None) -> dict[str, Any]:
    """Describe a body with one of the named schemas."""
    described: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    if example is not None:
        described["example"] = example
    return {media_type: described}


def answer(model: type[BaseModel] | UnionType, description: str, example: Any = None) -> dict[str, Any]:
    """Describe an answer in JSON."""
    return {"model": model, "description": description} | (
        {"content": {"application/json": {"example": example}}} if example is not None else {}
    )


def refusal(description: str, *codes: str, **examples: Any) -> dict[str, Any]:
    """Describe an answer that is a problem document with one of `codes`; `examples` are documents of further ones."""
    documents = examples | {code: _problem(code) for code in codes}
    shown = {code: {"summary": PROBLEM_TYPES[code].title, "value": document} for code, document in documents.items()}
    described = content("ProblemDocument", MEDIA_TYPE)
    described[MEDIA_TYPE]["examples"] = shown
    return {"description": description, "content": described}


def busy(description: str, *codes: str) -> dict[str, Any]:
    """Describe a refusal that says when to repeat the request."""
    retry = {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer", "minimum": 1}}
    return refusal(description, *codes) | {"headers": {"Retry-After": retry}}


def _problem(code: str) -> dict[str, Any]:
    kind = PROBLEM_TYPES[code]
    return {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.advice,
        "code": code,
        "requestId": "9f2c4e1ab03d5577",
    }


def text(description: str) -> dict[str, Any]:
    """Describe an answer in plain text."""
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def body(model: type[BaseModel], example: Any, *, required: bool = True, description: str = "") -> dict[str, Any]:
    """Describe the body of a request."""
    described = {"required": required, "content": content(model.__name__, example=example)}
    return described | ({"description": description} if description else {})


def path(name: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    """Describe a parameter in the path."""
    described = {"name": name, "in": "path", "required": True, "schema": schema}
    return described | ({"description": description} if description else {})


def query(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Describe the members of a model as optional parameters of the query."""
    properties = model.model_json_schema(by_alias=True)["properties"]
    return [query_parameter(name, schema) for name, schema in properties.items()]


def query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Describe an optional parameter of the query."""
    return {"name": name, "in": "query", "required": False, "schema": schema}


def header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Describe an optional header of a request."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


HUB = path("hub", {"type": "string", "pattern": HUB_PATTERN}, "The hub; upper case becomes lower case.")
REQUEST_ID = header(
    "X-Request-Id",
    "The answer repeats it when it is 1 to 64 letters, digits, dots, dashes or underscores. Otherwise it is made here.",
    {"type": "string"},
)


def callers(right: Right) -> list[Any]:
    """Describe who may call a route: whoever has this right."""
    # A key is optional in the description, because `fanout dev` and FANOUT_AUTH=none serve this machine without one.
    return [{"bearer": [right.value]}, {"apiKey": [right.value]}, {}]


READ_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: refusal("The caller did not authenticate.", "unauthorized", "wrongKey", "invalidToken"),
    403: refusal("The caller lacks the right, or has it for other hubs.", "forbidden"),
}
