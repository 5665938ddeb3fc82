"""Holds what is logged against the definitions of fanout/log_events.py, in every test and in every process.

Rule guarded: a line with an event, a field, a type or a level that is not published fails the test in which it was
written. What a test raises inside the code under test may be caught there, so breaches are collected and told at its
end.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import structlog
from jsonschema_rs import Draft202012Validator

from fanout.log_events import ALWAYS, EVENTS
from tests.documents import LOG_SCHEMA

breaches: list[str] = []
_FIELDS = {
    name: frozenset().union(*(each.field_names for each in EVENTS if name in each.names))
    for event in EVENTS
    for name in event.names
}
_LEVELS = {"warn": "warning", "exception": "error"}
_make_logger = structlog.get_logger


@cache
def _schema() -> Draft202012Validator:
    return Draft202012Validator(json.loads(LOG_SCHEMA.read_text()))


def fault_of(line: Mapping[str, Any]) -> str:
    """Return what is wrong with one line of the log, "" when nothing is."""
    if "logger" not in line:
        unknown = line.keys() - _FIELDS.get(line["event"], frozenset()) - set(ALWAYS)
        if unknown:
            return f"{line}: not published: {sorted(unknown)}"
    return "" if _schema().is_valid(line) else f"{line} is not as the schema says"


def checked(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Return the lines of a process's log among its output, all of which have to be as published."""
    lines = [json.loads(text) for text in texts if text.startswith("{") and text.endswith("}")]
    faults = [fault for fault in map(fault_of, lines) if fault]
    assert not faults, faults
    return lines


class CheckedLogger:
    """A logger that notes what is not published, and writes as the real one does."""

    def __init__(self, **bound: Any) -> None:
        self._logger = _make_logger(**bound)

    def __getattr__(self, method: str) -> Any:
        write = getattr(self._logger, method)

        def checked_write(event: str, *args: Any, **fields: Any) -> Any:
            # As it is written: what is not JSON becomes text, which is what the schema has to admit.
            line = json.loads(json.dumps(fields, default=str))
            level = _LEVELS.get(method, method)
            fault = fault_of({**line, "event": event, "level": level, "timestamp": "2027-01-15T08:00:00Z"})
            if fault:
                breaches.append(fault)
            return write(event, *args, **fields)

        return checked_write
