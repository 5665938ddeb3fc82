"""Text for terminals: foreign text made harmless, JSON laid out, tables. Pure.

Rule guarded: what others wrote (ids, names, texts of the service) is printed without control characters, so no message
can write to the operator's terminal. In JSON they are escaped, so the value stays the same.
"""

from collections.abc import Sequence

import msgspec

_MAX_WIDTH = 40  # characters of one column; a name may have a thousand


def plain(value: object) -> str:
    """Return a value as text in which characters that are not printable are replaced."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def cell(value: object) -> str:
    """Return a value as the cell of a table: `-` for None, cut when it is long."""
    text = "-" if value is None else plain(value)
    return text if len(text) <= _MAX_WIDTH else f"{text[: _MAX_WIDTH - 1]}…"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as aligned lines."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def json_lines(text: bytes | str) -> list[str]:
    """Return JSON laid out in lines, each number as it was written; what is not printable is escaped."""
    laid_out = msgspec.json.format(text, indent=2)
    lines = (laid_out if isinstance(laid_out, str) else laid_out.decode()).split("\n")
    return ["".join(c if c.isprintable() else _escaped(c) for c in line) for line in lines]


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
