"""The OpenAPI document; that answers keep to it is checked on every request of the other tests."""

import re
from functools import cache
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, meta

from fanout.binding.refusals import ITEM_CODES
from service.compat.address import ROUTES, address_of
from service.http.problems import MEDIA_TYPE, PROBLEM_TYPES
from tests.service.apps import an_app, client_of

pytestmark = pytest.mark.lengthy


@cache
def document() -> dict[str, Any]:
    return an_app().build().main.openapi()


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in references(value)]
    return [ref for value in node for ref in references(value)] if isinstance(node, list) else []


def examples(node: Any) -> list[tuple[dict[str, Any], Any]]:
    if isinstance(node, dict):
        own = [(node["schema"], node["example"])] if "example" in node and "schema" in node else []
        return own + [pair for value in node.values() for pair in examples(value)]
    return [pair for value in node for pair in examples(value)] if isinstance(node, list) else []


def named_examples(node: Any) -> list[tuple[dict[str, Any], str, Any]]:
    if isinstance(node, dict):
        shown = node.get("examples")
        own = [(node["schema"], name, each["value"]) for name, each in shown.items()] if isinstance(shown, dict) else []
        return own + [found for value in node.values() for found in named_examples(value)]
    return [found for value in node for found in named_examples(value)] if isinstance(node, list) else []


def test_every_route_is_described() -> None:
    operations = {(method, path): each for path, item in document()["paths"].items() for method, each in item.items()}
    own = [key for key in operations if not key[1].startswith(("/api/", "/server/"))]
    assert sorted(own) == [
        ("get", "/backlog"),
        ("get", "/livez"),
        ("get", "/metrics"),
        ("get", "/problems/{code}"),
        ("get", "/readyz"),
        ("get", "/v1/admin/config"),
        ("get", "/v1/admin/dead-letters"),
        ("get", "/v1/admin/dead-letters/{letter_id}"),
        ("get", "/v1/admin/hubs/{hub}/connections"),
        ("get", "/v1/admin/hubs/{hub}/exists"),
        ("get", "/v1/admin/messages/{message_id}/trace"),
        ("get", "/v1/admin/overview"),
        ("get", "/v1/admin/pauses"),
        ("post", "/v1/admin/dead-letters/purge"),
        ("post", "/v1/admin/dead-letters/replay"),
        ("post", "/v1/admin/hubs/{hub}/close"),
        ("post", "/v1/admin/pauses/lift"),
        ("post", "/v1/admin/pauses/preview"),
        ("post", "/v1/admin/pauses/set"),
        ("post", "/v1/hubs/{hub}/messages"),
        ("post", "/{hub}/negotiate"),
    ]
    for operation in operations.values():
        assert operation["summary"]
        assert operation["tags"]
        assert "422" not in operation["responses"] or operation["operationId"] == "sendMessages"


def test_every_compatible_route_is_described_with_an_id_of_its_own() -> None:
    paths = document()["paths"]
    described = {
        (method.upper(), path): each
        for path, item in paths.items()
        if path.startswith("/api/hubs/")
        for method, each in item.items()
    }
    for method, path in described:
        assert address_of(method, re.sub(r"\{\w+\}", "x", path)) is not None
    assert len(described) == sum(len(methods) for methods in ROUTES.values())
    assert len({each["operationId"] for each in described.values()}) == len(described)
    send = described["POST", "/api/hubs/{hub}/users/{user}/:send"]
    assert set(send["responses"]) == {"202", "400", "401", "404", "408", "413", "415", "500", "503", "508"}


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    found = {tuple(reference.removeprefix("#/components/").split("/")) for reference in references(whole)}
    assert all(name in whole["components"][kind] for kind, name in found)
    names = {name for _kind, name in found}
    assert {"Batch", "Item", "Receipt", "ProblemDocument", "DeadLetterCommand", "NegotiateRequest", "Trace"} <= names


def test_every_schema_is_one_and_every_example_keeps_to_it() -> None:
    whole = document()
    for schema in whole["components"]["schemas"].values():
        assert meta.is_valid(schema)
    pairs = examples(whole)
    assert len(pairs) >= 4
    for schema, example in pairs:
        Draft202012Validator(schema | {"components": whole["components"]}).validate(example)


def test_every_refusal_shows_its_codes_with_an_example_of_each() -> None:
    whole = document()
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                described = response.get("content", {}).get(MEDIA_TYPE)
                if described is None or path.startswith("/api/"):
                    continue
                assert described["examples"], (method, path, status)
                for _schema, code, example in named_examples(described):
                    assert (str(example["status"]), example["code"]) == (status, code), (method, path)
    found = named_examples(whole)
    for schema, _code, example in found:
        Draft202012Validator(schema | {"components": whole["components"]}).validate(example)
    elsewhere = {
        *("headTooSlow", "headTooLarge"),  # before a route is known
        "configuration",  # at the start
    }
    codes = {code for _schema, code, _example in found}
    assert codes - ITEM_CODES.keys() == PROBLEM_TYPES.keys() - elsewhere


def test_every_refusal_of_the_compatible_routes_shows_its_codes_in_each_shape_it_has() -> None:
    whole = document()
    for path, item in whole["paths"].items():
        for operation in item.values() if path.startswith(("/api/", "/server/")) else ():
            for status, described in operation["responses"].items():
                response = (
                    whole["components"]["responses"][described["$ref"].rpartition("/")[2]]
                    if "$ref" in described
                    else described
                )
                assert status[0] in "2d" or response["content"], (path, status)
                for kind, content in response.get("content", {}).items():
                    assert content["examples"], (path, status, kind)
                    for code, example in content["examples"].items():
                        assert kind != "text/plain" or f"\nCode: {code}. " in example["value"]


async def test_the_text_of_a_refusal_is_as_in_its_example() -> None:
    shown = document()["components"]["responses"]["CompatibleNoToken"]["content"]["text/plain"]["examples"]
    async with client_of(an_app()) as client:
        answer = await client.post("/api/hubs/chat/:send")
    assert answer.text.partition("Request: ")[0] == shown["unauthorized"]["value"].partition("Request: ")[0]


def test_the_statuses_of_the_batch_route_are_all_there() -> None:
    responses = document()["paths"]["/v1/hubs/{hub}/messages"]["post"]["responses"]
    assert set(responses) == {"202", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503"}
