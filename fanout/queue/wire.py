"""Commands out, replies in: the one place that talks to Redis.

Rule guarded: nothing that was written is repeated silently. redis-py's pool and client retry on their own, which would
append a batch twice; so this file keeps its own short list of idle redis-py connections, without retries, and says
which of two things happened: nothing was written (QueueError), or it was and no reply came (QueueSilentError).
A script unknown to the server was not run, so that one case is sent again, as text.
"""

from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from fanout.clock import Clock
from fanout.errors import QueueError, QueueFullError, QueueSilentError
from fanout.queue.scripts import Script

Argument = str | bytes | int | float
Command = Sequence[Argument]
Call = tuple[Script, Sequence[str], Sequence[Argument]]  # script, keys, arguments

_BROKEN = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError, TimeoutError)


class Wire:
    """Redis connections without retries; `make` builds an unconnected one, `within` bounds a round trip in seconds."""

    def __init__(self, make: Callable[[], AbstractConnection], clock: Clock, *, within: float = 5.0) -> None:
        self._make = make
        self._clock = clock
        self._within = within
        self._idle: list[AbstractConnection] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"<Wire {len(self._idle)} idle>"

    async def call(self, *commands: Command, within: float | None = None) -> list[Any]:
        """Send all commands in one write and give their replies in order; an error reply stands as its exception.

        Raises QueueError when nothing was written and QueueSilentError when a reply is missing.
        """
        connection = await self._connected()
        try:
            async with self._clock.timeout(self._within if within is None else within):
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                replies = [await _reply(connection) for _ in commands]
        except _BROKEN as error:
            await connection.disconnect(nowait=True)
            raise QueueSilentError(f"Redis did not answer: {_reason(error)}") from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        await self._put_back(connection)
        return replies

    async def ask(self, *command: Argument, within: float | None = None) -> Any:
        """Send one command and give its reply; an error reply is raised as QueueError."""
        return raised((await self.call(command, within=within))[0])

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts, each (script, keys, arguments), in one round trip; an error reply stands as its exception."""
        replies = await self.call(*(("EVALSHA", s.sha, len(keys), *keys, *args) for s, keys, args in calls))
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)]
        if unknown:
            again = [calls[i] for i in unknown]
            texts = await self.call(*(("EVAL", s.text, len(keys), *keys, *args) for s, keys, args in again))
            for i, reply in zip(unknown, texts, strict=True):
                replies[i] = reply
        return replies

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run one script; an error reply is raised as QueueError."""
        return raised((await self.run_all([(script, keys, args)]))[0])

    async def aclose(self) -> None:
        """Close what is idle; connections in use close when they come back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def _connected(self) -> AbstractConnection:
        while self._idle:
            connection = self._idle.pop()
            reader = connection._reader  # noqa: SLF001 - redis-py offers no cheap way to see that the server hung up
            if connection.is_connected and reader is not None and not reader.at_eof():
                return connection
            await connection.disconnect(nowait=True)
        connection = self._make()
        try:
            async with self._clock.timeout(self._within):
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py has no annotation here
        except (*_BROKEN, redis_errors.RedisError) as error:
            await connection.disconnect(nowait=True)
            raise QueueError(f"Redis cannot be reached: {_reason(error)}") from None
        return connection

    async def _put_back(self, connection: AbstractConnection) -> None:
        if self._closed:
            await connection.disconnect(nowait=True)
        elif connection.is_connected:
            self._idle.append(connection)


def raised(reply: Any) -> Any:
    """Give a reply back, or raise what an error reply means to a caller."""
    if not isinstance(reply, redis_errors.RedisError):
        return reply
    if isinstance(reply, redis_errors.OutOfMemoryError) or "OOM" in str(reply):
        raise QueueFullError("Redis is out of memory (maxmemory); give it more, or let the workers drain the queue.")
    raise QueueError(f"Redis refused: {reply}")


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except redis_errors.ResponseError as error:
        return error


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
