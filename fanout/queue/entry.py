"""What one stream entry holds, and its bytes.

Rule guarded: an entry begins with its format version, so that a process that meets a newer one never guesses what it
means. The garbage collector does not track these values (`gc=False`): thousands are alive at a time, and none can be
part of a cycle.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from fanout.signalr.message import Item

VERSION = 1


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One REST call to be made: the hub in lower case, the id that traces and logs name it by, and the call itself."""

    version: int
    hub: str
    message_id: str
    item: Item


class Submission(msgspec.Struct, frozen=True, gc=False):
    """An entry to be stored.

    With a `dedup_id`, an entry that has the same id and destination as one stored within the dedup window is a
    duplicate when its `fingerprint` is equal and a conflict when it differs. None stores every repetition.
    """

    entry: Entry
    dedup_id: str | None = None
    fingerprint: bytes = b""


class Admission(StrEnum):
    """The outcome of a submission."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    FULL = "full"
    UNKNOWN = "unknown"  # Redis did not answer; the entry may or may not be stored


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one submission, with partition and stream id where an entry is known to be stored."""

    admission: Admission
    partition: int = -1
    stream_id: bytes = b""

    @property
    def entry_id(self) -> str:
        """`<partition>:<stream id>`, or "" where no entry is known to be stored."""
        return f"{self.partition}:{self.stream_id.decode()}" if self.stream_id else ""


class StoredEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry as read from its stream: the id (milliseconds by the clock of Redis, then a counter) and the bytes."""

    id: bytes
    data: bytes

    @property
    def stored_at(self) -> float:
        """Unix time in seconds by the clock of Redis."""
        return int(self.id.partition(b"-")[0]) / 1000


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is waiting: entries by partition, the age of the oldest in seconds, and the number of dead letters."""

    entries: tuple[int, ...]
    oldest_age: float
    dead_letters: int


class UnreadableEntryError(ValueError):
    """The bytes are not an entry that this version can read."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """Return the bytes that are stored."""
    return _encoder.encode(entry)


def decode(data: bytes) -> Entry:
    """Read stored bytes; raise UnreadableEntryError when they are damaged or of another version."""
    try:
        entry = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableEntryError(f"entry cannot be decoded: {error}") from None
    if entry.version != VERSION:
        raise UnreadableEntryError(f"entry is of version {entry.version}, this process reads {VERSION}")
    return entry
