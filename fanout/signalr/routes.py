"""Maps an item, or several messages for one destination, to its REST call. Pure: values in, a route out.

Source: docs/sources.md, operations and rest-tokens. Rules guarded: the path is escaped once, here, and the request line
and the audience of the token are made of the same bytes. The audience carries no query. A user id in a filter is an
OData string and cannot end it. A hub may be written `application/hub`, where a call names an application of its own:
no name of a hub holds a slash.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb

ApiVersion = Literal["2022-06-01", "2022-11-01", "2023-07-01", "2024-12-01"]
API_VERSION: ApiVersion = "2022-06-01"
EXECUTE_API_VERSION = "2023-07-01"  # the oldest that has it
_STREAMS_API_VERSION = "2024-12-01"  # the oldest that has them
_SCOPE_PATH = {Scope.USER: "users", Scope.GROUP: "groups", Scope.CONNECTION: "connections"}


@dataclass(frozen=True, slots=True)
class Route:
    """One call: `path` starts with /api/hubs/ and is percent-escaped; `query` has no leading question mark."""

    method: str
    path: str
    query: str
    has_body: bool = False

    @property
    def target(self) -> str:
        """The target of the request line."""
        return f"{self.path}?{self.query}"


def route_of(hub: str, item: Item, *, api_version: str = API_VERSION, application: str = "") -> Route:
    """Return the call that delivers `item` to `hub`. Names of hubs and applications are lower-cased, as in the SDK."""
    own, named, hub = hub.rpartition("/")
    application = own if named else application
    root = f"/api/hubs/{_segment(hub.lower())}"
    common = (("application", application.lower()),) if application else ()
    if isinstance(item, Message) and item.stream:
        api_version = max(api_version, _STREAMS_API_VERSION)  # dates, so they compare as text
    common = (*common, ("api-version", api_version))
    method, rest, extra = _call_of(item)
    has_body = isinstance(item, Message) and bool(item.body or not item.stream)
    return Route(method, root + rest, _query((*common, *extra)), has_body)


def execute_route(hub: str, scope: Scope, to: str, *, api_version: str = EXECUTE_API_VERSION) -> Route:
    """Return the call that runs commands for everybody or for one user; ValueError for a group or a connection.

    The route takes no `application`: a hub that has one is named `<application>_<hub>`.
    """
    if scope not in {Scope.BROADCAST, Scope.USER}:
        raise ValueError(f":execute has no known filter for a {scope.value}.")
    chosen = (("filter", f"userId eq {_odata_string(to)}"),) if scope is Scope.USER else ()
    path = f"/api/hubs/{_segment(hub.lower())}/:execute"
    return Route("POST", path, _query((("api-version", api_version), *chosen)), has_body=True)


def execute_body(bodies: Sequence[bytes]) -> bytes:
    """Return the body that sends messages in the order of `bodies`, which are REST bodies as in `Message.body`."""
    commands = b",".join([b'{"type":"SendMessage","message":%b}' % body for body in bodies])
    return b"[%b]" % commands


def _odata_string(text: str) -> str:
    """Return an OData string literal: an apostrophe is doubled (OData 4.01 URL conventions, 5.1.1.6.1)."""
    return "'" + text.replace("'", "''") + "'"


def _call_of(item: Item) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    match item:
        case Message() if item.stream:
            return _stream_call(item)
        case Message():
            return "POST", f"{_destination_path(item.scope, item.to)}/:send", _excluded(item.excluded)
        case GroupAction():
            return _membership(item)
        case CloseConnections(scope=Scope.CONNECTION):
            return "DELETE", _destination_path(item.scope, item.to), _reason(item.reason)
        case CloseConnections():
            extra = (*_excluded(item.excluded), *_reason(item.reason))
            return "POST", f"{_destination_path(item.scope, item.to)}/:closeConnections", extra


def _stream_call(item: Message) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    path = f"{_destination_path(item.scope, item.to)}/streams/{_segment(item.stream)}"
    if item.body:
        return "POST", f"{path}/:send", () if item.completion is None else (("completed", "true"),)
    # The published name is `reason`, the vendor's SDK sends `error`: a service reads the one it knows.
    reason = item.completion or ""
    return "POST", f"{path}/:complete", (("reason", reason), ("error", reason)) if reason else ()


def _membership(action: GroupAction) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    member = _destination_path(action.member_scope, action.member)
    if action.verb is Verb.REMOVE_ALL:
        return "DELETE", f"{member}/groups", ()
    method = "PUT" if action.verb is Verb.ADD else "DELETE"
    if action.member_scope is Scope.CONNECTION:
        return method, f"{_destination_path(Scope.GROUP, action.group)}{member}", ()
    ttl = () if action.ttl is None else (("ttl", str(action.ttl)),)
    return method, f"{member}{_destination_path(Scope.GROUP, action.group)}", ttl


def _destination_path(scope: Scope, name: str) -> str:
    return "" if scope is Scope.BROADCAST else f"/{_SCOPE_PATH[scope]}/{_segment(name)}"


def _segment(text: str) -> str:
    return quote(text, safe="")


def _excluded(ids: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple(("excluded", connection_id) for connection_id in ids)


def _reason(reason: str) -> tuple[tuple[str, str], ...]:
    return (("reason", reason),) if reason else ()


def _query(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
