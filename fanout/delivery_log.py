"""The line of each settled delivery, written cheaply enough to keep it on at full load.

Rules guarded: one wide line per delivery, and when there are more than a log can bear, a sample that says so itself
(`sampled`: how many it stands for); what did not go well is never left out. Lines of one turn of the event loop are
written together. The fields are the service's own words and ids, no secrets, so the masks of log.py need not read them.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from fanout.clock import Clock

_FULL_RATE = 500  # lines a second that are all written
_SAMPLE = 100  # past them, one in so many


def open_ledger(event: str, clock: Clock, *, level: str, style: str) -> "Ledger | None":
    """Give where lines of `event` are entered in a process that logs JSON; None where people read the log."""
    if style != "json":
        return None
    return Ledger(event, clock, _write if level in {"debug", "info"} else None)


def _write(lines: bytes) -> None:
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()


class Ledger:
    """Writes lines of one event. `write` takes bytes; None keeps nothing (the level is above info)."""

    def __init__(self, event: str, clock: Clock, write: Callable[[bytes], object] | None) -> None:
        self._event = event
        self._clock = clock
        self._write = write
        self._lines: list[bytes] = []
        self._second = 0
        self._count = 0

    @property
    def on(self) -> bool:
        """Whether lines are kept at all."""
        return self._write is not None

    def wants(self, *, important: bool) -> int:
        """Say for how many events the next line would stand; 0 when it is left out. `important` ones are all kept."""
        if self._write is None:
            return 0
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        if important or self._count <= _FULL_RATE:
            return 1
        return _SAMPLE if self._count % _SAMPLE == 0 else 0

    def enter(self, fields: Mapping[str, Any], stands_for: int = 1) -> None:
        """Write one line, soon."""
        line = dict(fields, event=self._event, level="info")
        if stands_for > 1:
            line["sampled"] = stands_for
        line["timestamp"] = datetime.fromtimestamp(self._clock.wall(), UTC)
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what is waiting."""
        lines, self._lines = self._lines, []
        if lines and self._write is not None:
            self._write(b"".join(lines))
