"""Which REST call an item becomes. Pure: values in, a route out.

Source: the data-plane OpenAPI files, api-version 2022-06-01. Rule guarded: the path is escaped once, here, and both the
request line and the token's audience are made of the same bytes (contract 3.1); the audience carries no query.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from fanout.signalr.message import CloseConnections, GroupAction, Item, Message, Scope, Verb

API_VERSION = "2022-06-01"
_SCOPE_PATH = {Scope.USER: "users", Scope.GROUP: "groups", Scope.CONNECTION: "connections"}


@dataclass(frozen=True, slots=True)
class Route:
    """One call: `path` starts with /api/hubs/ and is percent-escaped; `query` has no leading question mark."""

    method: str
    path: str
    query: str

    @property
    def target(self) -> str:
        """What stands in the request line."""
        return f"{self.path}?{self.query}"


def route_of(hub: str, item: Item, *, api_version: str = API_VERSION, application: str = "") -> Route:
    """Name the call that delivers `item` to `hub`; both names are lower-cased as the vendor's SDK does."""
    root = f"/api/hubs/{_segment(hub.lower())}"
    common = (("application", application.lower()),) if application else ()
    common = (*common, ("api-version", api_version))
    method, rest, extra = _call_of(item)
    return Route(method, root + rest, _query((*common, *extra)))


def _call_of(item: Item) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    match item:
        case Message():
            return "POST", f"{_address(item.scope, item.to)}/:send", _excluded(item.excluded)
        case GroupAction():
            return _membership(item)
        case CloseConnections(scope=Scope.CONNECTION):
            return "DELETE", _address(item.scope, item.to), _reason(item.reason)
        case CloseConnections():
            extra = (*_excluded(item.excluded), *_reason(item.reason))
            return "POST", f"{_address(item.scope, item.to)}/:closeConnections", extra


def _membership(action: GroupAction) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    member = _address(action.member_scope, action.member)
    if action.verb is Verb.REMOVE_ALL:
        return "DELETE", f"{member}/groups", ()
    method = "PUT" if action.verb is Verb.ADD else "DELETE"
    if action.member_scope is Scope.CONNECTION:
        return method, f"{_address(Scope.GROUP, action.group)}{member}", ()
    ttl = () if action.ttl is None else (("ttl", str(action.ttl)),)
    return method, f"{member}{_address(Scope.GROUP, action.group)}", ttl


def _address(scope: Scope, name: str) -> str:
    return "" if scope is Scope.BROADCAST else f"/{_SCOPE_PATH[scope]}/{_segment(name)}"


def _segment(text: str) -> str:
    return quote(text, safe="")


def _excluded(ids: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple(("excluded", connection_id) for connection_id in ids)


def _reason(reason: str) -> tuple[tuple[str, str], ...]:
    return (("reason", reason),) if reason else ()


def _query(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
