"""Questions of operators as calls to the service, and its answers. Pure.

Source: docs/sources.md, operations. Rules guarded: 200 and 404 are answers, and every other status is a service that
did not answer the question. A name is checked as it is for delivery, and escaped as one segment. Where an endpoint did
not answer, no is not the answer. Endpoints are listed one after the other, so a cursor of several names one of them.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec
from starlette.datastructures import QueryParams

from fanout.binding.names import check_id
from fanout.errors import BadRequestError
from fanout.signalr.endpoints import key_named
from fanout.signalr.message import Scope, label_of
from service.admin.hubs.documents import MAX_PAGE, MAX_TOKEN, Connection, ConnectionList, Existence
from service.compat.questions import Answer, Question, ServiceUnavailableError

_API_VERSION: Final = "2024-12-01"  # the oldest that lists connections
_FOUND, _MISSING = 200, 404
_SCOPES: Final = {"connection": Scope.CONNECTION, "user": Scope.USER, "group": Scope.GROUP}
_OF_ENDPOINT: Final = ":"  # no name of an endpoint has this
_CURSOR: Final = "cursor must be the `next` of an earlier answer."
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
    names = _names_in(query, ("connection", "user", "group"), "endpoint")
    match tuple(names):
        case ("connection",) | ("user",) | ("group",):
            [(kind, name)] = names.items()
            path = f"{kind}s/{_segment(name)}"
        case ("user", "group"):
            path = f"users/{_segment(names['user'])}/groups/{_segment(names['group'])}"
        case _:
            raise BadRequestError(_WHAT)
    return _question("HEAD", hub, path, application, {})


def listing_of(query: QueryParams, token: str, hub: str, application: str) -> Question:
    """Return the question for a page of a group's connections, that at `token`; BadRequestError for a wrong query."""
    names = _names_in(query, ("group",), "cursor", "limit", "endpoint")
    if not names:
        raise BadRequestError("Name a group: the service lists the connections of groups alone.")
    limit = query.get("limit", str(MAX_PAGE))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:5]) <= MAX_PAGE):
        raise BadRequestError(f"limit must be a whole number from 1 to {MAX_PAGE}.")
    if len(token) > MAX_TOKEN:
        raise BadRequestError(_CURSOR)
    more = {"maxpagesize": limit} | ({"continuationToken": token} if token else {})
    return _question("GET", hub, f"groups/{_segment(names['group'])}/connections", application, more)


def chosen_of(name: str | None, endpoints: Sequence[str], *, pointer: str = "") -> Sequence[str]:
    """Return the keys of what is asked or closed: the endpoint of this name, or every one without a name."""
    if name is None:
        return endpoints
    try:
        return (key_named(name, endpoints),)
    except ValueError as error:
        raise BadRequestError(str(error), pointer=pointer) from None


def existence_in(answers: Mapping[str, Answer | ServiceUnavailableError]) -> Existence:
    """Return what the endpoints said, by key; ServiceUnavailableError where nothing can be said for all of them."""
    found: list[str] = []
    problems: dict[str, str] = {}
    for key, answer in answers.items():
        if isinstance(answer, ServiceUnavailableError):
            problems[label_of(key)] = str(answer)
        elif answer.status not in (_FOUND, _MISSING):
            problems[label_of(key)] = str(_unexpected(answer))
        elif answer.status == _FOUND:
            found.append(label_of(key))
    if problems and not found:
        named = [text if len(answers) == 1 else f"{label}: {text}" for label, text in problems.items()]
        raise ServiceUnavailableError(" ".join(named))
    return Existence.model_construct(exists=bool(found), endpoints=found, unanswered=[*problems])


def place_of_cursor(cursor: str, keys: Sequence[str]) -> tuple[str, str]:
    """Return which endpoint a page is asked of, and the token that it begins at."""
    if len(keys) == 1 or not cursor:
        return keys[0], cursor
    name, _colon, token = cursor.partition(_OF_ENDPOINT)
    if name not in map(label_of, keys):
        raise BadRequestError(_CURSOR)
    return key_named(name, keys), token


def cursor_after(key: str, token: str | None, keys: Sequence[str]) -> str | None:
    """Return the cursor of the next page: at the token of this endpoint, or where the endpoint after it begins."""
    if len(keys) == 1:
        return token
    if token:
        return f"{label_of(key)}{_OF_ENDPOINT}{token}"
    later = keys[keys.index(key) + 1 :]
    return f"{label_of(later[0])}{_OF_ENDPOINT}" if later else None


def listing_in(answer: Answer, key: str) -> ConnectionList:
    """Return the page that an endpoint answered; ServiceUnavailableError when it answered something else."""
    if answer.status != _FOUND:
        raise _unexpected(answer)
    try:
        page = _page.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ServiceUnavailableError("The SignalR service answered a list that is none.") from None
    token = parse_qs(urlsplit(page.next_link).query).get("continuationToken", [""])[0]
    items = [
        Connection.model_construct(connection_id=each.connection_id, user_id=each.user_id, endpoint=label_of(key))
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
