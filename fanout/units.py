"""Durations and sizes as people write them: `10m`, `500ms`, `16MiB`. Pure.

Rule guarded: a number that has a unit says so wherever it is read or shown. A bare number still means seconds, or
bytes. `Unit` is the marker that a setting carries in its type; the documents take it from there.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)?", re.ASCII)
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?", re.ASCII | re.IGNORECASE)
_BYTES = {"gib": 1024**3, "mib": 1024**2, "kib": 1024, "b": 1}


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts, in the plural."""

    name: str


def parse_duration(value: object) -> object:
    """Return the seconds of a text like `600`, `10m` or `1h`; ValueError says what is allowed. Numbers pass."""
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise ValueError("must be a duration: seconds (600), or a number with a unit (500ms, 30s, 10m, 1h, 7d)")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit that divides it: `10m`, `90s`, `200ms`."""
    for unit, size in _SECONDS.items():
        if seconds >= size and round(seconds / size, 6).is_integer():
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def parse_size(value: object) -> object:
    """Return the bytes of a text like `65536`, `64KiB` or `16MiB`; ValueError says what is allowed. Numbers pass."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError("must be a size: bytes (65536), or a number with a unit (64KiB, 16MiB, 1GiB)")
    return int(found[1]) * _BYTES[(found[2] or "B").lower()]


def format_size(count: int) -> str:
    """Return a size in the largest unit that divides it: `16MiB`, `1000000`."""
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)


DURATION, SIZE = Unit("duration"), Unit("bytes")
Duration = Annotated[float, BeforeValidator(parse_duration), DURATION]
Size = Annotated[int, BeforeValidator(parse_size), SIZE]
