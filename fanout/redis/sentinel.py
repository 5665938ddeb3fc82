"""Asks the Sentinels for the master each time a connection is made.

Source: "Guidelines for Redis clients with support for Sentinel". Rules guarded: the first Sentinel that answers is
asked first the next time. Its answer is checked with the server itself (ROLE, see open.py), because a Sentinel on the
minority side of a network partition names a master that was replaced. A Sentinel that does not answer costs one second.
"""

from collections.abc import Callable, Sequence

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from fanout.clock import Clock
from fanout.redis.address import Node
from fanout.redis.server import abort, reason_of

_TIMEOUT = 1.0  # seconds for each Sentinel


class Sentinels:
    """The Sentinels of one service; `make` builds an unconnected connection to one."""

    def __init__(
        self, make: Callable[[Node], AbstractConnection], nodes: Sequence[Node], service: str, clock: Clock
    ) -> None:
        self._make = make
        self._nodes = list(nodes)
        self._service = service
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Sentinels of {self._service}: {', '.join(map(str, self._nodes))}>"

    async def master(self) -> Node:
        """Return the address of the master; raise redis-py's ConnectionError when no Sentinel knows it."""
        reasons = []
        for node in list(self._nodes):
            try:
                master = await self._ask(node)
            except (RedisError, OSError, TimeoutError) as error:
                reasons.append(f"{node}: {reason_of(error)}")
                continue
            if master is not None:
                self._nodes.remove(node)
                self._nodes.insert(0, node)
                return master
            reasons.append(f"{node}: knows no {self._service}")
        raise RedisConnectionError(f"no Sentinel knows the master of {self._service} ({'; '.join(reasons)})")

    async def _ask(self, node: Node) -> Node | None:
        connection = self._make(node)
        try:
            async with self._clock.timeout(_TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py has no annotation here
                await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
                reply = await connection.read_response()
        finally:
            await abort(connection)
        return None if reply is None else Node(reply[0].decode(), int(reply[1]))
