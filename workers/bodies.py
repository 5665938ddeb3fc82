"""Bodies that stand beside the streams: fetched when they are about to be sent, and bounded in bytes.

Rules guarded: what a worker holds of large bodies is bounded whatever waits in the queue. A call first reserves the
room for its bodies; one that is larger than all the room goes alone. A call that finds no room takes no place in
flight from calls that need none. The targets of one item share the body that was fetched for the first of them, for as
long as there is room to keep it; but each call counts, because each has the whole body in what it writes.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.queue.stream import Stream
from workers.partition import BufferedEntry

_PAUSE = 0.1  # seconds between tries while the store does not answer
_Name = tuple[int, str]  # partition and name of a body


class Bodies:
    """The bodies of one worker's calls; `room` is bytes."""

    def __init__(self, stream: Stream, clock: Clock, *, room: int) -> None:
        self._stream = stream
        self._clock = clock
        self._room = room
        self._calls: dict[_Name, int] = {}  # how many calls hold a body
        self._sizes: OrderedDict[_Name, int] = OrderedDict()  # of what is held or kept, the latest used last
        self._size = 0
        self._kept: dict[_Name, bytes] = {}
        self._fetching: dict[_Name, asyncio.Future[bytes | None]] = {}
        self.on_room: Callable[[], None] = _nothing  # called when a body was given back

    def __repr__(self) -> str:
        return f"<Bodies {len(self._kept)} of {self._size} bytes>"

    @property
    def size(self) -> int:
        """How many bytes are held or kept."""
        return self._size

    def reserve(self, call: Iterable[BufferedEntry]) -> bool:
        """Reserve room for the bodies of a call, all or none; return whether there was room.

        Where it returns True, `release` has to follow.
        """
        names: list[_Name] = []
        for buffered in call:
            if buffered.entry.body_ref:
                name = _name_of(buffered)
                if not self._reserve(name, buffered.entry.body_size):
                    self._release(names)
                    return False
                names.append(name)
        return True

    async def get(self, buffered: BufferedEntry) -> bytes | None:
        """Return the body of an entry whose room is reserved; None when the store has it no more."""
        name = _name_of(buffered)
        body = self._kept.get(name)
        if body is not None:
            return body
        fetching = self._fetching.get(name)
        if fetching is None:
            fetching = self._fetching[name] = asyncio.get_running_loop().create_future()
            try:
                body = await self._fetch(name)
            finally:
                del self._fetching[name]
                if body is not None:
                    self._kept[name] = body
                if not fetching.done():
                    fetching.set_result(body)
            return body
        return await asyncio.shield(fetching)

    def release(self, call: Iterable[BufferedEntry]) -> None:
        """Give back what was reserved for a call."""
        self._release([_name_of(buffered) for buffered in call if buffered.entry.body_ref])

    def _reserve(self, name: _Name, size: int) -> bool:
        if name in self._sizes:
            self._sizes.move_to_end(name)
        if name not in self._sizes or name in self._calls:
            self._make_room(size)
            if self._size and self._size + size > self._room:
                return False
            self._sizes[name] = size
            self._size += size
        self._calls[name] = self._calls.get(name, 0) + 1
        return True

    def _make_room(self, size: int) -> None:
        for name in list(self._sizes) if self._size + size > self._room else ():
            if name not in self._calls:
                self._drop(name)
            if self._size + size <= self._room:
                return

    def _release(self, names: Iterable[_Name]) -> None:
        released = False
        for name in names:
            released = True
            left = self._calls[name] - 1
            if left:
                self._calls[name] = left
                self._size -= self._sizes[name]
                continue
            del self._calls[name]
            if name not in self._kept:  # it was never fetched, or the store has it no more
                self._drop(name)
        if released:
            self.on_room()

    def _drop(self, name: _Name) -> None:
        self._kept.pop(name, None)
        self._size -= self._sizes.pop(name, 0)

    async def _fetch(self, name: _Name) -> bytes | None:
        while True:
            try:
                return await self._stream.body(*name)
            except QueueError:
                await self._clock.sleep(_PAUSE)


def _name_of(buffered: BufferedEntry) -> _Name:
    return buffered.partition.number, buffered.entry.body_ref


def _nothing() -> None:
    """Do nothing."""
