"""The table of REST operations: which method and path under a hub is which, and since when.

Source: contract 2.1 (current routes, each with the first api-version that has it) and 2.3 (the v1 forms, without
`/:send` and with the group in front of the user). Both orders of group membership are offered under both, and GET
wherever HEAD asks for existence (8.1 point 1).
"""

from emulator.rest import connections as rest_connections
from emulator.rest import execute as rest_execute
from emulator.rest import groups as rest_groups
from emulator.rest import sends as rest_sends
from emulator.rest.access import Access
from emulator.rest.call import Offer, Operation
from emulator.rest.invoke import Invoker
from emulator.routing import Router

_CONNECTION = "connections/{connection}"
_USER = "users/{user}"
_GROUP = "groups/{group}"
_STREAM = _CONNECTION + "/streams/{stream}"
_CLOSE = ":closeConnections"


def current(access: Access, invoker: Invoker, *, execute: bool = True) -> Router[Offer]:
    """Build the routes under `/api/hubs/{hub}/`; without `execute` that path does not exist."""
    router: Router[Offer] = Router()
    table: tuple[tuple[str, str, Operation, str], ...] = (
        ("POST", ":send", rest_sends.broadcast, ""),
        ("POST", f"{_USER}/:send", rest_sends.to_user, ""),
        ("POST", f"{_GROUP}/:send", rest_sends.to_group, ""),
        ("POST", f"{_CONNECTION}/:send", rest_sends.to_connection, ""),
        ("POST", f"{_CONNECTION}/:invoke", invoker.invoke, "2024-12-01"),
        ("POST", f"{_STREAM}/:send", rest_sends.stream_item, "2024-12-01"),
        ("POST", f"{_STREAM}/:complete", rest_sends.complete_stream, "2024-12-01"),
        ("POST", ":generateToken", access.generate_token, "2022-11-01"),
        ("POST", _CLOSE, rest_connections.close_all, "2022-06-01"),
        ("POST", f"{_GROUP}/{_CLOSE}", rest_connections.close_group, "2022-06-01"),
        ("POST", f"{_USER}/{_CLOSE}", rest_connections.close_user, "2022-06-01"),
        ("DELETE", f"{_CONNECTION}/groups", rest_groups.remove_connection_everywhere, "2022-06-01"),
        ("GET", f"{_GROUP}/connections", rest_groups.list_connections, "2024-12-01"),
    )
    for method, pattern, operation, since in table:
        router.add(method, pattern, Offer(operation, since))
    if execute:
        router.add("POST", ":execute", Offer(rest_execute.execute, "2023-07-01"))
    return _shared(router)


def legacy() -> Router[Offer]:
    """Build the routes under `/api/v1/hubs/{hub}/`; the hub's own path is the broadcast."""
    router: Router[Offer] = Router()
    router.add("POST", "", Offer(rest_sends.broadcast))
    router.add("POST", _USER, Offer(rest_sends.to_user))
    router.add("POST", _GROUP, Offer(rest_sends.to_group))
    router.add("POST", _CONNECTION, Offer(rest_sends.to_connection))
    return _shared(router)


def _shared(router: Router[Offer]) -> Router[Offer]:
    for method in ("HEAD", "GET"):
        router.add(method, _CONNECTION, Offer(rest_connections.connection_exists))
        router.add(method, _USER, Offer(rest_connections.user_exists))
        router.add(method, _GROUP, Offer(rest_connections.group_exists))
    router.add("DELETE", _CONNECTION, Offer(rest_connections.close_connection))
    router.add("PUT", f"{_GROUP}/{_CONNECTION}", Offer(rest_groups.add_connection))
    router.add("DELETE", f"{_GROUP}/{_CONNECTION}", Offer(rest_groups.remove_connection))
    router.add("DELETE", f"{_USER}/groups", Offer(rest_groups.remove_user_everywhere))
    for pattern in (f"{_USER}/{_GROUP}", f"{_GROUP}/{_USER}"):
        router.add("PUT", pattern, Offer(rest_groups.add_user))
        router.add("DELETE", pattern, Offer(rest_groups.remove_user))
        for method in ("HEAD", "GET"):
            router.add(method, pattern, Offer(rest_groups.user_in_group))
    return router
