"""The schema, values.yaml and README of the chart agree, and the chart is a sound package.

Rule guarded: the schema admits no unknown name anywhere, so that a misspelt value never passes in silence.
"""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml
from jsonschema import Draft7Validator

from tests.helm.release import CHART, ROLES, Object, chart, example, merged, render


def _nodes(node: Any, path: str = "#") -> Iterator[tuple[str, Object]]:
    """Walk every schema inside a schema."""
    if isinstance(node, dict):
        yield path, node
        for key, inner in node.items():
            yield from _nodes(inner, f"{path}/{key}")
    elif isinstance(node, list):
        for place, inner in enumerate(node):
            yield from _nodes(inner, f"{path}/{place}")


def _schema() -> Object:
    schema = chart().schema
    assert schema is not None
    return schema


# The schema --------------------------------------------------------------------------------------------------------


def test_the_schema_is_draft_07() -> None:
    assert _schema()["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(_schema())


def test_every_object_of_the_schema_is_closed() -> None:
    """Objects with named properties admit no others; maps say what they hold; only Kubernetes' own parts are open."""
    open_to_all = []
    for path, node in _nodes(_schema()):
        if isinstance(node.get("properties"), dict) and "type" in node:
            assert node.get("additionalProperties") is False, path
        elif "object" in str(node.get("type", "")) and not path.endswith("/properties"):
            assert "additionalProperties" in node, path
            if node["additionalProperties"] is True:
                open_to_all.append(path)
    assert sorted(open_to_all) == ["#/definitions/kubernetesObject", "#/properties/extraObjects/items"]


def test_every_property_is_described() -> None:
    definitions = _schema()["definitions"]
    for path, node in _nodes(_schema()):
        for name, inner in node.get("properties", {}).items():
            reference = inner.get("$ref", "").removeprefix("#/definitions/")
            assert inner.get("description") or definitions[reference]["description"], f"{path}: {name}"


def test_every_value_is_explained() -> None:
    """Above each value of values.yaml, or above the structured default it belongs to, stands what it is."""
    outer, above = [(-1, False)], False
    for number, line in enumerate((CHART / "values.yaml").read_text().splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            above = text.startswith("# --") or (above and bool(text))
            continue
        depth = len(line) - len(line.lstrip())
        while outer[-1][0] >= depth:
            outer.pop()
        outer.append((depth, above or outer[-1][1]))
        above = False
        assert outer[-1][1] or text.endswith(":"), f"values.yaml:{number}: {text}"


def test_the_defaults_name_every_value_the_schema_knows() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = _schema()
    assert set(schema["properties"]) == set(defaults) | {"global"}
    for role in ROLES:
        assert set(defaults[role]) == set(schema["definitions"]["role"]["properties"])
    assert set(defaults["image"]) == set(schema["properties"]["image"]["properties"])
    assert set(defaults["service"]) == set(schema["properties"]["service"]["properties"])
    assert set(defaults["networkPolicy"]) == set(schema["properties"]["networkPolicy"]["properties"])


def test_the_readme_tells_the_defaults_as_they_are() -> None:
    """Each row of the table holds a value's path and its default; a worker's is left out where it is the ingress's."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = re.findall(r"^\| `([\w.]+)` \| `(.+?)` \|", (CHART / "README.md").read_text(), re.MULTILINE)
    told = {path: json.loads(text) for path, text in rows}
    assert told == {path: _at(defaults, path) for path in told}
    for path, value in _leaves(defaults):
        twin = path.replace("worker.", "ingress.", 1)
        assert any(f"{path}.".startswith(f"{row}.") for row in told) or value == _at(defaults, twin), path


def _at(values: Object, path: str) -> Any:
    return functools.reduce(lambda inner, key: inner[key], path.split("."), values)


def _leaves(values: Object, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def test_helm_gives_global_values_to_subcharts() -> None:
    assert render(merged(example("minimal"), {"global": {"anything": 1}})).objects


# The chart as a package --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["minimal", "existing-secrets", "full"])
def test_lint_finds_nothing(name: str) -> None:
    """Below a warning there is one remark: a chart without an icon."""
    report = helm_python.lint(CHART, example(name), strict=True)
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]
    assert report["errors"] == []


def test_the_package_installs_as_the_folder_does(tmp_path: Any) -> None:
    with helm_python.Chart.load(helm_python.package(CHART, destination=tmp_path)) as packed:
        assert packed.render(example("full"), name="demo", namespace="prod") == chart().render(
            example("full"), name="demo", namespace="prod"
        )
        assert not [name for name in (file["name"] for file in packed.files) if name.startswith("ci/")]
