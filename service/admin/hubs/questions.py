"""Questions of operators as calls to the service, and its answers. Pure.

Source: docs/sources.md, operations. Rules guarded: 200 and 404 are answers, and every other status is a service that
did not answer the question. A name is checked as it is for delivery, and escaped as one segment.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec
from starlette.datastructures import QueryParams

from fanout.binding.names import check_id
from fanout.errors import BadRequestError
from fanout.signalr.message import Scope
from service.admin.hubs.documents import MAX_PAGE, MAX_TOKEN, Connection, ConnectionList
from service.compat.questions import Answer, Question, ServiceUnavailableError

_API_VERSION: Final = "2024-12-01"  # the oldest that lists connections
_FOUND, _MISSING = 200, 404
_SCOPES: Final = {"connection": Scope.CONNECTION, "user": Scope.USER, "group": Scope.GROUP}
_WHAT: Final = "Name a connection, a user, a group, or a user and a group."


class _Member(msgspec.Struct, rename="camel"):
    connection_id: str
    user_id: str | None = None


class _Page(msgspec.Struct, rename="camel"):
    value: list[_Member]
    next_link: str = ""


_page = msgspec.json.Decoder(_Page)


def existence_of(query: QueryParams, hub: str, application: str) -> Question:
    """Return the question of a query; BadRequestError when it asks for nothing or too much."""
    names = _names_in(query, ("connection", "user", "group"))
    match tuple(names):
        case ("connection",) | ("user",) | ("group",):
            [(kind, name)] = names.items()
            path = f"{kind}s/{_segment(name)}"
        case ("user", "group"):
            path = f"users/{_segment(names['user'])}/groups/{_segment(names['group'])}"
        case _:
            raise BadRequestError(_WHAT)
    return _question("HEAD", hub, path, application, {})


def listing_of(query: QueryParams, hub: str, application: str) -> Question:
    """Return the question for a page of a group's connections; BadRequestError for a query that is none."""
    names = _names_in(query, ("group",), "cursor", "limit")
    if not names:
        raise BadRequestError("Name a group: the service lists the connections of groups alone.")
    limit, cursor = query.get("limit", str(MAX_PAGE)), query.get("cursor", "")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:5]) <= MAX_PAGE):
        raise BadRequestError(f"limit must be a whole number from 1 to {MAX_PAGE}.")
    if len(cursor) > MAX_TOKEN:
        raise BadRequestError("cursor must be the `next` of an earlier answer.")
    more = {"maxpagesize": limit} | ({"continuationToken": cursor} if cursor else {})
    return _question("GET", hub, f"groups/{_segment(names['group'])}/connections", application, more)


def existence_in(answer: Answer) -> bool:
    """Return what the service said; ServiceUnavailableError when it said something else."""
    if answer.status not in (_FOUND, _MISSING):
        raise _unexpected(answer)
    return answer.status == _FOUND


def listing_in(answer: Answer) -> ConnectionList:
    """Return the page that the service answered; ServiceUnavailableError when it answered something else."""
    if answer.status != _FOUND:
        raise _unexpected(answer)
    try:
        page = _page.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ServiceUnavailableError("The SignalR service answered a list that is none.") from None
    token = parse_qs(urlsplit(page.next_link).query).get("continuationToken", [""])[0]
    items = [
        Connection.model_construct(connection_id=each.connection_id, user_id=each.user_id)
        for each in page.value[:MAX_PAGE]
    ]
    return ConnectionList.model_construct(items=items, next=token or None)


def _names_in(query: QueryParams, kinds: tuple[str, ...], *others: str) -> Mapping[str, str]:
    for name in query:
        if name not in (*kinds, *others):
            raise BadRequestError(f"The query may have {', '.join((*kinds, *others))}, and not {name[:40]}.")
        if len(query.getlist(name)) > 1:
            raise BadRequestError(f"The query has more than one {name}.")
    return {kind: check_id(_SCOPES[kind], query[kind]) for kind in kinds if kind in query}


def _segment(name: str) -> str:
    return quote(name, safe="")


def _question(method: str, hub: str, path: str, application: str, more: Mapping[str, str]) -> Question:
    named = {"application": application} if application else {}
    query = urlencode({**more, **named, "api-version": _API_VERSION})
    return Question(method, f"/api/hubs/{quote(hub, safe='')}/{path}", query, {})


def _unexpected(answer: Answer) -> ServiceUnavailableError:
    return ServiceUnavailableError(f"The SignalR service answered the question with {answer.status}.")
