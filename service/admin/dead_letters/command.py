"""What a caller asks for, parsed strictly: the query of a list, the body of a replay or a purge. Pure.

Rules guarded: nothing is replayed or deleted by accident. A command names ids, or a filter, or `all` explicitly; an
empty body is refused. So are unknown members and unknown reasons, because they may be a misspelt filter. A letter whose
entry cannot be read matches no filter on its content.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.datastructures import QueryParams

from fanout.binding.names import check_hub
from fanout.errors import BadRequestError
from fanout.metrics import DEAD_REASONS
from fanout.queue.dead_letters import UNKNOWN, DeadLetter
from fanout.queue.entry import Entry, UnreadableEntryError, decode, with_body
from fanout.queue.keys import hub_and_endpoint, hub_of_flow
from fanout.signalr.endpoints import check_endpoint_name
from fanout.signalr.message import UNNAMED, recipient_of
from service.admin.dead_letters.reference import Cursor, LetterRef, last_before, parse_cursor, parse_ref
from service.http.json_object import enumerated, object_of

REASONS = (*DEAD_REASONS, UNKNOWN)
LIST_LIMIT, MAX_LIST = 100, 1000
MAX_LETTERS = 10_000  # in one replay or purge
MAX_IDS = 1000
MAX_MESSAGE_ID = 1024
MAX_NAME = 1024  # characters of a user, group or connection
FILTERS = ("hub", "endpoint", "reason", "to", "messageId", "since", "before")
MEMBERS = ("ids", *FILTERS, "all", "dryRun", "limit", "cursor")
_QUERY_NAMES = (*FILTERS, "limit", "cursor")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_LATEST = 10**14  # milliseconds; the year 5138
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NOTHING_NAMED = f'Nothing is named. Send {{"ids":[...]}}, or some of {enumerated(FILTERS)}, or {{"all":true}}.'


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions on a letter; None means any.

    `to` is the user, group or connection that its message is for, or the member of a group action. `since` and `before`
    are the unix milliseconds between which it was parked; the second is not part of it. `endpoint` is a key, "" for the
    endpoint without a name.
    """

    hub: str | None = None
    reason: str | None = None
    message_id: str | None = None
    before: int | None = None
    to: str | None = None
    since: int | None = None
    endpoint: str | None = None

    @property
    def empty(self) -> bool:
        """Whether it has no condition and so matches every letter."""
        return self == Selection()

    def matches(self, letter: DeadLetter) -> bool:
        """Return whether a letter matches. Its time is not tested, because the scan begins and ends there."""
        if self.reason not in (None, letter.cause.reason):
            return False
        if (self.hub, self.to, self.message_id, self.endpoint) == (None,) * 4:
            return True
        entry = entry_of(letter)
        return (
            entry is not None
            and self.hub in (None, entry.hub)
            and self.endpoint in (None, entry.endpoint)
            and self.to in (None, recipient_of(entry.item))
            and self.message_id in (None, entry.message_id)
        )


@dataclass(frozen=True, slots=True)
class Command:
    """Which letters, at most how many, and from where on. With `ids` the selection is empty; `dry` only counts."""

    selection: Selection
    limit: int
    start: Cursor
    ids: tuple[LetterRef, ...] | None = None
    dry: bool = False


def entry_of(letter: DeadLetter) -> Entry | None:
    """Decode the entry of a letter; None when this version cannot."""
    try:
        entry = decode(letter.entry.data, *hub_and_endpoint(hub_of_flow(letter.flow)))
    except UnreadableEntryError:
        return None
    return with_body(entry, letter.body) if letter.body else entry


def parse_query(query: QueryParams) -> Command:
    """Parse the query of a list; BadRequestError names the parameter that is wrong."""
    given: dict[str, object] = {}
    for name, value in query.multi_items():
        if name not in _QUERY_NAMES:
            raise BadRequestError(f"The query may have {enumerated(_QUERY_NAMES)}, nothing else.")
        if name in given:
            raise BadRequestError(f"The query has more than one {name}.")
        given[name] = int(value) if name == "limit" and _WHOLE_NUMBER.fullmatch(value) else value
    try:
        selection, start = parse_selection(given), _start(given)
        return Command(selection, _limit(given, LIST_LIMIT, MAX_LIST), _bounded(start, selection))
    except BadRequestError as error:  # a query has no body that a JSON pointer could point into
        raise BadRequestError(str(error), label=error.label) from None


def parse_command(body: bytes) -> Command:
    """Parse the body of a replay or a purge; BadRequestError points at the place that is wrong."""
    given = _object(body)
    selection, limit, start = parse_selection(given), _limit(given, MAX_LETTERS, MAX_LETTERS), _start(given)
    everything, dry = _flag(given, "all"), _flag(given, "dryRun")
    ids = _ids(given["ids"]) if "ids" in given else None
    if ids is not None and not (selection.empty and "all" not in given and "cursor" not in given):
        raise BadRequestError("ids cannot be combined with a filter, all or a cursor.")
    if everything and not selection.empty:
        raise BadRequestError("Send all or a filter, not both.", pointer="/all")
    if ids is None and selection.empty and not everything:
        raise BadRequestError(_NOTHING_NAMED)
    return Command(selection, limit, _bounded(start, selection), ids, dry)


def parse_selection(given: dict[str, object]) -> Selection:
    """Parse the filters that are given; BadRequestError points at what is wrong."""
    hub, reason, to, message_id = (_text(given, name) for name in ("hub", "reason", "to", "messageId"))
    since, before = (parse_time(given[name], name) if name in given else None for name in ("since", "before"))
    if reason is not None and reason not in REASONS:
        raise BadRequestError(f"reason must be one of {', '.join(REASONS)}.", pointer="/reason")
    if message_id is not None and len(message_id) > MAX_MESSAGE_ID:
        raise BadRequestError(f"messageId may have at most {MAX_MESSAGE_ID} characters.", pointer="/messageId")
    if to is not None and len(to) > MAX_NAME:
        raise BadRequestError(f"to may have at most {MAX_NAME} characters.", pointer="/to")
    return Selection(_hub(hub), reason, message_id, before, to, since, _endpoint(_text(given, "endpoint")))


def parse_time(value: object, name: str = "before") -> int:
    """Parse unix seconds or ISO 8601 (UTC unless it has an offset) into a unix millisecond, rounded up."""
    millisecond = _from_seconds(value) if isinstance(value, int | float) else _from_text(value)
    if millisecond is None or not 0 <= millisecond < _LATEST:
        raise BadRequestError(
            f"{name} must be unix seconds, or a time like 2026-05-04T09:12:33Z (UTC unless it has an offset).",
            pointer=f"/{name}",
        )
    return millisecond


def _from_seconds(seconds: float) -> int | None:
    if isinstance(seconds, bool) or not 0 <= seconds < _LATEST:
        return None
    return math.ceil(round(seconds * 1000, 3))  # without rounding, the product may exceed a whole millisecond slightly


def _from_text(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    if _SECONDS.fullmatch(value):
        return _from_seconds(float(value))
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    return -(-since // _MILLISECOND)


def _bounded(start: Cursor, selection: Selection) -> Cursor:
    bounds = [bound for bound in (start.before, selection.before) if bound is not None]
    after = start.after if selection.since is None else max(start.after, last_before(selection.since))
    return Cursor(after, min(bounds, default=None))


def _object(body: bytes) -> dict[str, object]:
    if not body.strip():
        raise BadRequestError(f"The body is empty. {_NOTHING_NAMED}")
    return object_of(body, MEMBERS, "an object")


def _ids(value: object) -> tuple[LetterRef, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_IDS:
        raise BadRequestError(f"ids must be an array of 1 to {MAX_IDS} ids.", pointer="/ids")
    refs = set()
    for index, text in enumerate(value):
        ref = parse_ref(text) if isinstance(text, str) else None
        if ref is None:
            raise BadRequestError("An id has the form <partition>:<stream id>, as in a list.", pointer=f"/ids/{index}")
        refs.add(ref)
    return tuple(sorted(refs))


def _limit(given: dict[str, object], default: int, maximum: int) -> int:
    value = given.get("limit", default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise BadRequestError(f"limit must be a whole number from 1 to {maximum}.", pointer="/limit")
    return value


def _start(given: dict[str, object]) -> Cursor:
    if "cursor" not in given:
        return Cursor()
    value = given["cursor"]
    cursor = parse_cursor(value) if isinstance(value, str) else None
    if cursor is None:
        raise BadRequestError("cursor must be the `next` of an earlier answer.", pointer="/cursor")
    return cursor


def _flag(given: dict[str, object], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} must be true or false.", pointer=f"/{name}")
    return value


def _hub(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return check_hub(name)
    except BadRequestError as error:
        raise BadRequestError(str(error), label=error.label, pointer="/hub") from None


def _endpoint(name: str | None) -> str | None:
    # It need not be configured: letters outlive their endpoint.
    if name is None or name.lower() == UNNAMED:
        return None if name is None else ""
    try:
        return check_endpoint_name(name).lower()
    except ValueError as error:
        raise BadRequestError(f"{error}.", pointer="/endpoint") from None


def _text(given: dict[str, object], name: str) -> str | None:
    if name not in given:
        return None
    value = given[name]
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"{name} must be a non-empty string.", pointer=f"/{name}")
    return value
