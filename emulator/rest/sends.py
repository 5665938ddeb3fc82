"""The sends: broadcast, user, group, connection, and the items of a stream.

Source: contract 2.1, 2.4, 2.5. Rule guarded: a send answers 202 whether or not anybody is there to hear it; only a
malformed one is refused.
"""

from emulator.exchange import Reply
from emulator.outgoing import StreamEnd, StreamItem
from emulator.rest.call import RestCall
from emulator.rest.names import check_connection, check_group_length, check_stream, check_user
from emulator.rest.payload import JSON, media_type, message_of, unsupported, value_text

ACCEPTED = Reply(202)


async def broadcast(rest: RestCall) -> Reply:
    """Send to everybody but the excluded."""
    message = message_of(rest.call.header(b"content-type"), rest.body)
    rest.hub.send(rest.hub.everyone(rest.excluded), message)
    return ACCEPTED


async def to_user(rest: RestCall) -> Reply:
    """Send to all connections of a user."""
    user = check_user(rest.names["user"])
    message = message_of(rest.call.header(b"content-type"), rest.body)
    rest.hub.send(rest.hub.user(user), message)
    return ACCEPTED


async def to_group(rest: RestCall) -> Reply:
    """Send to a group but the excluded."""
    group = check_group_length(rest.names["group"])
    message = message_of(rest.call.header(b"content-type"), rest.body)
    rest.hub.send(rest.hub.group(group, rest.excluded), message)
    return ACCEPTED


async def to_connection(rest: RestCall) -> Reply:
    """Send to one connection."""
    connection = check_connection(rest.names["connection"])
    message = message_of(rest.call.header(b"content-type"), rest.body)
    client = rest.hub.connections.get(connection)
    rest.hub.send([client] if client is not None else [], message)
    return ACCEPTED


async def stream_item(rest: RestCall) -> Reply:
    """Send one item of a stream; `completed=true` ends the stream after it."""
    connection, stream = check_connection(rest.names["connection"]), check_stream(rest.names["stream"])
    content_type = rest.call.header(b"content-type")
    if media_type(content_type) != JSON:
        raise unsupported(content_type)
    item = StreamItem(stream, value_text(rest.body))
    client = rest.hub.connections.get(connection)
    if client is not None:
        rest.hub.send([client], item)
        if rest.call.parameter("completed").lower() == "true":
            rest.hub.send([client], StreamEnd(stream))
    return ACCEPTED


async def complete_stream(rest: RestCall) -> Reply:
    """End a stream; the spec calls the error `reason`, the vendor's SDK `error`."""
    connection, stream = check_connection(rest.names["connection"]), check_stream(rest.names["stream"])
    error = rest.call.parameter("error") or rest.call.parameter("reason") or None
    client = rest.hub.connections.get(connection)
    if client is not None:
        rest.hub.send([client], StreamEnd(stream, error))
    return ACCEPTED
