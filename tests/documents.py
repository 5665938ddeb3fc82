"""Writes what is generated from the code into the documents: `make docs`, then read the difference.

Rule guarded: a setting or a verdict is described once, where it is defined; README and chart repeat it word for word,
and tests fail when they do not.
"""

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from fanout.environment import load, text_of, unit_of, variable_of
from fanout.instruments import Definition
from fanout.log_events import ALWAYS, EVENTS, LogEvent
from fanout.metrics import SECTIONS, Metrics
from fanout.settings import SUBJECTS, ClientSettings, Settings
from fanout.units import DURATION, SIZE, Unit
from workers.verdicts import GONE, TABLE

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
METRICS = ROOT / "docs" / "metrics.md"
OPERATING = ROOT / "docs" / "operating.md"
LOG_SCHEMA = ROOT / "docs" / "log-events.schema.json"
VALUES = ROOT / "helm" / "values.yaml"
KNOWN = ROOT / "helm" / "templates" / "_known.tpl"
SCHEMA = ROOT / "helm" / "values.schema.json"
SHORT_LABEL = 10  # values that are listed in the table itself
PROXIES = ("https_proxy", "http_proxy", "no_proxy")
# In the chart these are credentials, set by listenAddress, containerPort and adminPort, given as extraEnv, or settings
# of the command line.
NOT_IN_CHART = {
    "connection_string",
    "connection_string_settings",
    "second_access_key",
    "redis_url",
    "redis_password",
    "api_key",
    "auth",
    "host",
    "port",
    "admin_port",
    *PROXIES,
    *ClientSettings.model_fields,
}


def settings_table() -> str:
    defaults = load({})
    rows: list[str] = []
    for subject in SUBJECTS:
        rows += ["", f"**{str(subject.__doc__).rstrip('.')}**", ""]
        rows += ["| name | default | unit | meaning |", "| --- | --- | --- | --- |"]
        for name, field in subject.model_fields.items():
            shown = text_of(name, getattr(defaults, name))
            unit = unit_of(field)
            cells = (f"`{variable_of(name)}`", f"`{shown}`" if shown else "", unit.name if unit else "")
            rows.append(f"| {' | '.join(cells)} | {field.description} |")
    return "\n".join(rows[1:])


def verdict_table() -> str:
    rows = ["| status | a message | a group action | why |", "| --- | --- | --- | --- |"]
    rows.append(f"| 404 with one of {len(GONE)} `x-ms-error-code`s | gone | gone | It does not exist any more. |")
    rows.append("| 404 without a code, to leaving or closing | - | gone | If the endpoint works; else retry. |")
    for rule in TABLE:
        status = str(rule.first) if rule.first == rule.last else f"{rule.first}-{rule.last}"
        rows.append(f"| {status} | {rule.message} | {rule.action} | {rule.why} |")
    rows.append("| other | dead | dead | A refusal that will not change. |")
    rows.append("| not sent | retry | retry | Nothing was written: repeating it cannot duplicate anything. |")
    rows.append("| no answer | unknown | retry | Written, and the answer was lost or late. |")
    return "\n".join(rows)


def readme(text: str) -> str:
    """Return the README with its tables made anew."""
    for name, table in (("settings", settings_table()), ("verdicts", verdict_table())):
        before, rest = text.split(f"<!-- {name} -->\n", 1)
        after = rest.split(f"<!-- /{name} -->", 1)[1]
        text = f"{before}<!-- {name} -->\n{table}\n<!-- /{name} -->{after}"
    return text


def metrics(text: str) -> str:
    """Return the page of the metrics with its tables made anew."""
    before, rest = text.split("<!-- metrics -->\n", 1)
    after = rest.split("<!-- /metrics -->", 1)[1]
    return f"{before}<!-- metrics -->\n{metrics_tables()}\n<!-- /metrics -->{after}"


def metrics_tables() -> str:
    rows: list[str] = []
    for section in SECTIONS:
        rows += ["", f"## {section}", "", "| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
        for definition in sorted(Metrics().definitions, key=lambda each: each.exported_name):
            if definition.section == section:
                cells = (f"`{definition.exported_name}`", definition.kind, labels_of(definition), definition.text)
                rows.append(f"| {' | '.join(cells)} |")
    rows += ["", "## Values of long labels", ""]
    for definition in Metrics().definitions:
        for name, known in definition.labels:
            if len(known) > SHORT_LABEL:
                rows.append(f"- `{definition.exported_name}`, `{name}`: {', '.join(f'`{value}`' for value in known)}")
    return "\n".join(rows[1:])


def labels_of(definition: Definition) -> str:
    """Return the labels of a metric with their values, where these are few enough for a table."""
    shown = []
    for name, known in definition.labels:
        listed = ", ".join(f"`{value}`" for value in known) if len(known) <= SHORT_LABEL else "see below"
        shown.append(f"`{name}`: {listed}" if known else f"`{name}`")
    return "; ".join(shown)


def operating(text: str) -> str:
    """Return the manual with its table of log events made anew."""
    rows = ["| event | fields | when |", "| --- | --- | --- |"]
    for event in EVENTS:
        names = ", ".join(f"`{name}`" for name in event.names) + (f" ({event.note})" if event.note else "")
        fields = ", ".join(f"`{name.removesuffix('?')}`" for name in event.fields)
        rows.append(f"| {names} | {fields} | {event.text} |")
    before, rest = text.split("<!-- log events -->\n", 1)
    after = rest.split("<!-- /log events -->", 1)[1]
    return before + "<!-- log events -->\n" + "\n".join(rows) + "\n<!-- /log events -->" + after


def log_schema(_text: str = "") -> str:
    """Return the JSON schema of a line of the log, whatever stood there."""
    library = {"type": "object", "properties": _always(), "required": [*ALWAYS, "logger"]}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of the log of signalr-fanout",
        "description": "One of its events, or what a library logged. A newer version may add events and fields.",
        "anyOf": [*(_line(event) for event in EVENTS), library],
    }
    return json.dumps(document, indent=2) + "\n"


def _line(event: LogEvent) -> dict[str, Any]:
    required = [name for name in event.fields if not name.endswith("?")]
    return {
        "type": "object",
        "description": event.text.replace("`", ""),
        "properties": {
            **_always(),
            "level": {"enum": list(event.levels)},
            "event": {"enum": list(event.names)},
            **{name: event.schema_of(name) for name in sorted(event.field_names)},
        },
        "required": [*ALWAYS, *required],
        "not": {"required": ["logger"]},
    }


def _always() -> dict[str, Any]:
    time = {"type": "string", "format": "date-time"}
    return {"timestamp": time, "level": {"type": "string"}, "event": {"type": "string"}}


def values(text: str) -> str:
    """Return the chart's values with the comments under `config:` made anew."""
    before, rest = text.split("\nconfig: {}\n", 1)
    after = rest.split("\n\n", 1)[1]
    lines = []
    for name in chart_settings():
        field = Settings.model_fields[name]
        text = f"-- {field.description}{in_unit(field)}"
        lines += textwrap.wrap(text, 116, initial_indent="  # ", subsequent_indent="  # ")
        lines.append(f"  # {camel(name)}: {json.dumps(number(plain(field.default)))}")
    return before + "\nconfig: {}\n" + "\n".join(lines) + "\n\n" + after


def schema(text: str) -> str:
    """Return the chart's schema with the properties of `config` made anew."""
    document = json.loads(text)
    described = Settings.model_json_schema()["properties"]
    document["definitions"]["config"]["properties"] = {
        camel(name): property_of(name, described[name]) for name in chart_settings()
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def property_of(name: str, described: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of one setting, in the order a reader wants."""
    bounds = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "maxItems")
    order = ("description", "type", "enum", "items", *bounds)
    kept = {key: number(described[key]) for key in order if key in described}
    kept["description"] += in_unit(Settings.model_fields[name])
    return {**kept, "default": number(plain(Settings.model_fields[name].default))}


def in_unit(field: FieldInfo) -> str:
    """Return in which unit a number of the chart is; there durations and sizes are plain numbers."""
    return {DURATION: " In seconds.", SIZE: " In bytes."}.get(unit_of(field) or Unit(""), "")


def chart_settings() -> list[str]:
    return [name for name in Settings.model_fields if name not in NOT_IN_CHART]


def camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(word.capitalize() for word in rest)


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and re.fullmatch(r"\d+\.0", str(value)) else value


def files_to_read(architecture: str) -> list[str]:
    """Return the numbered files of docs/architecture.md, those that a newcomer reads, in order."""
    return re.findall(r"^\d+\. \[([a-z][\w/]*\.py)\]", architecture, re.MULTILINE)


def files_not_to_open(architecture: str) -> list[str]:
    """Return the files that docs/architecture.md names as passed by a message and not needed to follow it."""
    return re.findall(r"`([a-z][\w/]*\.py)`", architecture.partition("\n## Files that need not be opened\n")[2])


def known_settings(text: str) -> str:
    """Return the chart's list of all variables that a process knows."""
    names = [variable_of(name) for name in Settings.model_fields if variable_of(name).startswith("FANOUT_")]
    secrets = [f"{variable_of(name)}_FILE" for name, field in Settings.model_fields.items() if _is_secret(field)]
    before, rest = text.split('{{- define "signalr-fanout.knownSettings" -}}\n', 1)
    after = rest.split("{{- end -}}", 1)[1]
    listed = textwrap.fill(" ".join(sorted(names + secrets)), 116)
    return before + '{{- define "signalr-fanout.knownSettings" -}}\n' + listed + "\n{{- end -}}" + after


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr


DOCUMENTS = (
    (README, readme),
    (METRICS, metrics),
    (OPERATING, operating),
    (LOG_SCHEMA, log_schema),
    (VALUES, values),
    (SCHEMA, schema),
    (KNOWN, known_settings),
)

if __name__ == "__main__":
    for path, made in DOCUMENTS:
        path.write_text(made(path.read_text()))
    sys.exit(0)
