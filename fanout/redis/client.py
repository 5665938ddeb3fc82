"""Commands out, replies in: what the queue uses of Redis, be it one server or many.

Rule guarded: nothing that was written is repeated silently. redis-py's pool and client retry on their own, which would
append a batch twice. So a failed call says which of two things happened: nothing was done (QueueError), or it was
written and no reply came (QueueSilentError). A script that the server does not know was not run, so this one case is
sent again, as text. A server that makes no progress for `time_limit` seconds counts as silent. A large request on a
slow link makes progress, because its bytes move.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from hashlib import sha1
from typing import Any, ClassVar

from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from fanout.clock import Clock
from fanout.errors import QueueError, QueueFullError, QueueSilentError
from fanout.redis.address import Login
from fanout.redis.connection import Pending, Request, ServerConnection
from fanout.redis.durability import Durability, confirmed
from fanout.redis.pool import CONNECTION_ERRORS, MAX_CONNECTIONS, ConnectionPool, reason_of

Argument = str | bytes | int | float
Command = Sequence[Argument]

_PROGRESS_CHECKS = 8  # how often within the time limit a call checks for progress


class Script:
    """Lua text and its SHA1. Two versions of a script have two names, so neither process runs the other's text."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.sha[:8]}>"


Call = tuple[Script, Sequence[str], Sequence[Argument]]  # script, keys, arguments


class RedisClient(ABC):
    """A client of one server or of a Cluster. `time_limit` of a call is seconds without progress."""

    is_cluster: ClassVar[bool] = False

    @abstractmethod
    def generation(self, key: str) -> Hashable:
        """Return a value that changes when data read by this key may be gone: another server, or another history."""

    @abstractmethod
    def node_of(self, key: str) -> Hashable:
        """Return a value that is equal for keys whose commands succeed and fail together."""

    @abstractmethod
    async def call(
        self,
        *commands: Command,
        time_limit: float | None = None,
        confirm: Durability | None = None,
        blocking: bool = False,
    ) -> list[Any]:
        """Send all commands in one write to each server concerned and return their replies in order.

        An error reply is returned as its exception. With `confirm`, the reply to what was done and not acknowledged is
        returned as Unconfirmed. `blocking`: the commands wait in Redis. Raise QueueError when nothing was done and
        QueueSilentError when no outcome is known. With several servers these are returned in the place of the replies
        of the server that they concern.
        """

    @abstractmethod
    async def ask_primaries(self, *command: Argument, time_limit: float | None = None) -> list[Any]:
        """Send one command to every primary and return the replies; raise an error reply as QueueError."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close idle connections. Those in use are closed when they become free."""

    async def ask(self, *command: Argument, time_limit: float | None = None, blocking: bool = False) -> Any:
        """Send one command and return its reply; raise an error reply as QueueError."""
        return reply_or_raise((await self.call(command, time_limit=time_limit, blocking=blocking))[0])

    async def run_all(
        self, calls: Sequence[Call], *, time_limit: float | None = None, confirm: Durability | None = None
    ) -> list[Any]:
        """Run scripts in one round trip; the replies are those of `call`."""
        commands = (("EVALSHA", s.sha, len(keys), *keys, *args) for s, keys, args in calls)
        replies = await self.call(*commands, time_limit=time_limit, confirm=confirm)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)]
        if unknown:
            texts = (("EVAL", s.text, len(keys), *keys, *args) for s, keys, args in (calls[i] for i in unknown))
            try:
                again = await self.call(*texts, time_limit=time_limit, confirm=confirm)
            except QueueError as error:  # the outcomes of the others are known and must not be lost with it
                again = [error] * len(unknown)
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        return replies

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, time_limit: float | None = None
    ) -> Any:
        """Run one script and return its reply; raise an error reply as QueueError."""
        return reply_or_raise((await self.run_all([(script, keys, args)], time_limit=time_limit))[0])


class ServerClient(RedisClient):
    """A client of one server. `make` builds an unconnected connection."""

    def __init__(
        self,
        make: Callable[[], AbstractConnection],
        clock: Clock,
        *,
        time_limit: float = 2.0,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._pool = ConnectionPool(make, clock, max_connections=max_connections)
        self._clock = clock
        self._time_limit = time_limit

    def __repr__(self) -> str:
        return f"<ServerClient {self._pool!r}>"

    def generation(self, key: str = "") -> Hashable:
        del key  # one server has all of them
        return self._pool.generation

    def node_of(self, key: str) -> Hashable:
        del key
        return None

    async def call(
        self,
        *commands: Command,
        time_limit: float | None = None,
        confirm: Durability | None = None,
        blocking: bool = False,
    ) -> list[Any]:
        if not commands:
            return []
        request = Request(commands, confirm=confirm, blocking=blocking)
        limit = self._time_limit if time_limit is None else time_limit
        pending = self._pool.try_submit(request) or await self._submit(request, limit)
        replies = await self._replies(pending, limit + (confirm.timeout if confirm else 0.0))
        if confirm is not None and len(replies) > request.count:
            replies = confirmed(replies, confirm)
        for position, reply in enumerate(replies):
            if isinstance(reply, redis_errors.ConnectionError):
                raise self._refusal(pending.connection, reply, position)
        return replies

    async def ask_primaries(self, *command: Argument, time_limit: float | None = None) -> list[Any]:
        return [await self.ask(*command, time_limit=time_limit)]

    async def aclose(self) -> None:
        self._pool.close()

    def log_in(self, login: Login) -> None:
        """Log in again on the open connections: what they logged in with ends."""
        self._pool.log_in(login)

    async def _submit(self, request: Request, limit: float) -> Pending:
        try:
            async with self._clock.timeout(limit):
                return await self._pool.submit(request)
        except TimeoutError:
            raise QueueError(f"Redis cannot be reached or is too slow: no connection within {limit:g} s.") from None

    async def _replies(self, pending: Pending, limit: float) -> list[Any]:
        try:
            return await self._wait_while_progressing(pending, limit)
        except CONNECTION_ERRORS as error:
            if isinstance(error, TimeoutError):
                self._pool.expire()  # a machine that is gone closes nothing: the idle ones would time out one by one
            self._pool.discard(pending.connection)
            raise QueueSilentError(f"Redis did not answer: {reason_of(error)}.") from None
        except BaseException:
            self._pool.abandon(pending)
            raise

    async def _wait_while_progressing(self, pending: Pending, limit: float) -> list[Any]:
        progress: tuple[int, int] | None = None
        idle_checks = 0  # in a row that saw no progress
        while True:
            try:
                async with self._clock.timeout(limit / _PROGRESS_CHECKS):
                    return await pending.future
            except TimeoutError:
                last, progress = progress, pending.connection.progress()
                idle_checks = idle_checks + 1 if last == progress else 0  # what was before the first one is not known
                if idle_checks == _PROGRESS_CHECKS:
                    raise TimeoutError(f"no progress within {limit:g} s") from None
            pending.renew()

    def _refusal(self, connection: ServerConnection, reply: redis_errors.ConnectionError, position: int) -> QueueError:
        self._pool.discard(connection)
        if isinstance(reply, redis_errors.BusyLoadingError) and position == 0:
            return QueueError(f"Redis is starting: {reply}.")  # it runs no command yet
        return QueueSilentError(f"Redis did not answer: {reason_of(reply)}.")


def reply_or_raise(reply: Any) -> Any:
    """Return a reply, or raise what an error reply means to a caller."""
    if not isinstance(reply, Exception):
        return reply
    if isinstance(reply, QueueError):
        raise reply
    if is_out_of_memory(reply):
        raise QueueFullError("Redis is out of memory (maxmemory); give it more, or let the workers drain the queue.")
    raise QueueError(f"Redis refused: {reply}")


def is_out_of_memory(reply: Any) -> bool:
    """Return whether a reply is the refusal of a server at its maxmemory, which did nothing of the command."""
    return isinstance(reply, redis_errors.OutOfMemoryError) or (
        isinstance(reply, redis_errors.RedisError) and "OOM" in str(reply)
    )
