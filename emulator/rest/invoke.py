"""`:invoke`: call a client method and wait for what it returns.

Source: contract 2.1 and 8.3 (an invocation with an id, answered by a completion). What the service does when the client
is missing, answers with an error or does not answer is published nowhere; here: 404 with the connection's code, 400
with the client's text, and 500 ("the runtime returns 500 for timeouts too", contract 4.1).
"""

import asyncio
import itertools

from emulator.client import Client
from emulator.exchange import Reply
from emulator.outgoing import Invocation, Outgoing
from emulator.protocols.hub import Incoming
from emulator.refusal import CONNECTION_GONE, RefusedError, gone, invalid
from emulator.rest.call import RestCall
from emulator.rest.names import check_connection
from emulator.rest.payload import message_of
from fanout.clock import Clock


class Invoker:
    """Hands out invocation ids and waits for their completions, at most `timeout` seconds."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._ids = itertools.count(1)

    async def invoke(self, rest: RestCall) -> Reply:
        """Call one connection and answer with its result."""
        client = rest.hub.connections.get(check_connection(rest.names["connection"]))
        message = message_of(rest.call.header(b"content-type"), rest.body)
        if client is None:
            return gone(CONNECTION_GONE)
        if not isinstance(message, Invocation):
            raise invalid("A framed message cannot be given an invocation id; send JSON.")
        invocation_id = f"emulator-{next(self._ids)}"
        completion = await self._completion(rest, client, message.expecting_result(invocation_id), invocation_id)
        if completion.error is not None:
            raise invalid(completion.error)
        result = b"{}" if completion.result is None else b'{"result":' + completion.result + b"}"
        return Reply(200, result, "application/json; charset=utf-8")

    async def _completion(self, rest: RestCall, client: Client, message: Outgoing, invocation_id: str) -> Incoming:
        future: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        client.awaited[invocation_id] = future
        try:
            async with self._clock.timeout(self._timeout):
                rest.hub.send([client], message)
                await asyncio.wait([future])
        except TimeoutError:
            raise RefusedError(500, "InvocationTimeout", "The client did not answer in time.") from None
        finally:
            client.awaited.pop(invocation_id, None)
        if future.cancelled():
            raise RefusedError(500, "ConnectionClosed", "The client went away before it answered.")
        return future.result()
