"""One log line per settled delivery, cheap enough to stay on at full load.

Rules guarded: up to a fixed number of lines per second every delivery has its own line. Above it the log is a sample,
and each sampled line says how many deliveries it stands for (`sampled`). Anything that did not go well is always
written. The fields are ids and words of this service and hold no secrets, so they skip the masking of log.py. Lines of
one turn of the event loop are written together.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from fanout.clock import Clock

_UNSAMPLED_PER_SECOND = 500
_SAMPLE_INTERVAL = 100  # above that rate one line in this many is written


def open_delivery_log(event: str, clock: Clock, *, level: str, style: str) -> "DeliveryLog | None":
    """Return the log for lines of `event`, or None when logs are written for people instead of machines."""
    if style != "json":
        return None
    return DeliveryLog(event, clock, _write if level in {"debug", "info"} else None)


def _write(lines: bytes) -> None:
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()


class DeliveryLog:
    """Lines of one event. `output` receives the bytes; None disables the log (its level is above info)."""

    def __init__(self, event: str, clock: Clock, output: Callable[[bytes], object] | None) -> None:
        self._event = event
        self._clock = clock
        self._output = output
        self._lines: list[bytes] = []
        self._second = 0
        self._count = 0

    def sample(self, *, important: bool) -> int:
        """Return for how many events the next line would stand, 0 to leave it out. `important` events are all kept."""
        if self._output is None:
            return 0
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        if important or self._count <= _UNSAMPLED_PER_SECOND:
            return 1
        return _SAMPLE_INTERVAL if self._count % _SAMPLE_INTERVAL == 0 else 0

    def write(self, fields: Mapping[str, Any], stands_for: int = 1) -> None:
        """Queue one line; it is written before the event loop waits again."""
        line = dict(fields, event=self._event, level="info")
        if stands_for > 1:
            line["sampled"] = stands_for
        line["timestamp"] = datetime.fromtimestamp(self._clock.wall(), UTC)
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write the queued lines."""
        lines, self._lines = self._lines, []
        if lines and self._output is not None:
            self._output(b"".join(lines))
