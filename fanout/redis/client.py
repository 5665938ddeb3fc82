"""Commands out, replies in: the one place that talks to Redis.

Rule guarded: nothing that was written is repeated silently. redis-py's pool and client retry on their own, which would
append a batch twice; so this file keeps its own short list of idle connections, without retries, and says
which of two things happened: nothing was done (QueueError), or it was written and no reply came (QueueSilentError).
A script unknown to the server was not run, so that one case is sent again, as text. A server that fell silent, or says
that it is no primary any more, loses all its connections: the next call asks anew where the primary is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from fanout.clock import Clock
from fanout.errors import QueueError, QueueFullError, QueueSilentError
from fanout.redis.connection import ServerConnection
from fanout.redis.durability import Durability, confirmed
from fanout.redis.script import Script

Argument = str | bytes | int | float
Command = Sequence[Argument]
Call = tuple[Script, Sequence[str], Sequence[Argument]]  # script, keys, arguments

BROKEN = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError, TimeoutError)
_DEMOTED = (redis_errors.ReadOnlyError, redis_errors.MasterDownError)


class RedisClient(ABC):
    """The store, be it one server or many."""

    is_cluster: ClassVar[bool] = False

    @property
    @abstractmethod
    def breaks(self) -> int:
        """How many connections broke so far; each may be the sign of a failover."""

    @abstractmethod
    async def call(
        self, *commands: Command, time_limit: float | None = None, confirm: Durability | None = None
    ) -> list[Any]:
        """Send all commands in one write to each server concerned and give their replies in order.

        An error reply stands as its exception. With `confirm`, what is done and not acknowledged stands as Unconfirmed.
        Raises QueueError when nothing was done and QueueSilentError when no outcome is known; where there are several
        servers, these stand in the place of the replies of the server they concern. `within` is seconds a round trip.
        """

    @abstractmethod
    async def ask_primaries(self, *command: Argument, time_limit: float | None = None) -> list[Any]:
        """Ask every primary the same and give their replies; an error reply is raised as QueueError."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close what is idle; connections in use close when they come back."""

    async def ask(self, *command: Argument, time_limit: float | None = None) -> Any:
        """Send one command and give its reply; an error reply is raised as QueueError."""
        return reply_or_raise((await self.call(command, time_limit=time_limit))[0])

    async def run_all(self, calls: Sequence[Call], *, confirm: Durability | None = None) -> list[Any]:
        """Run scripts, each (script, keys, arguments), in one round trip; replies are those of `call`."""
        commands = (("EVALSHA", s.sha, len(keys), *keys, *args) for s, keys, args in calls)
        replies = await self.call(*commands, confirm=confirm)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)]
        if unknown:
            again = [calls[i] for i in unknown]
            try:
                texts = await self.call(
                    *(("EVAL", s.text, len(keys), *keys, *args) for s, keys, args in again), confirm=confirm
                )
            except QueueError as error:  # the outcomes of the others are known and must not be lost with it
                texts = [error] * len(unknown)
            for i, reply in zip(unknown, texts, strict=True):
                replies[i] = reply
        return replies

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run one script; an error reply is raised as QueueError."""
        return reply_or_raise((await self.run_all([(script, keys, args)]))[0])


class ServerClient(RedisClient):
    """Connections to one server; `make` builds an unconnected one, `within` bounds a round trip in seconds."""

    def __init__(self, make: Callable[[], AbstractConnection], clock: Clock, *, time_limit: float = 5.0) -> None:
        self._make = make
        self._clock = clock
        self._time_limit = time_limit
        self._idle: list[ServerConnection] = []
        self._gathering: ServerConnection | None = None  # what scripts of this turn of the loop leave with
        self._epoch = 0  # connections of an earlier one are not used again
        self._closed = False
        self._breaks = 0

    def __repr__(self) -> str:
        return f"<ServerClient {len(self._idle)} idle>"

    @property
    def breaks(self) -> int:
        return self._breaks

    async def call(
        self, *commands: Command, time_limit: float | None = None, confirm: Durability | None = None
    ) -> list[Any]:
        bound = self._time_limit if time_limit is None else time_limit
        if not commands:
            return []
        if confirm is None:
            return await self._exchange(commands, bound, gather=commands[0][0] == "EVALSHA")
        return confirmed(await self._exchange((*commands, confirm.command), bound + confirm.timeout), confirm)

    async def ask_primaries(self, *command: Argument, time_limit: float | None = None) -> list[Any]:
        return [await self.ask(*command, time_limit=time_limit)]

    async def aclose(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    async def _exchange(self, commands: Sequence[Command], time_limit: float, *, gather: bool = False) -> list[Any]:
        connection = self._gathering
        if not gather or connection is None or not connection.is_gathering:
            connection = await self._connected()
            if gather:
                self._gathering = connection
        asked = connection.send(commands, gather=gather)
        try:
            async with self._clock.timeout(time_limit):
                replies = await asked
        except BROKEN as error:
            self._give_up(connection, error)
            raise QueueSilentError(f"Redis did not answer: {reason_of(error)}.") from None
        except BaseException:
            if not connection.is_shared_with_others(asked):
                connection.abort()
            raise
        for place, reply in enumerate(replies):
            if isinstance(reply, redis_errors.RedisError):
                self._heed(connection, reply, place)
        return replies

    def _heed(self, connection: ServerConnection, reply: redis_errors.RedisError, place: int) -> None:
        # What an error reply says about the server, beside what it says about its command.
        if isinstance(reply, redis_errors.ConnectionError):
            self._give_up(connection, reply)
            if isinstance(reply, redis_errors.BusyLoadingError) and place == 0:
                raise QueueError(f"Redis is starting: {reply}.")  # it does nothing for anybody yet
            raise QueueSilentError(f"Redis did not answer: {reason_of(reply)}.")
        if isinstance(reply, _DEMOTED) or str(reply).startswith("UNBLOCKED"):
            self._epoch += 1

    def _give_up(self, connection: ServerConnection, error: BaseException) -> None:
        self._breaks += 1
        if isinstance(error, TimeoutError):
            self._epoch += 1  # a machine that is gone hangs up on nobody: the idle ones would time out one by one
        connection.abort()

    async def _connected(self) -> ServerConnection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_lost and connection.epoch == self._epoch:
                return connection
            self._breaks += 1
            connection.abort()
        inner = self._make()
        connection = ServerConnection(inner, self._epoch, self._put_back)
        try:
            async with self._clock.timeout(self._time_limit):
                await connection.open()
        except (*BROKEN, redis_errors.RedisError, RuntimeError) as error:  # RuntimeError: uvloop, of a reset just now
            self._breaks += 1
            await abort(inner)
            raise QueueError(f"Redis cannot be reached: {reason_of(error)}.") from None
        return connection

    def _put_back(self, connection: ServerConnection) -> None:
        if self._closed or connection.epoch != self._epoch:
            connection.abort()
        else:
            self._idle.append(connection)


def reply_or_raise(reply: Any) -> Any:
    """Give a reply back, or raise what an error reply means to a caller."""
    if not isinstance(reply, Exception):
        return reply
    if isinstance(reply, QueueError):
        raise reply
    if is_out_of_memory(reply):
        raise QueueFullError("Redis is out of memory (maxmemory); give it more, or let the workers drain the queue.")
    raise QueueError(f"Redis refused: {reply}")


def is_out_of_memory(reply: Any) -> bool:
    """Tell whether a reply is the refusal of a server at its maxmemory, which did nothing of the command."""
    return isinstance(reply, redis_errors.OutOfMemoryError) or (
        isinstance(reply, redis_errors.RedisError) and "OOM" in str(reply)
    )


async def abort(connection: AbstractConnection) -> None:
    """Close at once: a TLS good-bye would wait half a minute for a peer that is gone; nothing is left to be said."""
    writer = getattr(connection, "_writer", None)  # redis-py itself can only close politely
    if writer is not None:
        writer.transport.abort()
    await connection.disconnect(nowait=True)


def reason_of(error: BaseException) -> str:
    """Give what an error says, or what it is when it says nothing; without a full stop."""
    return str(error).removesuffix(".") or type(error).__name__
