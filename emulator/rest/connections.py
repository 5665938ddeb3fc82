"""Operations on connections, and on the groups that connections and users are in.

A 404 here is an answer, so it carries its `x-ms-error-code`. The status of a success depends on the api-version; the
v1 routes count as `1.0`, which compares as older than every date.
Source: docs/sources.md, success-codes, answers and limits.
"""

from urllib.parse import quote

from emulator.client import Client
from emulator.http import (
    ADDED_CONNECTION_NOT_EXISTED,
    CONNECTION_NOT_EXISTED,
    GROUP_NOT_EXISTED,
    USER_NOT_EXISTED,
    USER_NOT_IN_GROUP,
    V1,
    HttpError,
    Response,
    json_response,
    not_found,
)
from emulator.rest.request import (
    LATEST_STATUSES,
    RestRequest,
    check_connection,
    check_group,
    check_group_length,
    check_user,
    check_user_to_close,
)

_MAX_TTL = 2**31 - 1
_MAX_PAGE_SIZE = 200
_MISSING_IS_NO_ERROR = "2023-07-01"  # since this version, removing a missing connection from a group succeeds
_CLOSED = Response(204)


async def connection_exists(request: RestRequest) -> Response:
    """Answer 200 when a connection is open, 404 otherwise."""
    connection = check_connection(request.names["connection"])
    return Response(200) if connection in request.hub.connections else not_found(CONNECTION_NOT_EXISTED)


async def user_exists(request: RestRequest) -> Response:
    """Answer 200 when a user has a connection, 404 otherwise."""
    return Response(200) if check_user(request.names["user"]) in request.hub.users else not_found(USER_NOT_EXISTED)


async def group_exists(request: RestRequest) -> Response:
    """Answer 200 when a group has a connection, 404 otherwise."""
    return Response(200) if check_group(request.names["group"]) in request.hub.groups else not_found(GROUP_NOT_EXISTED)


async def close_connection(request: RestRequest) -> Response:
    """Close one connection."""
    client = request.hub.connections.get(check_connection(request.names["connection"]))
    if client is None:
        return not_found(CONNECTION_NOT_EXISTED)
    request.hub.close([client], request.http.parameter("reason"))
    return Response(202 if request.version == V1 else 200)


async def close_all(request: RestRequest) -> Response:
    """Close every connection of the hub except the excluded ones."""
    request.hub.close(request.hub.everyone(request.excluded), request.http.parameter("reason"))
    return _CLOSED


async def close_group(request: RestRequest) -> Response:
    """Close a group's connections except the excluded ones."""
    group = check_group(request.names["group"])
    request.hub.close(request.hub.group(group, request.excluded), request.http.parameter("reason"))
    return _CLOSED


async def close_user(request: RestRequest) -> Response:
    """Close a user's connections except the excluded ones."""
    user = check_user_to_close(request.names["user"])
    request.hub.close(request.hub.user(user, request.excluded), request.http.parameter("reason"))
    return _CLOSED


async def add_connection(request: RestRequest) -> Response:
    """Add a connection to a group."""
    group, connection = check_group(request.names["group"]), check_connection(request.names["connection"])
    return Response(200) if request.hub.join(connection, group) else not_found(ADDED_CONNECTION_NOT_EXISTED)


async def remove_connection(request: RestRequest) -> Response:
    """Remove a connection from a group."""
    group, connection = check_group_length(request.names["group"]), check_connection(request.names["connection"])
    if request.hub.leave(connection, group) or request.version >= _MISSING_IS_NO_ERROR:
        return Response(200)
    return not_found(ADDED_CONNECTION_NOT_EXISTED)


async def remove_connection_everywhere(request: RestRequest) -> Response:
    """Remove a connection from all groups."""
    request.hub.leave_all(check_connection(request.names["connection"]))
    return Response(200)


async def add_user(request: RestRequest) -> Response:
    """Add a user to a group: its connections, and those it opens within `ttl` seconds."""
    group, user = check_group(request.names["group"]), check_user(request.names["user"])
    ttl = request.whole_number("ttl", -1, 0, _MAX_TTL)
    request.hub.add_user(user, group, None if ttl < 0 else ttl)
    return Response(200 if request.version >= LATEST_STATUSES else 202)


async def remove_user(request: RestRequest) -> Response:
    """Remove a user from a group."""
    group, user = check_group(request.names["group"]), check_user(request.names["user"])
    request.hub.remove_user(user, group)
    if request.version == V1:
        return Response(202)
    return Response(204 if request.version >= LATEST_STATUSES else 200)


async def remove_user_everywhere(request: RestRequest) -> Response:
    """Remove a user from all groups."""
    user = check_user(request.names["user"])
    if not request.config.unknown_users and not request.hub.knows(user):
        raise HttpError(500, "InternalServerError", "The vendor's emulator fails for a user that it does not know.")
    request.hub.remove_user_everywhere(user)
    return Response(204 if request.version >= LATEST_STATUSES else 200)


async def user_in_group(request: RestRequest) -> Response:
    """Answer 200 when a user is in a group, 404 otherwise."""
    group, user = check_group(request.names["group"]), check_user(request.names["user"])
    return Response(200) if request.hub.is_member(user, group) else not_found(USER_NOT_IN_GROUP)


async def list_connections(request: RestRequest) -> Response:
    """Return one page of a group's connections, in the order of their ids."""
    group = check_group(request.names["group"])
    size = request.whole_number("maxpagesize", _MAX_PAGE_SIZE, 1, _MAX_PAGE_SIZE)
    top = request.whole_number("top", 0, 1, 2**31 - 1)
    after = request.http.parameter("continuationtoken")
    left = sorted((c for c in request.hub.group(group) if c.connection_id > after), key=lambda c: c.connection_id)
    left = left[: top or None]
    page = left[:size]
    body: dict[str, object] = {"value": [_member(client) for client in page]}
    if len(left) > len(page):
        body["nextLink"] = _next_link(request, page[-1].connection_id, size, top - len(page) if top else 0)
    return json_response(body)


def _member(client: Client) -> dict[str, str]:
    member = {"connectionId": client.connection_id}
    if client.user_id is not None:
        member["userId"] = client.user_id
    return member


def _next_link(request: RestRequest, token: str, size: int, top: int) -> str:
    http = request.http
    application = http.parameter("application")
    query = [f"top={top}"] if top else []
    query += [f"maxpagesize={size}", f"continuationToken={quote(token, safe='')}"]
    if application:
        query.append(f"application={quote(application, safe='')}")
    query.append(f"api-version={request.version}")
    return f"{http.scheme}://{http.header(b'host')}{http.raw_path}?{'&'.join(query)}"
