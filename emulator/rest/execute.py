"""`:execute`: several commands for every connection a filter matches, in one request.

Source: contract 2.4. The commands run "in transaction": all of them are read and checked before the first one takes
effect, and each connection sees them in the order given.
"""

from collections.abc import Callable

from emulator.client import Client
from emulator.exchange import Reply
from emulator.hubs import Hub
from emulator.refusal import invalid
from emulator.rest.call import RestCall
from emulator.rest.filters import filter_of
from emulator.rest.names import check_group
from emulator.rest.payload import JSON, fields_of, invocation_of, items_of, media_type, text_field, unsupported
from emulator.rest.sends import ACCEPTED

# What a command gives back is ignored: a connection closed by the one before it has no groups any more.
Command = Callable[[Hub, Client], object]


async def execute(rest: RestCall) -> Reply:
    """Run a JSON array of commands."""
    content_type = rest.call.header(b"content-type")
    if media_type(content_type) != JSON:
        raise unsupported(content_type)
    matches = filter_of(rest.call.parameter("filter"))
    commands = [_command(bytes(item)) for item in items_of(rest.body)]
    for client in [client for client in rest.hub.everyone() if matches(client)]:
        for command in commands:
            command(rest.hub, client)
    return ACCEPTED


def _command(item: bytes) -> Command:
    fields = fields_of(item)
    kind = text_field(fields, "type")
    if kind == "SendMessage":
        message = invocation_of(bytes(fields.get("message", b"null")))
        return lambda hub, client: hub.send([client], message)
    if kind == "CloseConnection":
        reason = text_field(fields, "reason")
        return lambda hub, client: hub.close([client], reason)
    if kind not in {"JoinGroup", "LeaveGroup"}:
        raise invalid(f"The command type '{kind}' does not exist.", "type")
    group = check_group(text_field(fields, "group"))
    if kind == "JoinGroup":
        return lambda hub, client: hub.join(client.connection_id, group)
    return lambda hub, client: hub.leave(client.connection_id, group)
