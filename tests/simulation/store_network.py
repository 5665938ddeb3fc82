"""The way to the model server: connections as redis-py's, latency, and everything that goes wrong on the way.

Rule guarded: the product's real Wire runs on these connections, so what the network does to it is what a network can
do: refuse, hang up before or after a command ran, in the middle of a pipeline or of its replies, or swallow packets
without a word. A command that was written is executed even when its sender has given up, hung up or died since.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from redis import exceptions as redis_errors

from tests.simulation.loop import HOST, SimulatedLoop
from tests.simulation.store_commands import block_of, execute, read
from tests.simulation.store_model import StoreModel, as_bytes

Command = Sequence[Any]


@dataclass
class StoreWeather:
    """What the network and the server do now; the defaults are fair weather. Chances are per round trip."""

    down: bool = False
    paused: bool = False
    latency: float = 0.0005
    cut_before: float = 0.0  # hang up before anything runs
    cut_within: float = 0.0  # hang up after some of the commands ran
    cut_after: float = 0.0  # hang up after all ran, with none or some of the replies
    swallow: float = 0.0  # packets vanish, the connection looks alive


class StoreNetwork:
    """All connections to one model server."""

    def __init__(self, loop: SimulatedLoop, store: StoreModel, random: Random) -> None:
        self.loop = loop
        self.store = store
        self.weather = StoreWeather()
        self._random = random
        self._connections: list[ModelConnection] = []
        self._backlog: list[tuple[ModelConnection, Sequence[Command]]] = []
        self._readers: list[tuple[ModelConnection, Sequence[bytes]]] = []

    def connect(self) -> "ModelConnection":
        """Make a connection that is not connected yet, as redis-py's pool does."""
        return ModelConnection(self)

    def delay(self) -> float:
        """Draw one trip's time in seconds."""
        return self.weather.latency * (0.5 + self._random.random() ** 4 * 8)

    def opened(self, connection: "ModelConnection") -> None:
        """Remember a connection, so that it can be cut."""
        self._connections.append(connection)

    def closed(self, connection: "ModelConnection") -> None:
        """Forget a connection its owner has closed; what it waited for in the server is over."""
        if connection in self._connections:
            self._connections.remove(connection)
        self._readers = [reader for reader in self._readers if reader[0] is not connection]

    def carry(self, connection: "ModelConnection", commands: Sequence[Command]) -> None:
        """Take a packet towards the server."""
        self.loop.outside(self.delay(), self._arrive, connection, commands)

    def cut_all(self) -> None:
        """Hang up on everybody."""
        for connection in list(self._connections):
            connection.hang_up()
        self._readers.clear()

    def go_down(self) -> None:
        """Be gone: hang up, refuse."""
        self.weather.down = True
        self._backlog.clear()
        self.cut_all()

    def resume(self) -> None:
        """Go on after a pause with what lay in the sockets meanwhile."""
        self.weather.paused = False
        backlog, self._backlog = self._backlog, []
        for connection, commands in backlog:
            self._arrive(connection, commands)
        self._serve_readers()

    def _arrive(self, connection: "ModelConnection", commands: Sequence[Command]) -> None:
        if self.weather.down or connection.is_cut or self._happens(self.weather.swallow):
            return
        if self.weather.paused:
            self._backlog.append((connection, commands))
        elif self._happens(self.weather.cut_before):
            connection.hang_up()
        elif commands[0][0] == "XREAD":
            self._read(connection, [as_bytes(part) for part in commands[0][1:]])
        else:
            self._execute(connection, commands)
            self._serve_readers()

    def _execute(self, connection: "ModelConnection", commands: Sequence[Command]) -> None:
        cut = self._happens(self.weather.cut_within)
        ran = int(self._random.random() * len(commands)) if cut else len(commands)
        self.store.caller = connection.owner
        replies = [execute(self.store, command) for command in commands[:ran]]
        cut = cut or self._happens(self.weather.cut_after)
        told = int(self._random.random() * (len(replies) + 1)) if cut else len(replies)
        self._answer(connection, replies[:told], then_cut=cut)

    def _answer(self, connection: "ModelConnection", replies: list[Any], *, then_cut: bool = False) -> None:
        if not self._happens(self.weather.swallow):
            self.loop.outside(self.delay(), connection.receive, replies, then_cut)

    def _read(self, connection: "ModelConnection", args: list[bytes]) -> None:
        reply = read(self.store, args)
        block = block_of(args)
        if reply is not None or block is None or not connection.is_connected:
            self._answer(connection, [reply])
            return
        reader = (connection, args)
        self._readers.append(reader)
        self.loop.outside(block / 1000, self._end_read, reader)

    def _end_read(self, reader: tuple["ModelConnection", Sequence[bytes]]) -> None:
        if any(waiting is reader for waiting in self._readers) and not self.weather.paused:
            self._readers = [waiting for waiting in self._readers if waiting is not reader]
            self._answer(reader[0], [None])

    def _serve_readers(self) -> None:
        for reader in list(self._readers):
            reply = read(self.store, reader[1])
            if reply is not None:
                self._readers = [waiting for waiting in self._readers if waiting is not reader]
                self._answer(reader[0], [reply])

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._random.random() < chance


class ModelConnection:
    """What Wire uses of a redis-py connection."""

    def __init__(self, network: StoreNetwork) -> None:
        self.is_connected = False
        self.is_cut = False
        self.owner = HOST.get(network.loop.world).name
        self._network = network
        self._replies: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._reader = self
        self._writer = None  # nothing to abort

    def at_eof(self) -> bool:
        return self.is_cut

    async def connect(self) -> None:
        await asyncio.sleep(self._network.delay())
        if self._network.weather.down:
            raise redis_errors.ConnectionError("Error 111 connecting to the model. Connection refused.")
        self.is_connected = True
        self._network.opened(self)

    def pack_commands(self, commands: Sequence[Command]) -> list[Command]:
        return list(commands)

    async def send_packed_command(self, packed: list[Command], *, check_health: bool = True) -> None:
        if self.is_cut:
            raise redis_errors.ConnectionError("Error 32 while writing to socket. Broken pipe.")
        self._network.carry(self, packed)

    async def read_response(self) -> Any:
        while not self._replies:
            if self.is_cut:
                raise redis_errors.ConnectionError("Connection closed by server.")
            self._waiter = self._network.loop.create_future()
            await self._waiter
        reply = self._replies.popleft()
        if isinstance(reply, redis_errors.RedisError):
            raise reply
        return reply

    async def disconnect(self, *, nowait: bool = False) -> None:
        self.is_connected = False
        self._network.closed(self)

    def receive(self, replies: list[Any], then_cut: bool) -> None:
        """Replies came in, and the end of the connection after them when `then_cut`."""
        if self.is_connected:
            self._replies.extend(replies)
            self.is_cut = self.is_cut or then_cut
            self._wake()

    def hang_up(self) -> None:
        """The server closed the connection."""
        self.is_cut = True
        self._network.closed(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
