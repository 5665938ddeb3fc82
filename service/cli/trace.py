"""`fanout trace ID`: the life of one message, asked of an ingress, for people.

Rules guarded: what others wrote (ids, the service's words) is printed without control characters, so that no message
can write on the operator's terminal; the exit code tells whether there was something to tell.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from fanout.errors import ConfigurationError
from service.cli.ask import ask

_TIMEOUT = 10.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Asking:
    """Which message to ask whom about; `as_json` prints the answer as it came."""

    url: str
    api_key: str = field(repr=False)
    message_id: str
    as_json: bool


def trace(asking: Asking) -> int:
    """Ask, print, and give the exit code: 0 when there are events, else 1. ConfigurationError without an answer."""
    response = _ask(asking)
    if asking.as_json:
        sys.stdout.write(response.text.rstrip() + "\n")
        return 0 if response.status_code == _OK else 1
    try:
        document = msgspec.json.decode(response.content, type=dict[str, Any])
        lines = story_of(document) if response.status_code == _OK else []
    except (msgspec.DecodeError, LookupError, TypeError):
        raise ConfigurationError(f"{asking.url} answered {response.status_code} and is no fanout ingress.") from None
    if not lines:
        sys.stderr.write(f"fanout: {plain(document.get('detail', response.status_code))}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def story_of(document: Mapping[str, Any]) -> list[str]:
    """Give the lines that tell a trace: the id and when it began (UTC), then one line for each event, seconds since."""
    events: Sequence[Mapping[str, Any]] = document["events"]
    began = events[0]["at"]
    at = datetime.fromtimestamp(began, UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    return [f"{plain(document['messageId'])}  {at} UTC", *(_line(event, event["at"] - began) for event in events)]


def _line(event: Mapping[str, Any], after: float) -> str:
    detail = dict(event["detail"])
    what = detail.pop("admission", event["what"])  # what came of a submission says more than that there was one
    details = "  ".join(f"{plain(name)}={plain(value)}" for name, value in detail.items() if value != "")
    return f"  +{after:.3f} s".ljust(14) + f"{plain(what):<10}{details}".rstrip()


def _ask(asking: Asking) -> httpx.Response:
    name = quote(asking.message_id, safe="").replace(".", "%2E")  # an id may be `..`, and that is no step upwards
    return ask("GET", asking.url, f"/v1/admin/messages/{name}/trace", asking.api_key, timeout=_TIMEOUT)


def plain(value: object) -> str:
    """Give what others wrote without characters that could write on the terminal."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
