"""What one stream entry holds, and its bytes.

Rule guarded: an entry names its format version first, so that a process that meets a newer one parks it as a dead
letter instead of guessing (design section 5; poison stalls nothing). The collector does not walk these values
(`gc=False`): they live by the thousand, and none can be part of a cycle.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from fanout.signalr.message import Item

VERSION = 1


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One REST call waiting: the hub in lower case, the id a person can follow it by, and the call itself."""

    version: int
    hub: str
    message_id: str
    item: Item


class Submission(msgspec.Struct, frozen=True, gc=False):
    """An entry on its way into the queue.

    `dedup_id` is None when repeats are not to be told apart; else an entry with the same id for the same destination
    within the dedup window is a duplicate when `fingerprint` is equal and a conflict when it is not.
    """

    entry: Entry
    dedup_id: str | None = None
    fingerprint: bytes = b""


class Admission(StrEnum):
    """What became of a submission."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    FULL = "full"
    UNKNOWN = "unknown"  # the store did not answer; the entry may or may not be stored


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The answer to one submission; partition and the stream's id where an entry is known to be stored."""

    admission: Admission
    partition: int = -1
    stream_id: bytes = b""

    @property
    def entry_id(self) -> str:
        """`<partition>:<stream id>`, "" where no entry is known."""
        return f"{self.partition}:{self.stream_id.decode()}" if self.stream_id else ""


class StoredEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry as read back: the stream's own id (milliseconds of the store's clock, then a counter) and its bytes."""

    id: bytes
    data: bytes

    @property
    def stored_at(self) -> float:
        """Unix time in seconds by the store's clock."""
        return int(self.id.partition(b"-")[0]) / 1000


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits: entries by partition, age in seconds of the oldest, and dead letters kept."""

    entries: tuple[int, ...]
    oldest_age: float
    dead_letters: int


class UnreadableEntryError(ValueError):
    """The bytes are not an entry this version can read."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """Give the bytes that are stored."""
    return _encoder.encode(entry)


def decode(data: bytes) -> Entry:
    """Read stored bytes; UnreadableEntryError when they are broken or of another version."""
    try:
        entry = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableEntryError(f"entry cannot be decoded: {error}") from None
    if entry.version != VERSION:
        raise UnreadableEntryError(f"entry is of version {entry.version}, this process reads {VERSION}")
    return entry
