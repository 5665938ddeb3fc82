"""Membership: connections and users in and out of groups, and who is in one.

Source: contract 2.1, 2.2 (statuses by api-version), 2.5 (the 404s that are answers) and 8.1 points 7 and 8.
"""

from urllib.parse import quote

from emulator.client import Client
from emulator.exchange import Reply, json_reply
from emulator.refusal import NO_CONNECTION_TO_ADD, NOT_IN_GROUP, gone
from emulator.rest.api_version import added_user, missing_member_is_error, removed_user, removed_user_everywhere
from emulator.rest.call import RestCall
from emulator.rest.names import check_connection, check_group, check_group_length, check_user

_MOST_TTL = 2**31 - 1
_MOST_PAGE = 200


async def add_connection(rest: RestCall) -> Reply:
    """Put a connection into a group."""
    group, connection = check_group(rest.names["group"]), check_connection(rest.names["connection"])
    return Reply(200) if rest.hub.join(connection, group) else gone(NO_CONNECTION_TO_ADD)


async def remove_connection(rest: RestCall) -> Reply:
    """Take a connection out of a group."""
    group, connection = check_group_length(rest.names["group"]), check_connection(rest.names["connection"])
    if rest.hub.leave(connection, group) or not missing_member_is_error(rest.version):
        return Reply(200)
    return gone(NO_CONNECTION_TO_ADD)


async def remove_connection_everywhere(rest: RestCall) -> Reply:
    """Take a connection out of all groups."""
    rest.hub.leave_all(check_connection(rest.names["connection"]))
    return Reply(200)


async def add_user(rest: RestCall) -> Reply:
    """Put a user into a group, for `ttl` seconds of connections to come."""
    group, user = check_group(rest.names["group"]), check_user(rest.names["user"])
    ttl = rest.whole_number("ttl", -1, 0, _MOST_TTL)
    rest.hub.add_user(user, group, None if ttl < 0 else ttl)
    return Reply(added_user(rest.version))


async def remove_user(rest: RestCall) -> Reply:
    """Take a user out of a group."""
    group, user = check_group(rest.names["group"]), check_user(rest.names["user"])
    rest.hub.remove_user(user, group)
    return Reply(removed_user(rest.version))


async def remove_user_everywhere(rest: RestCall) -> Reply:
    """Take a user out of all groups."""
    rest.hub.remove_user_everywhere(check_user(rest.names["user"]))
    return Reply(removed_user_everywhere(rest.version))


async def user_in_group(rest: RestCall) -> Reply:
    """Tell whether a user is in a group."""
    group, user = check_group(rest.names["group"]), check_user(rest.names["user"])
    return Reply(200) if rest.hub.is_member(user, group) else gone(NOT_IN_GROUP)


async def list_connections(rest: RestCall) -> Reply:
    """List a group's connections, a page at a time, in the order of their ids."""
    group = check_group(rest.names["group"])
    size = rest.whole_number("maxpagesize", _MOST_PAGE, 1, _MOST_PAGE)
    top = rest.whole_number("top", 0, 1, 2**31 - 1)
    after = rest.call.parameter("continuationtoken")
    left = sorted((c for c in rest.hub.group(group) if c.connection_id > after), key=lambda c: c.connection_id)
    left = left[: top or None]
    page = left[:size]
    body: dict[str, object] = {"value": [_member(client) for client in page]}
    if len(left) > len(page):
        body["nextLink"] = _next_link(rest, page[-1].connection_id, size, top - len(page) if top else 0)
    return json_reply(body)


def _member(client: Client) -> dict[str, str]:
    member = {"connectionId": client.connection_id}
    if client.user_id is not None:
        member["userId"] = client.user_id
    return member


def _next_link(rest: RestCall, token: str, size: int, top: int) -> str:
    call = rest.call
    query = [f"top={top}"] if top else []
    query += [f"maxpagesize={size}", f"continuationToken={quote(token, safe='')}"]
    if call.parameter("application"):
        query.append(f"application={quote(call.parameter('application'), safe='')}")
    query.append(f"api-version={rest.version}")
    return f"{call.scheme}://{call.header(b'host')}{call.raw_path}?{'&'.join(query)}"
