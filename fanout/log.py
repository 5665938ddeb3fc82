"""Structured logs: one event per line, JSON for machines, colours for people.

Rule guarded: secrets never reach a log. A field whose name means a secret is masked whatever its value. Anything that
looks like an access key, a bearer token or a password in a URL is masked wherever it occurs.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from fanout.clock import Clock

MASK = "***"
_SECRET_NAMES = frozenset(
    {"token", "authorization", "access_key", "api_key", "password", "connection_string", "secret"}
)
# A word of prose, as in "a bearer token.": letters of one case, too few for a key, and nothing of a token behind them.
_PLAIN_WORD = r"[A-Z]?[a-z]{1,14}(?![\w\-~+/=])(?!\.[\w\-~+/=])"
_SHAPES = (
    (re.compile(r"(AccessKey|ClientSecret)=[^;\s]+", re.IGNORECASE), rf"\1={MASK}"),
    (re.compile(r"(authorization\W+(?:b\W)?bearer\s+)[\w\-.~+/=]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(rf"((?i:bearer)\s+)(?!{_PLAIN_WORD})[\w\-.~+/=]+"), rf"\1{MASK}"),
    (re.compile(r"eyJ[\w\-]+\.[\w\-]+\.[\w\-]+"), MASK),
    (re.compile(r"([?&]\w*password=)[^&\s]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\b\w+://[^:/@\s]*):\S*@"), rf"\1:{MASK}@"),
)

Logger = FilteringBoundLogger


def masked(text: str) -> str:
    """Return `text` with everything that looks like a secret replaced."""
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def configure(*, level: str, style: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process; `style` is json or console. The logs of libraries use the same output."""
    target = stream or sys.stderr
    numeric = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=target.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    _capture_libraries(numeric, shared, renderer, target)


def get_logger(**bound: Any) -> Logger:
    """Return a logger that adds `bound` to each line."""
    return cast("Logger", structlog.get_logger(**bound))


def get_audit_logger() -> Logger:
    """Return the logger of the audit log, whose lines can be told apart and are written whatever the level is."""
    bound = structlog.make_filtering_bound_logger(logging.INFO)
    return cast("Logger", structlog.wrap_logger(None, wrapper_class=bound, stream="audit"))


class LimitedWarnings:
    """Warnings of which one of each kind is written per interval; the next one says how many were left out.

    Kinds must be a closed set: each is remembered.
    """

    def __init__(self, log: Logger, clock: Clock, interval: float = 10.0) -> None:
        self._log = log
        self._clock = clock
        self._interval = interval
        self._written: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def warn(self, event: str, kind: str, **fields: Any) -> None:
        """Write a warning, or count it if one of its kind was written a moment ago."""
        key, now = (event, kind), self._clock.monotonic()
        if now - self._written.get(key, float("-inf")) < self._interval:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return
        self._written[key] = now
        self._log.warning(event, **fields, left_out=self._left_out.pop(key, 0))


def _capture_libraries(level: int, shared: list[Processor], renderer: Processor, target: TextIO) -> None:
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    for name, value in event.items():
        event[name] = _safe(name, value)
    return event


def _safe(name: object, value: Any) -> Any:
    if isinstance(name, str) and name.lower() in _SECRET_NAMES:
        return MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _safe(key, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe("", inner) for inner in value]
    return masked(str(value))


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
