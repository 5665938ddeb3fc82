"""The network to the model server: connections like redis-py's, latency, and the faults of a network.

Rule guarded: the product's real RedisClient runs on these connections, and they do what a network can do: refuse, close
before or after a command ran, in the middle of a pipeline or of its replies, or lose packets silently. A command that
was written is executed even when its sender has given up, closed the connection or died since.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import hiredis
from redis import exceptions as redis_errors
from redis._parsers.base import BaseParser

from tests.simulation.loop import HOST, SimulatedLoop
from tests.simulation.store_commands import Reading, block_of, execute, read
from tests.simulation.store_model import StoreModel, as_bytes

Command = Sequence[Any]
_WORDS: dict[type[redis_errors.RedisError], str] = {
    redis_errors.NoScriptError: "NOSCRIPT",
    redis_errors.OutOfMemoryError: "OOM",
}


@dataclass
class NetworkConditions:
    """What the network and the server do now; by default nothing fails. Chances are for each round trip."""

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
        self.conditions = NetworkConditions()
        self._random = random
        self._connections: list[ModelConnection] = []
        self._backlog: list[tuple[ModelConnection, Sequence[Command]]] = []
        self._readers: list[tuple[ModelConnection, Reading]] = []

    def connect(self) -> "ModelConnection":
        """Make a connection that is not connected yet, as redis-py's pool does."""
        return ModelConnection(self)

    def delay(self) -> float:
        """Draw the seconds of one trip."""
        return self.conditions.latency * (0.5 + self._random.random() ** 4 * 8)

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
        """Close every connection."""
        for connection in list(self._connections):
            connection.hang_up()
        self._readers.clear()

    def go_down(self) -> None:
        """Close every connection and refuse new ones."""
        self.conditions.down = True
        self._backlog.clear()
        self.cut_all()

    def resume(self) -> None:
        """Continue after a pause with what is in the sockets."""
        self.conditions.paused = False
        backlog, self._backlog = self._backlog, []
        for connection, commands in backlog:
            self._arrive(connection, commands)
        self._serve_readers()

    def _arrive(self, connection: "ModelConnection", commands: Sequence[Command]) -> None:
        if self.conditions.down or connection.is_cut or self._happens(self.conditions.swallow):
            return
        if self.conditions.paused:
            self._backlog.append((connection, commands))
        elif self._happens(self.conditions.cut_before):
            connection.hang_up()
        elif commands[0][0] == b"XREAD":
            self._read(connection, list(commands[0][1:]))
        else:
            self._execute(connection, commands)
            self._serve_readers()

    def _execute(self, connection: "ModelConnection", commands: Sequence[Command]) -> None:
        cut = self._happens(self.conditions.cut_within)
        ran = int(self._random.random() * len(commands)) if cut else len(commands)
        self.store.caller = connection.owner
        replies = [execute(self.store, command) for command in commands[:ran]]
        cut = cut or self._happens(self.conditions.cut_after)
        told = int(self._random.random() * (len(replies) + 1)) if cut else len(replies)
        self._answer(connection, replies[:told], then_cut=cut)

    def _answer(self, connection: "ModelConnection", replies: list[Any], *, then_cut: bool = False) -> None:
        if not self._happens(self.conditions.swallow):
            self.loop.outside(self.delay(), connection.receive, replies, then_cut)

    def _read(self, connection: "ModelConnection", args: list[bytes]) -> None:
        reading, block = Reading.of(args), block_of(args)
        reply = read(self.store, reading)
        if reply is not None or block is None or not connection.is_connected:
            self._answer(connection, [reply])
            return
        reader = (connection, reading)
        self._readers.append(reader)
        self.loop.outside(block / 1000, self._end_read, reader)

    def _end_read(self, reader: tuple["ModelConnection", Reading]) -> None:
        if any(waiting is reader for waiting in self._readers) and not self.conditions.paused:
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
    """The part of a redis-py connection that ServerClient uses: it connects, then its transport carries bytes."""

    def __init__(self, network: StoreNetwork) -> None:
        self.is_connected = False
        self.is_cut = False
        self.owner = HOST.get(network.loop.world).name
        self.transport = self
        self._network = network
        self._commands = hiredis.Reader()
        self._leaving = False
        self._protocol = asyncio.Protocol()
        self._reader = self
        self._writer = self
        self._parser = BaseParser

    def at_eof(self) -> bool:
        return self.is_cut

    def is_closing(self) -> bool:
        return self.is_cut

    async def connect(self) -> None:
        await asyncio.sleep(self._network.delay())
        if self._network.conditions.down:
            raise redis_errors.ConnectionError("Error 111 connecting to the model. Connection refused.")
        self.is_connected = True
        self._network.opened(self)

    def get_protocol(self) -> asyncio.Protocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def write(self, packed: bytes) -> None:
        self._commands.feed(packed)
        if not self._leaving:  # what is written in one turn leaves as one packet, so packets cannot pass each other
            self._leaving = True
            self._network.loop.call_soon(self._leave)

    def _leave(self) -> None:
        self._leaving = False
        commands = []
        while self._commands.has_data():
            commands.append(self._commands.gets())
        self._network.carry(self, commands)

    def abort(self) -> None:
        self._close()

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        """It has no socket."""

    async def disconnect(self, *, nowait: bool = False) -> None:
        self._close()

    def _close(self) -> None:
        self.is_connected = False
        self._network.closed(self)

    def receive(self, replies: list[Any], then_cut: bool) -> None:
        """Replies came in, and the end of the connection after them when `then_cut`."""
        if not self.is_connected:
            return
        if replies:
            self._protocol.data_received(b"".join(map(resp, replies)))
        if then_cut:
            self._lose()

    def hang_up(self) -> None:
        """The server closed the connection."""
        self._network.closed(self)
        self._lose()

    def _lose(self) -> None:
        self.is_cut = True
        if self.is_connected:
            self._protocol.connection_lost(None)


def resp(reply: Any) -> bytes:
    """Write a reply as RESP2."""
    match reply:
        case bytes():  # most replies, and most parts of the others
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case redis_errors.RedisError():
            return b"-%b\r\n" % _line_of(reply).encode()
        case list() | tuple():
            return b"*%d\r\n%b" % (len(reply), b"".join(map(resp, reply)))
    data = as_bytes(reply)
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _line_of(error: redis_errors.RedisError) -> str:
    word = _WORDS.get(type(error), "ERR")
    return f"{word} {str(error).removeprefix(f'{word} ')}"
