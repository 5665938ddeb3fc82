"""The client of one server: its calls, and a bounded number of connections, shared, and closed when they are idle.

Rules guarded: requests that may wait in Redis use connections of their own; all others share at most
`max_connections`. A request that finds all of them busy waits for its turn, in order, and what waits is sent together.
When a server falls silent or is no primary any more, none of its old connections is used again. A connection that
meets another server process or another history of its data than the one before says so: `generation` grows.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any
from weakref import WeakSet

from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from fanout.clock import Clock
from fanout.errors import QueueError, QueueSilentError
from fanout.redis.address import Login
from fanout.redis.client import MAX_SHARED, Argument, Command, Pending, RedisClient, Request, ServerConnection
from fanout.redis.durability import Durability, confirmed

MAX_CONNECTIONS = 8  # few are enough, because requests of one turn of the event loop share one
IDLE_SECONDS = 60.0
_PROGRESS_CHECKS = 8  # how often within the time limit a call checks for progress
_REFUSED = -1  # the epoch of a connection that may not log in any more
CONNECTION_ERRORS = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError, TimeoutError)


# Calls ---------------------------------------------------------------------------------------------------------------


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


# Connections ---------------------------------------------------------------------------------------------------------


class _Waiter:
    """A request that waits for a connection. Its future gets its pending replies, or None: it may open a connection."""

    __slots__ = ("future", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.future: asyncio.Future[Pending | None] = asyncio.get_running_loop().create_future()


class ConnectionPool:
    """Connections to one server. `make` builds an unconnected one."""

    def __init__(
        self, make: Callable[[], AbstractConnection], clock: Clock, *, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self._make = make
        self._clock = clock
        self._max = max_connections
        self._idle: list[ServerConnection] = []  # the one used last is used first
        self._busy = 0  # connections that are counted: in use by requests that do not block, or being opened for one
        self._waiters: deque[_Waiter] = deque()
        self._shared: ServerConnection | None = None  # what requests of this turn of the event loop leave on
        self._epoch = 0  # connections of an earlier one are not used again
        self._identity: tuple[bytes, ...] | None = None
        self._is_known = False
        self._closed = False
        self._login: Login | None = None  # the latest that open connections were told
        self._open_ones: WeakSet[ServerConnection] = WeakSet()
        self.generation = 0

    def __repr__(self) -> str:
        return f"<ConnectionPool {len(self._idle)} idle, {self._busy} busy, {len(self._waiters)} requests waiting>"

    def try_submit(self, request: Request) -> Pending | None:
        """Write a request if a connection is free for it now; return None if not."""
        if self._waiters and not request.blocking:
            return None
        shared = self._shared
        if request.is_shareable and shared is not None and shared.can_share(request):
            return shared.send(request)
        if self._may_use_connection(request) and (connection := self._pop_idle()) is not None:
            return self._use(connection, request)
        return None

    async def submit(self, request: Request) -> Pending:
        """Write a request as soon as a connection may be used for it. Raise QueueError when none can be opened."""
        if not self._may_use_connection(request):
            pending = await self._wait_for_connection(request)
            if pending is not None:
                return pending
        elif not request.blocking:
            self._busy += 1
        try:
            connection = self._pop_idle() or await self._open()
        except BaseException:
            if not request.blocking:
                self._release_slot()
            raise
        if not request.blocking:
            self._busy -= 1  # `_use` counts it
        return self._use(connection, request)

    def discard(self, connection: ServerConnection) -> None:
        """Close a connection, whatever it is used for."""
        connection.abort()
        self._forget(connection)

    def abandon(self, pending: Pending) -> None:
        """Stop waiting for replies. Their connection is closed unless others wait for theirs."""
        pending.future.cancel()
        if not pending.connection.has_other_callers(pending):
            self.discard(pending.connection)

    def expire(self) -> None:
        """Use none of the present connections for a further request."""
        self._epoch += 1
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    def log_in(self, login: Login) -> None:
        """Log in again on every open connection. One that is refused is closed when it is free."""
        self._login = login
        self._idle = []  # each comes back when it has its reply
        for connection in tuple(self._open_ones):
            if not connection.is_lost and connection.epoch == self._epoch:
                self._log_in(connection, login)

    def close(self) -> None:
        """Close idle connections now and those in use when they become free."""
        self._closed = True
        self.expire()

    def _log_in(self, connection: ServerConnection, login: Login) -> None:
        pending = connection.send(Request([("AUTH", login.username, login.password)]))
        pending.future.add_done_callback(partial(self._logged_in, connection))

    def _logged_in(self, connection: ServerConnection, replies: "asyncio.Future[list[Any]]") -> None:
        if replies.cancelled() or replies.exception() is not None or replies.result() in ([b"OK"], ["OK"]):
            return
        connection.epoch = _REFUSED
        if connection in self._idle:
            self._idle.remove(connection)
            connection.abort()

    def _may_use_connection(self, request: Request) -> bool:
        return request.blocking or (self._busy < self._max and not self._waiters)

    def _use(self, connection: ServerConnection, request: Request) -> Pending:
        if not request.blocking:
            connection.is_counted = True
            self._busy += 1
        if request.is_shareable:
            self._shared = connection
        return connection.send(request)

    def _pop_idle(self) -> ServerConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_lost:
                return connection
        return None

    async def _wait_for_connection(self, request: Request) -> Pending | None:
        waiter = _Waiter(request)
        self._waiters.append(waiter)
        try:
            return await waiter.future
        except BaseException:
            if waiter.future.cancelled():
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            elif (pending := waiter.future.result()) is not None:
                self.abandon(pending)
            else:
                self._release_slot()
            raise

    async def _open(self) -> ServerConnection:
        login, inner = self._login, self._make()
        connection = ServerConnection(inner, self._epoch, self._on_free)
        try:
            await connection.open()
        except (*CONNECTION_ERRORS, redis_errors.RedisError, RuntimeError) as error:  # RuntimeError: uvloop, of a reset
            await abort(inner)
            if isinstance(error, redis_errors.BusyLoadingError):
                raise QueueError(f"Redis is starting: {error}.") from None
            raise QueueError(f"Redis cannot be reached: {reason_of(error)}.") from None
        except BaseException:
            await abort(inner)
            raise
        if self._is_known and (connection.identity is None or connection.identity != self._identity):
            self.generation += 1
        self._identity, self._is_known = connection.identity, True
        self._open_ones.add(connection)
        if self._login is not None and self._login is not login:  # there was another one while it logged in
            self._log_in(connection, self._login)
        return connection

    def _on_free(self, connection: ServerConnection) -> None:
        if connection.is_demoted:
            self.expire()
        if connection.is_lost or self._closed or connection.epoch != self._epoch:
            if not connection.is_lost:
                connection.abort()
            self._forget(connection)
        elif connection.is_counted and (first := self._next_waiter()) is not None:
            self._send_waiting(connection, first)
        else:
            if connection.is_counted:
                connection.is_counted = False
                self._busy -= 1
            connection.idle_since = self._clock.monotonic()
            self._idle.append(connection)
            self._close_idle(connection.idle_since - IDLE_SECONDS)

    def _send_waiting(self, connection: ServerConnection, first: _Waiter) -> None:
        together = [first]
        if first.request.is_shareable:
            self._shared = connection
            together += self._take_sharing(first.request)
        for waiter, pending in zip(
            together, connection.send_together([waiter.request for waiter in together]), strict=True
        ):
            waiter.future.set_result(pending)

    def _take_sharing(self, leading: Request) -> list[_Waiter]:
        # Those that may leave with this request, in order, up to a size.
        taken: list[_Waiter] = []
        left: deque[_Waiter] = deque()
        size = len(leading.payload)
        for waiter in self._waiters:
            request = waiter.request
            if waiter.future.done():
                continue
            if size < MAX_SHARED and request.is_shareable and request.confirm is leading.confirm:
                size += len(request.payload)
                taken.append(waiter)
            else:
                left.append(waiter)
        self._waiters = left
        return taken

    def _forget(self, connection: ServerConnection) -> None:
        if connection.is_counted:
            connection.is_counted = False
            self._release_slot()

    def _release_slot(self) -> None:
        # One connection less is in use: the next in line may open one.
        waiter = self._next_waiter()
        if waiter is None:
            self._busy -= 1
        else:
            waiter.future.set_result(None)

    def _next_waiter(self) -> _Waiter | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.future.done():
                return waiter
        return None

    def _close_idle(self, before: float) -> None:
        while self._idle and self._idle[0].idle_since < before:
            self._idle.pop(0).abort()


async def abort(connection: AbstractConnection) -> None:
    """Close at once: closing TLS politely would wait half a minute for a peer that is gone."""
    writer = getattr(connection, "_writer", None)  # redis-py itself can only close politely
    if writer is not None:
        writer.transport.abort()
    await connection.disconnect(nowait=True)


def reason_of(error: BaseException) -> str:
    """Return the text of an error, or its type when it has none, without a full stop."""
    return str(error).removesuffix(".") or type(error).__name__
