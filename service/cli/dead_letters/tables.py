"""Dead letters on a terminal. Pure.

Rule guarded: what others wrote (ids, names, the service's words) is printed without control characters, so that no
message can write on the operator's terminal; in JSON they are escaped, so that it stays what it was.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.cli.trace import plain

_COLUMNS = {"id": "ID", "parkedAt": "PARKED", "reason": "REASON", "status": "STATUS", "attempts": "TRIES", "hub": "HUB"}
_COLUMNS |= {"operation": "OPERATION", "to": "TO", "messageId": "MESSAGE ID"}
_WIDEST = 40  # characters of one column; a name may have a thousand
_FACTS = ("id", "parkedAt", "reason", "status", "attempts", "detail", "hub", "operation", "to", "messageId", "bytes")
_UNREADABLE = "This version cannot read the entry. Its bytes, in base64:"

Group = tuple[str, str]  # reason, hub


def table_of(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give a table of letters with its heading; no lines for none."""
    if not items:
        return []
    rows = [[*_COLUMNS.values()], *([_cell(item.get(name)) for name in _COLUMNS] for item in items)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def whole(document: str) -> list[str]:
    """Give everything about one letter, from its JSON; the message last, as JSON that may be sent again."""
    members = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    message = bytes(members.pop("message", b"null"))
    letter = {name: msgspec.json.decode(value) for name, value in members.items()}
    lines = [f"{name:<10}{plain('' if letter.get(name) is None else letter[name])}".rstrip() for name in _FACTS]
    if message == b"null":
        return [*lines, "", _UNREADABLE, plain(letter.get("entry", ""))]
    return [*lines, "", *json_lines(message)]


def json_lines(text: bytes | str) -> list[str]:
    """Lay JSON out, every number as it was written; what cannot be printed is escaped, which means the same."""
    laid_out = msgspec.json.format(text, indent=2)
    lines = (laid_out if isinstance(laid_out, str) else laid_out.decode()).split("\n")
    return ["".join(c if c.isprintable() else _escaped(c) for c in line) for line in lines]


def tally_of(counts: Counter[Group]) -> list[str]:
    """Give how many there are of each reason and hub, the most first, and the sum."""
    total = sum(counts.values())
    width = len(str(total))
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    reasons = max((len(reason) for (reason, _hub), _count in rows), default=0)
    return [*(f"{n:>{width}}  {reason:<{reasons}}  {hub}".rstrip() for (reason, hub), n in rows), f"{total} in all"]


def group_of(item: Mapping[str, Any]) -> Group:
    """Give what a letter is counted under; a hub that cannot be read is named so."""
    return plain(item["reason"]), "(unreadable)" if item["hub"] is None else plain(item["hub"])


def letters(count: int) -> str:
    """Write a number of letters."""
    return "1 dead letter" if count == 1 else f"{count} dead letters"


def _cell(value: object) -> str:
    text = "-" if value is None else plain(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
