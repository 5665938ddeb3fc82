"""What a caller asks for, read strictly: the query of a list, the body of a replay or a purge. Pure.

Rule guarded: nothing is sent again or deleted by accident. Ids, or a filter, or `all` in so many words: an empty body
names nothing and is refused, and so is a member nobody knows, which may be a filter that was misspelt.
"""

import re
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from fanout.errors import BadRequestError
from service.admin.dead_letters.reference import Bookmark, Place, bookmark_of, place_of
from service.admin.dead_letters.selection import Selection, selection_of
from service.http.json_object import enumerated, object_of

LIST_LIMIT, MAX_LIST = 100, 1000
MAX_LETTERS = 10_000  # of one replay or purge
MAX_IDS = 1000
FILTERS = ("hub", "reason", "messageId", "before")
MEMBERS = ("ids", *FILTERS, "all", "dryRun", "limit", "cursor")
_LISTED = (*FILTERS, "limit", "cursor")
_WHOLE = re.compile(r"[0-9]{1,9}")
_NOTHING = 'Nothing is named. Send {"ids":[...]}, or some of hub, reason, messageId and before, or {"all":true}.'


@dataclass(frozen=True, slots=True)
class Order:
    """Which letters, at most how many, and from where on; `ids` excludes a selection; `dry` only counts."""

    selection: Selection
    limit: int
    start: Bookmark
    ids: tuple[Place, ...] | None = None
    dry: bool = False


def listing_of(query: QueryParams) -> Order:
    """Read the query of a list; BadRequestError says which parameter is wrong."""
    said: dict[str, object] = {}
    for name, value in query.multi_items():
        if name not in _LISTED:
            raise BadRequestError(f"The query may have {enumerated(_LISTED)}, nothing else.")
        if name in said:
            raise BadRequestError(f"Name one {name} in the query.")
        said[name] = int(value) if name == "limit" and _WHOLE.fullmatch(value) else value
    try:
        selection, start = selection_of(said), _start(said)
        return Order(selection, _limit(said, LIST_LIMIT, MAX_LIST), _bounded(start, selection))
    except BadRequestError as error:  # a JSON pointer leads into a body, and there is none
        raise BadRequestError(str(error), label=error.label) from None


def order_of(body: bytes) -> Order:
    """Read the body of a replay or a purge; BadRequestError points at the place that is wrong."""
    said = _object(body)
    selection, limit, start = selection_of(said), _limit(said, MAX_LETTERS, MAX_LETTERS), _start(said)
    everything, dry = _flag(said, "all"), _flag(said, "dryRun")
    ids = _ids(said["ids"]) if "ids" in said else None
    if ids is not None and not (selection.empty and "all" not in said and "cursor" not in said):
        raise BadRequestError("ids name the letters: a filter, all or a cursor cannot stand beside them.")
    if everything and not selection.empty:
        raise BadRequestError("Say all or a filter, not both.", pointer="/all")
    if ids is None and selection.empty and not everything:
        raise BadRequestError(_NOTHING)
    return Order(selection, limit, _bounded(start, selection), ids, dry)


def _bounded(start: Bookmark, selection: Selection) -> Bookmark:
    bounds = [bound for bound in (start.before, selection.before) if bound is not None]
    return Bookmark(start.after, min(bounds, default=None))


def _object(body: bytes) -> dict[str, object]:
    if not body.strip():
        raise BadRequestError(f"The body is empty. {_NOTHING}")
    return object_of(body, MEMBERS, "an object")


def _ids(value: object) -> tuple[Place, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_IDS:
        raise BadRequestError(f"ids must be an array of 1 to {MAX_IDS} ids.", pointer="/ids")
    places = set()
    for index, text in enumerate(value):
        place = place_of(text) if isinstance(text, str) else None
        if place is None:
            raise BadRequestError("An id is <partition>:<stream id>, as a list gives it.", pointer=f"/ids/{index}")
        places.add(place)
    return tuple(sorted(places))


def _limit(said: dict[str, object], usual: int, most: int) -> int:
    value = said.get("limit", usual)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadRequestError(f"limit must be a whole number from 1 to {most}.", pointer="/limit")
    return value


def _start(said: dict[str, object]) -> Bookmark:
    if "cursor" not in said:
        return Bookmark()
    value = said["cursor"]
    bookmark = bookmark_of(value) if isinstance(value, str) else None
    if bookmark is None:
        raise BadRequestError("cursor must be the `next` of an earlier answer.", pointer="/cursor")
    return bookmark


def _flag(said: dict[str, object], name: str) -> bool:
    value = said.get(name, False)
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} must be true or false.", pointer=f"/{name}")
    return value
