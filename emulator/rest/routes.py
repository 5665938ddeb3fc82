"""The table of REST operations: which method and path under a hub is which, and since which api-version.

What is between two slashes on the wire is one name, whatever it decodes to. No path of the service offers both a
literal and a name at the same place, so the search never has to go back. Group membership is offered with the user and
with the group in front, and GET wherever HEAD asks for existence: released SDKs use all of them.
Source: docs/sources.md, operations and names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from emulator.rest import connections, sends
from emulator.rest.request import Operation

T = TypeVar("T")
_CONNECTION = "connections/{connection}"
_USER = "users/{user}"
_GROUP = "groups/{group}"
_STREAM = _CONNECTION + "/streams/{stream}"
_CLOSE = ":closeConnections"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation and the first api-version that has it."""

    operation: Operation
    since: str = ""


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: "dict[str, _Node[T]]" = field(default_factory=dict)
    name: str = ""
    named: "_Node[T] | None" = None
    routes: dict[str, T] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteMatch(Generic[T]):
    """What a path stands for. Without a route, `allowed` are the methods of the path; both empty: no such path."""

    route: T | None
    names: dict[str, str]
    allowed: tuple[str, ...] = ()


class Router(Generic[T]):
    """A tree of path segments. Patterns look like `groups/{group}/connections/{connection}`."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, pattern: str, route: T) -> None:
        """Add one route. The pattern "" is the root itself."""
        node = self._root
        for part in pattern.split("/") if pattern else ():
            if part.startswith("{"):
                node.name = part[1:-1]
                node.named = node.named or _Node()
                node = node.named
            else:
                node = node.literals.setdefault(part, _Node())
        node.routes[method] = route

    def find(self, method: str, segments: Sequence[str]) -> RouteMatch[T]:
        """Return the match for a path."""
        node: _Node[T] = self._root
        names: dict[str, str] = {}
        for segment in segments:
            following = node.literals.get(segment)
            if following is None:
                if node.named is None:
                    return RouteMatch(None, names)
                names[node.name] = segment
                following = node.named
            node = following
        return RouteMatch(node.routes.get(method), names, tuple(node.routes))


def current_routes(generate_token: Operation, invoke: Operation, *, execute: bool) -> Router[Route]:
    """Return the routes under `/api/hubs/{hub}/`. Without `execute`, the path `:execute` does not exist."""
    router: Router[Route] = Router()
    table: tuple[tuple[str, str, Operation, str], ...] = (
        ("POST", ":send", sends.broadcast, ""),
        ("POST", f"{_USER}/:send", sends.to_user, ""),
        ("POST", f"{_GROUP}/:send", sends.to_group, ""),
        ("POST", f"{_CONNECTION}/:send", sends.to_connection, ""),
        ("POST", f"{_CONNECTION}/:invoke", invoke, "2024-12-01"),
        ("POST", f"{_STREAM}/:send", sends.stream_item, "2024-12-01"),
        ("POST", f"{_STREAM}/:complete", sends.complete_stream, "2024-12-01"),
        ("POST", ":generateToken", generate_token, "2022-11-01"),
        ("POST", _CLOSE, connections.close_all, "2022-06-01"),
        ("POST", f"{_GROUP}/{_CLOSE}", connections.close_group, "2022-06-01"),
        ("POST", f"{_USER}/{_CLOSE}", connections.close_user, "2022-06-01"),
        ("DELETE", f"{_CONNECTION}/groups", connections.remove_connection_everywhere, "2022-06-01"),
        ("GET", f"{_GROUP}/connections", connections.list_connections, "2024-12-01"),
    )
    for method, pattern, operation, since in table:
        router.add(method, pattern, Route(operation, since))
    if execute:
        router.add("POST", ":execute", Route(sends.execute, "2023-07-01"))
    return _with_shared_routes(router)


def v1_routes() -> Router[Route]:
    """Return the routes under `/api/v1/hubs/{hub}/`, where sends have no `/:send`."""
    router: Router[Route] = Router()
    router.add("POST", "", Route(sends.broadcast))
    router.add("POST", _USER, Route(sends.to_user))
    router.add("POST", _GROUP, Route(sends.to_group))
    router.add("POST", _CONNECTION, Route(sends.to_connection))
    return _with_shared_routes(router)


def _with_shared_routes(router: Router[Route]) -> Router[Route]:
    for method in ("HEAD", "GET"):
        router.add(method, _CONNECTION, Route(connections.connection_exists))
        router.add(method, _USER, Route(connections.user_exists))
        router.add(method, _GROUP, Route(connections.group_exists))
    router.add("DELETE", _CONNECTION, Route(connections.close_connection))
    router.add("PUT", f"{_GROUP}/{_CONNECTION}", Route(connections.add_connection))
    router.add("DELETE", f"{_GROUP}/{_CONNECTION}", Route(connections.remove_connection))
    router.add("DELETE", f"{_USER}/groups", Route(connections.remove_user_everywhere))
    for pattern in (f"{_USER}/{_GROUP}", f"{_GROUP}/{_USER}"):
        router.add("PUT", pattern, Route(connections.add_user))
        router.add("DELETE", pattern, Route(connections.remove_user))
        for method in ("HEAD", "GET"):
            router.add(method, pattern, Route(connections.user_in_group))
    return router
