"""Operations that send: to everybody, a user, a group, a connection, a stream, and to what a filter selects.

A send is answered 202 whether or not a client receives it; only a malformed one is refused. `:execute` checks all of
its commands before the first takes effect. What the service does when the client of an `:invoke` is missing, answers
with an error or does not answer is not published; the emulator answers 404 with the connection's code, 400 with the
client's text, and 500. Source: docs/sources.md, bodies, answers and operations.
"""

import asyncio
import itertools
import re
from collections.abc import Callable

from emulator.client import Client
from emulator.http import CONNECTION_NOT_EXISTED, HttpError, Response, bad_request, not_found
from emulator.hubs import Hub
from emulator.protocols.hub import ClientMessage, HubMessage, Invocation, StreamCompletion, StreamItem
from emulator.rest.payload import (
    json_text,
    parse_array,
    parse_invocation,
    parse_message,
    parse_object,
    require_json,
    text_field,
)
from emulator.rest.request import (
    RestRequest,
    check_connection,
    check_group,
    check_group_length,
    check_stream,
    check_user,
)
from fanout.clock import Clock

Filter = Callable[[Client], bool]
# Results of commands are ignored: a connection that an earlier command closed is in no group any more.
Command = Callable[[Hub, Client], object]

_ACCEPTED = Response(202)
_QUOTED = r"'((?:[^']|'')*)'"
_STARTS_WITH = re.compile(rf"\s*startswith\(\s*userId\s*,\s*{_QUOTED}\s*\)\s*", re.DOTALL)
_EQUALS = re.compile(rf"\s*userId\s+eq\s+{_QUOTED}\s*", re.DOTALL)


async def broadcast(request: RestRequest) -> Response:
    """Send to every connection except the excluded ones."""
    message = parse_message(request)
    request.hub.send(request.hub.everyone(request.excluded), message)
    return _ACCEPTED


async def to_user(request: RestRequest) -> Response:
    """Send to all connections of a user."""
    user = check_user(request.names["user"])
    message = parse_message(request)
    request.hub.send(request.hub.user(user), message)
    return _ACCEPTED


async def to_group(request: RestRequest) -> Response:
    """Send to the connections of a group except the excluded ones."""
    group = check_group_length(request.names["group"])
    message = parse_message(request)
    request.hub.send(request.hub.group(group, request.excluded), message)
    return _ACCEPTED


async def to_connection(request: RestRequest) -> Response:
    """Send to one connection."""
    connection = check_connection(request.names["connection"])
    message = parse_message(request)
    client = request.hub.connections.get(connection)
    request.hub.send([client] if client is not None else [], message)
    return _ACCEPTED


async def stream_item(request: RestRequest) -> Response:
    """Send one item of a stream. `completed=true` ends the stream after it."""
    connection, stream = check_connection(request.names["connection"]), check_stream(request.names["stream"])
    require_json(request.content_type)
    item = StreamItem(stream, json_text(request.body))
    client = request.hub.connections.get(connection)
    if client is not None:
        request.hub.send([client], item)
        if request.http.parameter("completed").lower() == "true":
            request.hub.send([client], StreamCompletion(stream))
    return _ACCEPTED


async def complete_stream(request: RestRequest) -> Response:
    """End a stream. The OpenAPI file calls the error `reason`, the vendor's SDK `error`."""
    connection, stream = check_connection(request.names["connection"]), check_stream(request.names["stream"])
    error = request.http.parameter("error") or request.http.parameter("reason") or None
    client = request.hub.connections.get(connection)
    if client is not None:
        request.hub.send([client], StreamCompletion(stream, error))
    return _ACCEPTED


async def execute(request: RestRequest) -> Response:
    """Run a JSON array of commands for every connection that the filter selects."""
    require_json(request.content_type)
    selected = parse_filter(request.http.parameter("filter"))
    commands = [_parse_command(bytes(item)) for item in parse_array(request.body)]
    for client in [client for client in request.hub.everyone() if selected(client)]:
        for command in commands:
            command(request.hub, client)
    return _ACCEPTED


def parse_filter(text: str) -> Filter:
    """Return the filter for OData `text`, in whose strings `''` stands for one quote.

    `startswith(userId, '...')`, `userId eq '...'` and no filter (every connection) are understood. Other properties and
    operators are not documented, so they are refused with a 400.
    """
    if not text:
        return lambda _client: True
    starts_with = _STARTS_WITH.fullmatch(text)
    if starts_with is not None:
        prefix = starts_with[1].replace("''", "'")
        return lambda client: client.user_id is not None and client.user_id.startswith(prefix)
    equals = _EQUALS.fullmatch(text)
    if equals is not None:
        user = equals[1].replace("''", "'")
        return lambda client: client.user_id == user
    raise bad_request("The filter is not supported; use startswith(userId,'...') or userId eq '...'.", "filter")


def _parse_command(item: bytes) -> Command:
    fields = parse_object(item)
    kind = text_field(fields, "type")
    if kind == "SendMessage":
        message = parse_invocation(bytes(fields.get("message", b"null")))
        return lambda hub, client: hub.send([client], message)
    if kind == "CloseConnection":
        reason = text_field(fields, "reason")
        return lambda hub, client: hub.close([client], reason)
    if kind not in {"JoinGroup", "LeaveGroup"}:
        raise bad_request(f"The command type '{kind}' does not exist.", "type")
    group = check_group(text_field(fields, "group"))
    if kind == "JoinGroup":
        return lambda hub, client: hub.join(client.connection_id, group)
    return lambda hub, client: hub.leave(client.connection_id, group)


class Invoker:
    """`:invoke`: calls a client method and waits at most `timeout` seconds for its result."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._ids = itertools.count(1)

    async def invoke(self, request: RestRequest) -> Response:
        """Call one connection and answer with its result."""
        client = request.hub.connections.get(check_connection(request.names["connection"]))
        message = parse_message(request)
        if client is None:
            return not_found(CONNECTION_NOT_EXISTED)
        if not isinstance(message, Invocation):
            raise bad_request("An encoded message cannot be given an invocation id; send JSON.")
        invocation_id = f"emulator-{next(self._ids)}"
        completion = await self._completion(request, client, message.expecting_result(invocation_id), invocation_id)
        if completion.error is not None:
            raise bad_request(completion.error)
        result = b"{}" if completion.result is None else b'{"result":' + completion.result + b"}"
        return Response(200, result, "application/json; charset=utf-8")

    async def _completion(
        self, request: RestRequest, client: Client, message: HubMessage, invocation_id: str
    ) -> ClientMessage:
        future: asyncio.Future[ClientMessage] = asyncio.get_running_loop().create_future()
        client.pending_results[invocation_id] = future
        try:
            async with self._clock.timeout(self._timeout):
                request.hub.send([client], message)
                await asyncio.wait([future])
        except TimeoutError:
            raise HttpError(500, "InvocationTimeout", "The client did not answer in time.") from None
        finally:
            client.pending_results.pop(invocation_id, None)
        if future.cancelled():
            raise HttpError(500, "ConnectionClosed", "The client disconnected before it answered.")
        return future.result()
