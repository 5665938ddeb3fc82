"""One connected client, and the frames that wait to be written to it.

Rule guarded: senders only append to the outbox. One writer per connection takes from it, so frames leave in the order
in which the REST calls took effect. A client that does not read is disconnected at a limit, before it fills the memory.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from emulator.protocols.hub import ClientMessage, Frame, HubProtocol


@dataclass(frozen=True, slots=True)
class Identity:
    """What the client's token says. `user_id` is None for an anonymous client.

    `closes_at` is the time (unix seconds) at which the service ends the connection, None for never.
    """

    hub: str
    user_id: str | None = None
    detailed_errors: bool = False
    closes_at: float | None = None
    handshake_timeout: float | None = None


class Outbox:
    """Frames for one client. After `close` the writer sends what waits and then ends the connection."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frames: deque[Frame] = deque()
        self._changed = asyncio.Event()
        self.closed = False

    def put(self, frame: Frame) -> bool:
        """Append one frame. Return False, without appending, when the outbox is full or closed."""
        if self.closed or len(self._frames) >= self._limit:
            return False
        self._frames.append(frame)
        self._changed.set()
        return True

    def close(self) -> None:
        """Accept no more frames."""
        self.closed = True
        self._changed.set()

    def __len__(self) -> int:
        return len(self._frames)

    def wake(self) -> None:
        """Wake the waiting task although nothing was appended."""
        self._changed.set()

    async def wait(self) -> None:
        """Return when frames wait, or the outbox is closed or woken."""
        await self._changed.wait()

    async def next_change(self) -> None:
        """Return at the next `put`, `close` or `wake`, whatever waits already."""
        self._changed.clear()
        await self._changed.wait()

    def take(self) -> list[Frame]:
        """Remove and return all frames."""
        frames = list(self._frames)
        self._frames.clear()
        if not self.closed:
            self._changed.clear()
        return frames


class Client:
    """A connection from the moment its transport is open. It enters its hub when the handshake is complete."""

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
        self.pending_results: dict[str, asyncio.Future[ClientMessage]] = {}

    def __repr__(self) -> str:
        return f"<Client {self.connection_id} of {self.identity.hub} over {self.transport}>"

    @property
    def user_id(self) -> str | None:
        """The user this connection belongs to."""
        return self.identity.user_id

    def write(self, frame: Frame, now: float) -> None:
        """Append one frame. A client whose outbox is full is disconnected."""
        self.last_sent = now
        if not self.outbox.put(frame):
            self.outbox.close()

    def close(self, error: str | None = None, *, allow_reconnect: bool = False) -> None:
        """End the connection with a close message. Only clients with detailed errors are sent `error`."""
        if self.protocol is not None:
            shown = error if self.identity.detailed_errors else None
            self.outbox.put(self.protocol.close(shown, allow_reconnect=allow_reconnect))
        self.drop()

    def drop(self) -> None:
        """End the connection without a close message."""
        self.outbox.close()
        for future in self.pending_results.values():
            future.cancel()
        self.pending_results.clear()
