"""Strict schemas of the custom resources that the chart makes, because the cluster's own schemas do not know them.

Rule guarded: a field that is misspelt fails here. The models of KEDA and of the Prometheus Operator come from packages
that are generated from the published definitions; unknown fields are refused in addition. Of the HTTPRoute, for which
there is no such package, the part that the chart writes is described by hand, from the Gateway API's reference.
"""

from functools import cache
from importlib import import_module
from typing import Any

from jsonschema import Draft202012Validator

from tests.helm.release import Object

_MODELS = {
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
    "ServiceMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PodMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PrometheusRule": "cloudcoil.models.prometheus_operator.v1",
}
KINDS = frozenset({*_MODELS, "HTTPRoute"})

_TEXT: Object = {"type": "string", "minLength": 1, "maxLength": 253}
_PORT: Object = {"type": "integer", "minimum": 1, "maximum": 65535}


def _closed(properties: Object, *required: str) -> Object:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _list(items: Object, most: int) -> Object:
    return {"type": "array", "items": items, "maxItems": most}


_PATH = _closed({"type": {"enum": ["Exact", "PathPrefix", "RegularExpression"]}, "value": {"pattern": "^/"}})
_HEADER = _closed({"name": _TEXT, "value": _TEXT, "type": {"enum": ["Exact", "RegularExpression"]}}, "name", "value")
_MATCH = _closed(
    {
        "path": _PATH,
        "headers": _list(_HEADER, 16),
        "queryParams": _list(_HEADER, 16),
        "method": {"enum": ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]},
    }
)
_CHANGED_HEADERS = _closed(
    {
        "set": _list(_closed({"name": _TEXT, "value": _TEXT}, "name", "value"), 16),
        "add": _list(_closed({"name": _TEXT, "value": _TEXT}, "name", "value"), 16),
        "remove": _list(_TEXT, 16),
    }
)
_FILTER = _closed(
    {
        "type": {"enum": ["RequestHeaderModifier", "ResponseHeaderModifier"]},
        "requestHeaderModifier": _CHANGED_HEADERS,
        "responseHeaderModifier": _CHANGED_HEADERS,
    },
    "type",
)
_REFERENCE: Object = {"group": {"type": "string"}, "kind": _TEXT, "name": _TEXT, "namespace": _TEXT, "port": _PORT}
_HTTP_ROUTE = _closed(
    {
        "apiVersion": {"const": "gateway.networking.k8s.io/v1"},
        "kind": {"const": "HTTPRoute"},
        "metadata": {"type": "object"},
        "spec": _closed(
            {
                "parentRefs": _list(_closed({**_REFERENCE, "sectionName": _TEXT}, "name"), 32),
                "hostnames": _list({**_TEXT, "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}, 16),
                "rules": _list(
                    _closed(
                        {
                            "matches": _list(_MATCH, 64),
                            "filters": _list(_FILTER, 16),
                            "backendRefs": _list(_closed({**_REFERENCE, "weight": {"minimum": 0}}, "name"), 16),
                        }
                    ),
                    16,
                ),
            }
        ),
    },
    "apiVersion",
    "kind",
    "metadata",
    "spec",
)


def validate(thing: Object) -> None:
    """Raise jsonschema's ValidationError where a custom resource is not as its schema says."""
    _validator(thing["kind"]).validate(thing)


@cache
def _validator(kind: str) -> Draft202012Validator:
    if kind == "HTTPRoute":
        return Draft202012Validator(_HTTP_ROUTE)
    # Imported late and by name: the packages are large, and their types are of no use here.
    model = getattr(import_module(_MODELS[kind]), kind)
    schema = _strict(model.model_json_schema(by_alias=True))
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return Draft202012Validator(schema)


def _strict(node: Any) -> Any:
    """Return a schema that admits no field that it does not name."""
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    strict = {key: _strict(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict
