"""One connection to Redis after redis-py has opened it: commands out, replies in, several callers at once.

Rules guarded: replies come in the order of the commands, so each caller gets those of its own, whoever else uses the
connection; what nobody asked for ends the connection, because no reply behind it could be trusted. redis-py connects
and logs in; packing and reading with hiredis alone cost a tenth of what its streams do, for a reply in many pieces.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

_MORE: Final = object()  # hiredis has no whole reply yet
_GATHERED: Final = 64 * 1024  # bytes of one turn of the loop past which nobody else joins


class _Asked:
    """Replies one caller waits for."""

    __slots__ = ("count", "future", "replies")

    def __init__(self, count: int, future: "asyncio.Future[list[Any]]") -> None:
        self.count = count
        self.future = future
        self.replies: list[Any] = []


class ServerConnection(asyncio.Protocol):
    """One connection. `rested` is called whenever all replies are in; `epoch` is its owner's mark."""

    def __init__(
        self, connection: AbstractConnection, epoch: int, rested: "Callable[[ServerConnection], None]"
    ) -> None:
        self.epoch = epoch
        self.is_lost = False
        self._connection = connection
        self._rested = rested
        self._asked: deque[_Asked] = deque()
        self._gathered = _GATHERED  # until somebody who shares begins

    def __repr__(self) -> str:
        return f"<ServerConnection {'lost' if self.is_lost else 'up'}, {len(self._asked)} waiting>"

    async def open(self) -> None:
        """Connect and log in; raises what redis-py raises."""
        await self._connection.connect()  # type: ignore[no-untyped-call] # redis-py does not annotate it
        writer: Any = self._connection._writer  # noqa: SLF001 - the only way to its socket
        reader: Any = self._connection._reader  # noqa: SLF001 - knows whether the server hung up meanwhile
        parser: Any = self._connection._parser  # noqa: SLF001 - it knows which exception stands for which error
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = writer.transport
        self._streams: Any = self._transport.get_protocol()
        self._reader = hiredis.Reader(
            protocolError=redis_errors.InvalidResponse, replyError=parser.parse_error, notEnoughData=_MORE
        )
        self._transport.set_protocol(self)
        self.is_lost = self._transport.is_closing() or reader.at_eof()

    @property
    def is_gathering(self) -> bool:
        """Whether what is sent now leaves together with what other callers sent in this turn of the loop."""
        return self._gathered < _GATHERED and not self.is_lost

    def send(self, commands: Sequence[Sequence[Any]], *, gather: bool = False) -> "asyncio.Future[list[Any]]":
        """Write commands and give the future of their replies; error replies stand as their exceptions.

        With `gather` others may add theirs until the turn ends. The future fails with redis-py's ConnectionError.
        """
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.is_lost or self._transport.is_closing():  # a reset closes it a turn before anybody is told
            future.set_exception(redis_errors.ConnectionError("Connection closed by server."))
            return future
        packed = [hiredis.pack_command(tuple(command)) for command in commands]
        self._asked.append(_Asked(len(packed), future))
        whole = packed[0] if len(packed) == 1 else b"".join(packed)
        self._transport.write(whole)
        if gather:
            if self._gathered >= _GATHERED:
                self._gathered = 0
                self._loop.call_soon(self._end_turn)
            self._gathered += len(whole)
        return future

    def is_shared_with_others(self, future: "asyncio.Future[list[Any]]") -> bool:
        """Tell whether somebody else than the owner of `future` still waits for replies."""
        return any(asked.future is not future and not asked.future.done() for asked in self._asked)

    def abort(self) -> None:
        """Close at once; whoever waits is told."""
        self.is_lost = True
        self._transport.abort()
        self._fail("The connection was given up.")
        self._forget()

    def data_received(self, data: bytes) -> None:
        """Hand replies out."""
        try:
            self._reader.feed(data)
            while self._asked and self._take():
                pass
        except redis_errors.RedisError:  # hiredis lost its place
            self.abort()
            return
        if not self._asked and not self.is_lost:
            if self._reader.has_data():
                self.abort()
            else:
                self._end_turn()  # who comes now finds it among the idle
                self._rested(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody that nothing more comes."""
        self.is_lost = True
        self._fail(f"Connection closed by server: {exc}." if exc else "Connection closed by server.")
        self._streams.connection_lost(exc)
        self._forget()

    def _take(self) -> bool:
        asked = self._asked[0]
        replies, count = asked.replies, asked.count
        while len(replies) < count:
            reply = self._reader.gets()
            if reply is _MORE:
                return False
            replies.append(reply)
            if isinstance(reply, redis_errors.ConnectionError):
                self._last(asked)
                return False
        self._asked.popleft()
        if not asked.future.done():
            asked.future.set_result(replies)
        return True

    def _last(self, asked: _Asked) -> None:
        # The server serves nobody here (LOADING, too many clients): its word is all there will be.
        self._asked.popleft()
        if not asked.future.done():
            asked.future.set_result(asked.replies)
        self.abort()

    def _forget(self) -> None:
        connection: Any = self._connection
        connection._close()  # noqa: SLF001 - what is public waits, and this is called where nobody can

    def _end_turn(self) -> None:
        self._gathered = _GATHERED

    def _fail(self, reason: str) -> None:
        while self._asked:
            future = self._asked.popleft().future
            if not future.done():
                future.set_exception(redis_errors.ConnectionError(reason))
