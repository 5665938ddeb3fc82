"""The published log events are those of the code: names, fields and levels."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema_rs import Draft202012Validator

from fanout.log_events import EVENTS
from tests.documents import LOG_SCHEMA, ROOT
from tests.log_lines import fault_of

LEVELS = {"info": "info", "warning": "warning", "warn": "warning", "error": "error", "exception": "error"}
AT = {"timestamp": "2027-01-15T08:00:00Z"}
NAMES = {name for event in EVENTS for name in event.names}
PAUSED = {"event": "delivery.paused", "level": "warning", **AT}


def calls() -> Iterator[tuple[Path, ast.Call]]:
    """Yield every call in the code of the processes that write to the log."""
    for room in ("fanout", "workers", "service"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield path, node


def events_of(call: ast.Call) -> list[str]:
    """Return the events that a call may log, as far as they stand in it."""
    texts = [node.value for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant)] if call.args else []
    return [text for text in texts if isinstance(text, str) and "." in text and " " not in text]


def test_every_call_that_logs_names_a_published_event_and_its_fields() -> None:
    seen: set[str] = set()
    for path, call in calls():
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS:
            continue
        for name in events_of(call):
            if name.endswith("."):  # a name that is put together; the runs of it are checked
                continue
            seen.add(name)
            variants = [event for event in EVENTS if name in event.names]
            assert any(LEVELS[call.func.attr] in event.levels for event in variants), f"{path}: {name}"
            named = {keyword.arg for keyword in call.keywords if keyword.arg}
            assert any(named <= event.field_names for event in variants), f"{path}: {name} {sorted(named)}"
    assert len(seen) > 20


def test_every_published_event_stands_in_the_code() -> None:
    texts = "".join(
        path.read_text() for room in ("fanout", "workers", "service") for path in (ROOT / room).rglob("*.py")
    )
    code = texts.replace((ROOT / "fanout" / "log_events.py").read_text(), "")
    put_together = {"dead_letters.replayed", "dead_letters.purged"}
    assert {name for name in NAMES if f'"{name}"' not in code} == put_together


def test_the_schema_is_one() -> None:
    Draft202012Validator(json.loads(LOG_SCHEMA.read_text()))


@pytest.mark.parametrize(
    "line",
    [
        {**PAUSED, "class": "send", "endpoint": "default", "seconds": 1.5, "rate": None, "asked": True, "left_out": 0},
        {**PAUSED, "target": "hub:chat", "seconds": None, "cause": "", "by": "operator"},
        {"event": "lease.taken", "level": "info", **AT, "partition": 3, "fence": 7},
        {"event": "anything", "level": "warning", **AT, "logger": "asyncio", "more": 1},
    ],
)
def test_a_line_as_published_is_good(line: dict[str, object]) -> None:
    assert fault_of(line) == ""


@pytest.mark.parametrize(
    "line",
    [
        {"event": "lease.stolen", "level": "info", **AT},
        {"event": "lease.taken", "level": "warning", **AT, "partition": 3, "fence": 7},
        {"event": "lease.taken", "level": "info", **AT, "partition": "3", "fence": 7},
        {"event": "lease.taken", "level": "info", **AT, "partition": 3},
        {"event": "lease.taken", "level": "info", **AT, "partition": 3, "fence": 7, "user": "u1"},
        {"event": "lease.taken", "level": "info", "partition": 3, "fence": 7},
        {**PAUSED, "class": "send", "target": "hub:chat", "left_out": 0},
    ],
)
def test_a_line_that_is_not_as_published_is_found(line: dict[str, object]) -> None:
    assert fault_of(line)
