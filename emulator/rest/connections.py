"""Existence and closing: of one connection, of a user's, of a group's, of all.

Source: contract 2.1, 2.2, 2.5. A 404 here is an answer, so it carries its `x-ms-error-code`. `excluded` counts on every
`:closeConnections`, which the vendor's emulator forgets (8.1 point 6).
"""

from emulator.exchange import Reply
from emulator.refusal import CONNECTION_GONE, GROUP_GONE, USER_GONE, gone
from emulator.rest.api_version import closed_connection
from emulator.rest.call import RestCall
from emulator.rest.names import check_connection, check_group, check_user, check_user_to_close

_CLOSED = Reply(204)


async def connection_exists(rest: RestCall) -> Reply:
    """Tell whether a connection is open."""
    connection = check_connection(rest.names["connection"])
    return Reply(200) if connection in rest.hub.connections else gone(CONNECTION_GONE)


async def user_exists(rest: RestCall) -> Reply:
    """Tell whether a user has a connection."""
    return Reply(200) if check_user(rest.names["user"]) in rest.hub.users else gone(USER_GONE)


async def group_exists(rest: RestCall) -> Reply:
    """Tell whether a group has a connection."""
    return Reply(200) if check_group(rest.names["group"]) in rest.hub.groups else gone(GROUP_GONE)


async def close_connection(rest: RestCall) -> Reply:
    """Close one connection."""
    client = rest.hub.connections.get(check_connection(rest.names["connection"]))
    if client is None:
        return gone(CONNECTION_GONE)
    rest.hub.close([client], rest.call.parameter("reason"))
    return Reply(closed_connection(rest.version))


async def close_all(rest: RestCall) -> Reply:
    """Close every connection but the excluded."""
    rest.hub.close(rest.hub.everyone(rest.excluded), rest.call.parameter("reason"))
    return _CLOSED


async def close_group(rest: RestCall) -> Reply:
    """Close a group's connections but the excluded."""
    group = check_group(rest.names["group"])
    rest.hub.close(rest.hub.group(group, rest.excluded), rest.call.parameter("reason"))
    return _CLOSED


async def close_user(rest: RestCall) -> Reply:
    """Close a user's connections but the excluded."""
    user = check_user_to_close(rest.names["user"])
    rest.hub.close(rest.hub.user(user, rest.excluded), rest.call.parameter("reason"))
    return _CLOSED
