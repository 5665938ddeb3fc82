"""Commands out, replies in: what the queue uses of Redis, and a connection that carries it.

Rules guarded: nothing that was written is repeated silently. redis-py's pool and client retry on their own, which would
append a batch twice. So a failed call says which of two things happened: nothing was done (QueueError), or it was
written and no reply came (QueueSilentError). A script that the server does not know was not run, so this one case is
sent again, as text. A server that makes no progress for `time_limit` seconds counts as silent. A large request on a
slow link makes progress, because its bytes move.

Replies arrive in the order of the commands, so each caller receives those of its own, whoever else uses the connection.
A reply that nobody asked for ends the connection, because no reply after it could be trusted. redis-py connects and
logs in. Packing and reading with hiredis alone cost a tenth of what its streams do for a reply in many pieces.
"""

import asyncio
import fcntl
import re
import struct
import termios
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from hashlib import sha1
from typing import Any, ClassVar, Final

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from fanout.errors import QueueError, QueueFullError
from fanout.redis.durability import Durability

Argument = str | bytes | int | float
Command = Sequence[Argument]

MAX_SHARED = 64 * 1024  # bytes of one turn of the event loop beyond which no further caller joins
_DEMOTED = (redis_errors.ReadOnlyError, redis_errors.MasterDownError)
_INCOMPLETE: Final = object()  # hiredis has no complete reply yet
_IDENTITY = re.compile(rb"^(?:run_id|master_replid):(\w+)", re.MULTILINE)


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


# One connection ------------------------------------------------------------------------------------------------------


class Request:
    """The commands that one caller sends together, packed.

    `blocking`: they may wait in Redis. `confirm`: the acknowledgements to wait for after them; its reply comes last.
    """

    __slots__ = ("blocking", "confirm", "count", "is_shareable", "payload")

    def __init__(
        self, commands: Sequence[Sequence[Any]], *, confirm: Durability | None = None, blocking: bool = False
    ) -> None:
        packed = [hiredis.pack_command(tuple(command)) for command in commands]
        self.payload = packed[0] if len(packed) == 1 else b"".join(packed)
        self.count = len(packed)
        self.confirm = confirm
        self.blocking = blocking
        self.is_shareable = commands[0][0] == "EVALSHA"  # scripts never block and have small replies


class Pending:
    """The replies that one caller waits for."""

    __slots__ = ("connection", "future", "replies", "request")

    def __init__(self, connection: "ServerConnection", request: Request, future: "asyncio.Future[list[Any]]") -> None:
        self.connection = connection
        self.request = request
        self.replies: list[Any] = []
        self.future = future

    def renew(self) -> None:
        """Wait again with a new future, after the wait for the old one was given up."""
        self.future = asyncio.get_running_loop().create_future()
        if len(self.replies) == self.request.count + (self.request.confirm is not None):
            self.future.set_result(self.replies)
        elif self.connection.is_lost:
            self.fail("The connection was lost.")

    def complete(self) -> None:
        """Deliver the replies, which are all in, unless a confirmation has to follow."""
        if self.request.confirm is None and not self.future.done():
            self.future.set_result(self.replies)

    def end(self) -> None:
        """Deliver the replies that are in: no further one will come."""
        if not self.future.done():
            self.future.set_result(self.replies)

    def fail(self, reason: str) -> None:
        """Report that no reply will come."""
        if not self.future.done():
            self.future.set_exception(redis_errors.ConnectionError(reason))


class _Confirmation(Pending):
    """The reply that all requests of one turn wait for."""

    __slots__ = ("waiting",)

    def __init__(self, connection: "ServerConnection", confirm: Durability, waiting: Sequence[Pending]) -> None:
        super().__init__(connection, Request([confirm.command]), asyncio.get_running_loop().create_future())
        self.waiting = waiting

    def complete(self) -> None:
        for pending in self.waiting:
            pending.replies += self.replies
            pending.end()

    end = complete

    def fail(self, reason: str) -> None:
        for pending in self.waiting:
            pending.fail(reason)


class ServerConnection(asyncio.Protocol):
    """One connection. `on_free` is called when all replies are in and when the connection is lost.

    `identity` names the server process and its history of data, None where it does not say. `is_demoted`: a reply said
    that the server is no primary any more. `epoch`, `is_counted` and `idle_since` belong to the pool.
    """

    def __init__(
        self, connection: AbstractConnection, epoch: int, on_free: "Callable[[ServerConnection], None]"
    ) -> None:
        self.epoch = epoch
        self.is_counted = False
        self.idle_since = 0.0
        self.is_lost = False
        self.is_demoted = False
        self.identity: tuple[bytes, ...] | None = None
        self._connection = connection
        self._on_free = on_free
        self._is_open = False
        self._pending: deque[Pending] = deque()
        self._received = 0
        self._shared = MAX_SHARED  # bytes written in this turn by callers that share; at the maximum nobody may join
        self._confirm: Durability | None = None  # what the requests of this turn wait for
        self._unconfirmed: list[Pending] = []

    def __repr__(self) -> str:
        return f"<ServerConnection {'lost' if self.is_lost else 'up'}, {len(self._pending)} pending>"

    async def open(self) -> None:
        """Connect, log in and ask for the identity; raise what redis-py raises."""
        await self._connection.connect()  # type: ignore[no-untyped-call] # redis-py does not annotate it
        writer: Any = self._connection._writer  # noqa: SLF001 - the only way to its socket
        reader: Any = self._connection._reader  # noqa: SLF001 - knows whether the server closed it meanwhile
        parser: Any = self._connection._parser  # noqa: SLF001 - knows which exception stands for which error
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = writer.transport
        self._streams: Any = self._transport.get_protocol()
        self._reader = hiredis.Reader(
            protocolError=redis_errors.InvalidResponse, replyError=parser.parse_error, notEnoughData=_INCOMPLETE
        )
        self._transport.set_protocol(self)
        self.is_lost = self._transport.is_closing() or reader.at_eof()
        [info] = await self.send(Request([("INFO", "server", "replication")])).future
        self.identity = tuple(_IDENTITY.findall(info)) or None if isinstance(info, bytes) else None
        self._is_open = True

    def can_share(self, request: Request) -> bool:
        """Return whether a request may leave together with what was sent in this turn of the event loop."""
        return self._shared < MAX_SHARED and not self.is_lost and request.confirm is self._confirm

    def send(self, request: Request) -> Pending:
        """Write a request and return its pending replies, with error replies as exceptions.

        Others may add to it until the turn ends. The future fails with redis-py's ConnectionError.
        """
        pending = self._expect(request)
        if not self.is_lost:
            self._transport.write(request.payload)
        return pending

    def send_together(self, requests: Sequence[Request]) -> list[Pending]:
        """Write requests of several callers at once, as `send` does for one."""
        all_pending = [self._expect(request) for request in requests]
        if not self.is_lost:
            self._transport.write(b"".join([request.payload for request in requests]))
        return all_pending

    def _expect(self, request: Request) -> Pending:
        pending = Pending(self, request, self._loop.create_future())
        if self.is_lost or self._transport.is_closing():  # a reset closes it a turn before `connection_lost`
            self.is_lost = True
            pending.fail("Connection closed by server.")
            return pending
        self._pending.append(pending)
        if request.is_shareable or request.confirm is not None:
            if self._shared >= MAX_SHARED:
                self._shared, self._confirm = 0, request.confirm
                self._loop.call_soon(self._end_turn)
            self._shared += len(request.payload)
            if request.confirm is not None:
                self._unconfirmed.append(pending)
        return pending

    def has_other_callers(self, own: Pending) -> bool:
        """Return whether a caller other than that of `own` still waits for replies."""
        return any(pending is not own and not pending.future.done() for pending in self._all_pending())

    def progress(self) -> tuple[int, int]:
        """Return what changes while bytes move: those received, and those the other side has not acknowledged."""
        return self._received, self._transport.get_write_buffer_size() + _unacknowledged(self._transport)

    def abort(self) -> None:
        """Close at once; every caller's future fails."""
        self.is_lost = True
        self._transport.abort()
        self._fail("The connection was given up.")
        self._close_inner()

    def data_received(self, data: bytes) -> None:
        """Deliver replies."""
        self._received += len(data)
        try:
            self._reader.feed(data)
            while self._pending and self._read_replies():
                pass
        except redis_errors.RedisError:  # the bytes are not replies
            self.abort()
        if self._pending or self._unconfirmed or not self._is_open:
            return
        if not self.is_lost and self._reader.has_data():
            self.abort()
        self._shared = MAX_SHARED
        self._on_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every caller's future."""
        self.is_lost = True
        self._fail(f"Connection closed by server: {exc}." if exc else "Connection closed by server.")
        self._streams.connection_lost(exc)
        self._close_inner()
        if self._is_open:
            self._on_free(self)

    def _read_replies(self) -> bool:
        pending = self._pending[0]
        replies, count = pending.replies, pending.request.count
        while len(replies) < count:
            reply = self._reader.gets()
            if reply is _INCOMPLETE:
                return False
            replies.append(reply)
            if not isinstance(reply, redis_errors.RedisError):
                continue
            if isinstance(reply, redis_errors.ConnectionError):
                self._end_unserved(pending)
                return False
            if isinstance(reply, _DEMOTED) or str(reply).startswith("UNBLOCKED"):
                self.is_demoted = True
        self._pending.popleft()
        pending.complete()
        return True

    def _end_unserved(self, pending: Pending) -> None:
        # The server serves nobody on this connection (LOADING, too many clients): no further reply will come.
        self._pending.popleft()
        pending.end()
        self.abort()

    def _end_turn(self) -> None:
        self._shared = MAX_SHARED
        waiting, confirm = self._unconfirmed, self._confirm
        self._unconfirmed, self._confirm = [], None
        if waiting and confirm is not None and not self.is_lost:
            confirmation = _Confirmation(self, confirm, waiting)
            self._pending.append(confirmation)
            self._transport.write(confirmation.request.payload)

    def _all_pending(self) -> Iterator[Pending]:
        for pending in self._pending:
            if isinstance(pending, _Confirmation):
                yield from pending.waiting
            else:
                yield pending
        yield from self._unconfirmed

    def _fail(self, reason: str) -> None:
        for pending in list(self._all_pending()):
            pending.fail(reason)
        self._pending.clear()
        self._unconfirmed.clear()

    def _close_inner(self) -> None:
        connection: Any = self._connection
        connection._close()  # noqa: SLF001 - the public method waits, and this is called where nothing can


def _unacknowledged(transport: asyncio.Transport) -> int:
    # What the kernel holds of a large request may take longer to cross a slow link than a caller waits for a reply.
    connected = transport.get_extra_info("socket")
    try:
        return int(struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])
    except (AttributeError, OSError, ValueError):
        return 0  # not a socket, one that another caller has closed, or a system that does not say
