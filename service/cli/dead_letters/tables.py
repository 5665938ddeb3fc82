"""Dead letters as text for a terminal. Pure.

Rule guarded: the message of a letter is printed as JSON that may be sent again, each number as it was written.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fanout.signalr.message import UNNAMED
from service.cli.render import cell, json_lines, plain, table

_COLUMNS = {"id": "ID", "parkedAt": "PARKED", "reason": "REASON", "status": "STATUS", "attempts": "TRIES", "hub": "HUB"}
_COLUMNS |= {"endpoint": "ENDPOINT", "operation": "OPERATION", "to": "TO", "messageId": "MESSAGE ID"}
_FACTS = (
    *("id", "parkedAt", "reason", "status", "attempts", "detail", "hub", "endpoint", "operation", "to", "messageId"),
    "bytes",
)
_UNREADABLE = "This version cannot read the entry. Its bytes, in base64:"

Group = tuple[str, str, str]  # reason, hub, endpoint


def table_of(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of letters with its heading; no lines for no letters."""
    if not items:
        return []
    return table([[*_COLUMNS.values()], *([cell(item.get(name)) for name in _COLUMNS] for item in items)])


def details_of(document: str) -> list[str]:
    """Return everything about one letter, from its JSON; the message comes last, as JSON that may be sent again."""
    members = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    message = bytes(members.pop("message", b"null"))
    letter = {name: msgspec.json.decode(value) for name, value in members.items()}
    lines = [f"{name:<10}{plain('' if letter.get(name) is None else letter[name])}".rstrip() for name in _FACTS]
    if message == b"null":
        return [*lines, "", _UNREADABLE, plain(letter.get("entry", ""))]
    return [*lines, "", *json_lines(message)]


def counts_of(counts: Counter[Group]) -> list[str]:
    """Return the count of each reason, hub and endpoint, largest first, and the sum."""
    total = sum(counts.values())
    width = len(str(total))
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    reasons = max((len(reason) for (reason, _hub, _endpoint), _count in rows), default=0)
    lines = (f"{n:>{width}}  {reason:<{reasons}}  {hub}{_at(endpoint)}" for (reason, hub, endpoint), n in rows)
    return [*(line.rstrip() for line in lines), f"{total} in all"]


def group_of(item: Mapping[str, Any]) -> Group:
    """Return the reason, the hub and the endpoint under which a letter is counted."""
    hub, endpoint = item["hub"], item.get("endpoint") or UNNAMED
    return plain(item["reason"]), "(unreadable)" if hub is None else plain(hub), plain(endpoint)


def _at(endpoint: str) -> str:
    return "" if endpoint == UNNAMED else f" at {endpoint}"


def letters(count: int) -> str:
    """Return a number of letters in words."""
    return "1 dead letter" if count == 1 else f"{count} dead letters"
