"""What one stream entry holds, and its bytes.

Rules guarded: an entry begins with its format version, so that a process that meets a newer one never guesses what it
means. It is small: the hub is the flow's, and a body that is large, or the same for many targets, stands beside the
stream and is named here. The garbage collector does not track these values (`gc=False`): thousands are alive at a time,
and none can be part of a cycle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from fanout.signalr.message import Item, Message

VERSION = 1
_AROUND = 64  # bytes that Redis keeps around an entry, in round numbers; the scripts count the same


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One REST call that waits.

    `hub` is in lower case and `message_id` is what a person can follow it by. Where `body_ref` names a body beside the
    stream, that body has `body_size` bytes and `item.body` is empty until it was fetched.
    """

    hub: str
    message_id: str
    item: Item
    body_ref: str = ""
    body_size: int = 0


class Submission(msgspec.Struct, frozen=True, gc=False):
    """An entry to be stored.

    With a `dedup_id`, an entry that has the same id and destination as one stored within the dedup window is a
    duplicate when its `fingerprint` is equal and a conflict when it differs. None stores every repetition. `list_id`
    is the same for all targets of one item that has several, "" for an item with one: their body is stored once in each
    partition, and they have one record of deduplication there.
    """

    entry: Entry
    dedup_id: str | None = None
    fingerprint: bytes = b""
    list_id: str = ""


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
class FlowDepth:
    """What waits in one flow of one partition: entries, and the id of the oldest (b"" when there is none)."""

    partition: int
    flow: str
    entries: int
    oldest: bytes


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits: entries by partition, age in seconds of the oldest by destination, dead letters, both in bytes.

    `unowned` is the number of partitions that no worker owns.
    """

    entries: tuple[int, ...]
    ages: Mapping[str, float]
    dead_letters: int
    size: int = 0
    dead_size: int = 0
    flows: tuple[FlowDepth, ...] = ()
    unowned: int = 0

    @property
    def oldest_age(self) -> float:
        """The age of the oldest entry of all; 0 when nothing waits."""
        return max(self.ages.values(), default=0.0)


class UnreadableEntryError(ValueError):
    """The bytes are not an entry this version can read."""


class _Form(msgspec.Struct, array_like=True, gc=False):
    """The stored form. `flags` are bits that a reader has to understand; there is none yet."""

    version: int
    flags: int
    message_id: str
    item: Item
    body_ref: str = ""
    body_size: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Form)


def encode(entry: Entry) -> bytes:
    """Return the bytes that are stored; the hub is not among them."""
    if entry.body_ref:
        return _encoder.encode((VERSION, 0, entry.message_id, entry.item, entry.body_ref, entry.body_size))
    return _encoder.encode((VERSION, 0, entry.message_id, entry.item))


def decode(data: bytes, hub: str) -> Entry:
    """Read stored bytes of a hub's flow. Raise UnreadableEntryError when they are broken or of another version."""
    try:
        form = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableEntryError(f"entry cannot be decoded: {error}") from None
    if form.version != VERSION or form.flags:
        raise UnreadableEntryError(f"entry is of version {form.version}, this process reads {VERSION}")
    return Entry(hub, form.message_id, form.item, form.body_ref, form.body_size)


def weight_of(data: bytes) -> int:
    """Return the bytes that an entry counts for in the queue."""
    return len(data) + _AROUND


def with_body(entry: Entry, body: bytes) -> Entry:
    """Return the entry with the body that stood beside the stream; it is still named, for settling."""
    if not isinstance(entry.item, Message):
        return entry
    item = msgspec.structs.replace(entry.item, body=body)
    return Entry(entry.hub, entry.message_id, item, entry.body_ref, entry.body_size)


def apart(entry: Entry, body_ref: str) -> Entry:
    """Return the entry as it is stored when its body stands beside the stream under the name `body_ref`."""
    if not isinstance(entry.item, Message):
        return entry
    item = msgspec.structs.replace(entry.item, body=b"")
    return Entry(entry.hub, entry.message_id, item, body_ref, len(entry.item.body))
