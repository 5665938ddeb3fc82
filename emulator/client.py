"""One connected client and what waits to be written to it.

Rule guarded: whoever sends only appends here; one writer per connection takes from here, so frames leave in the order
in which the REST calls took effect. A client that never reads is dropped past a limit instead of eating the memory.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from emulator.outgoing import Outgoing
from emulator.protocols.hub import Frame, HubProtocol, Incoming


@dataclass(frozen=True, slots=True)
class Identity:
    """Who connected: `user_id` is None for an anonymous client; the rest comes from the token's system claims.

    `closes_at` is unix seconds at which the service ends the connection, None for never.
    """

    hub: str
    user_id: str | None = None
    detailed_errors: bool = False
    closes_at: float | None = None
    handshake_timeout: float | None = None


class Outbox:
    """Frames waiting for the writer. `close` lets the writer finish what waits and then end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frames: deque[Frame] = deque()
        self._ready = asyncio.Event()
        self.closed = False

    def put(self, frame: Frame) -> bool:
        """Append one frame; False when the limit is passed (and nothing more is taken)."""
        if self.closed or len(self._frames) >= self._limit:
            return False
        self._frames.append(frame)
        self._ready.set()
        return True

    def close(self) -> None:
        """Take nothing more."""
        self.closed = True
        self._ready.set()

    @property
    def waiting(self) -> int:
        """How many frames wait."""
        return len(self._frames)

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._ready.set()

    def rest(self) -> None:
        """Forget a wake-up that brought nothing."""
        if not self._frames and not self.closed:
            self._ready.clear()

    async def wait(self) -> None:
        """Return when frames wait, the box is closed or somebody woke us."""
        await self._ready.wait()

    def take(self) -> list[Frame]:
        """Take all that waits."""
        frames = list(self._frames)
        self._frames.clear()
        if not self.closed:
            self._ready.clear()
        return frames


class Client:
    """A connection from the moment its transport stands; it is in a hub once the handshake is over."""

    def __init__(self, connection_id: str, identity: Identity, transport: str, *, now: float, unread: int) -> None:
        self.connection_id = connection_id
        self.identity = identity
        self.transport = transport
        self.protocol: HubProtocol | None = None
        self.groups: set[str] = set()
        self.outbox = Outbox(unread)
        self.opened_at = now
        self.last_sent = now
        self.last_received = now
        self.awaited: dict[str, asyncio.Future[Incoming]] = {}

    def __repr__(self) -> str:
        return f"<Client {self.connection_id} of {self.identity.hub} over {self.transport}>"

    @property
    def user_id(self) -> str | None:
        """The user this connection belongs to."""
        return self.identity.user_id

    def deliver(self, message: Outgoing, now: float) -> None:
        """Append `message` in this client's protocol; a client past its limit is ended."""
        if self.protocol is None:
            return
        frame = message.frame(self.protocol)
        if frame is not None:
            self.write(frame, now)

    def write(self, frame: Frame, now: float) -> None:
        """Append one frame."""
        self.last_sent = now
        if not self.outbox.put(frame):
            self.outbox.close()

    def end(self, error: str | None = None, *, allow_reconnect: bool = False) -> None:
        """Say good-bye (the error only to whom it may be told) and let the writer finish."""
        if self.protocol is not None:
            told = error if self.identity.detailed_errors else None
            self.outbox.put(self.protocol.close(told, allow_reconnect=allow_reconnect))
        self.hang_up()

    def hang_up(self) -> None:
        """End without a word."""
        self.outbox.close()
        for future in self.awaited.values():
            future.cancel()
        self.awaited.clear()
