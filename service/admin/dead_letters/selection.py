"""Which dead letters are meant: what callers may say about them, and whether one of them fits. Pure.

Rules guarded: nothing is chosen by accident, so a word nobody knows (a misspelt reason, say) is refused instead of
matching nothing or, worse, being passed over; a letter whose entry cannot be read fits no question about its content.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fanout.binding.names import check_hub
from fanout.errors import BadRequestError
from fanout.metrics import DEAD_REASONS
from fanout.queue.dead_letters import UNKNOWN, DeadLetter
from fanout.queue.entry import Entry, UnreadableEntryError, decode

REASONS = (*DEAD_REASONS, UNKNOWN)
MAX_MESSAGE_ID = 1024
_LATEST = 10**14  # milliseconds; the year 5138
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Selection:
    """What has to be true of a letter; None asks nothing. `before` is a unix millisecond it was parked before."""

    hub: str | None = None
    reason: str | None = None
    message_id: str | None = None
    before: int | None = None

    @property
    def empty(self) -> bool:
        """Whether it asks for nothing, and so takes every letter."""
        return self == Selection()

    def takes(self, letter: DeadLetter) -> bool:
        """Tell whether a letter fits; `before` is not looked at, because a walk ends there anyway."""
        if self.reason not in (None, letter.cause.reason):
            return False
        if self.hub is None and self.message_id is None:
            return True
        entry = entry_of(letter)
        return entry is not None and self.hub in (None, entry.hub) and self.message_id in (None, entry.message_id)


def entry_of(letter: DeadLetter) -> Entry | None:
    """Read the entry of a letter; None when this version cannot."""
    try:
        return decode(letter.entry.data)
    except UnreadableEntryError:
        return None


def selection_of(said: dict[str, object]) -> Selection:
    """Read hub, reason, messageId and before, as far as they are said; BadRequestError points at what is wrong."""
    hub, reason, message_id = (_text(said, name) for name in ("hub", "reason", "messageId"))
    before = millisecond_of(said["before"]) if "before" in said else None
    if reason is not None and reason not in REASONS:
        raise BadRequestError(f"reason must be one of {', '.join(REASONS)}.", pointer="/reason")
    if message_id is not None and len(message_id) > MAX_MESSAGE_ID:
        raise BadRequestError(f"messageId may have {MAX_MESSAGE_ID} characters.", pointer="/messageId")
    return Selection(_hub(hub), reason, message_id, before)


def millisecond_of(value: object) -> int:
    """Read a time, unix seconds or ISO 8601 (UTC unless it has an offset), as a unix millisecond, rounded up."""
    millisecond = _number(value) if isinstance(value, int | float) else _text_time(value)
    if millisecond is None or not 0 <= millisecond < _LATEST:
        raise BadRequestError(
            "before must be unix seconds, or a time like 2026-05-04T09:12:33Z (UTC unless it has an offset).",
            pointer="/before",
        )
    return millisecond


def _number(seconds: float) -> int | None:
    if isinstance(seconds, bool) or not 0 <= seconds < _LATEST:
        return None
    return math.ceil(round(seconds * 1000, 3))  # the product may lie a hair above a whole millisecond


def _text_time(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    if _SECONDS.fullmatch(value):
        return _number(float(value))
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    return -(-since // _MILLISECOND)


def _hub(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return check_hub(name)
    except BadRequestError as error:
        raise BadRequestError(str(error), label=error.label, pointer="/hub") from None


def _text(said: dict[str, object], name: str) -> str | None:
    if name not in said:
        return None
    value = said[name]
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"{name} must be a string that is not empty.", pointer=f"/{name}")
    return value
