"""What one stream entry holds, and its bytes.

Rules guarded: an entry begins with its format version, so that a process that meets a newer one never guesses what it
means. A format later than 1 has the lane, without the hub, in its third place, so that older workers know which lane to
leave alone; whatever an older worker could not read (a value of an enumeration, a kind of item, a flag) is a new
format. An entry is small: the hub is the flow's, and a body that is large, or the same for many targets, stands beside
the stream and is named here. The garbage collector does not track these values (`gc=False`): thousands are alive at a
time, and none can be part of a cycle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from fanout.queue.keys import hub_at
from fanout.signalr.message import Item, Message

VERSION = 1  # the newest format this process reads; it reads the older ones too
_FIRST = 1  # the format of `_Form`
_LANE_AT = 2  # the place of the lane in an entry of a format later than 1
_AROUND = 64  # bytes that Redis keeps around an entry, in round numbers; the scripts count the same


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One REST call that waits.

    `hub` is in lower case, `application/hub` where the caller named an application of its own, and `message_id` is what
    a person can follow it by. Where `body_ref` names a body beside the stream, that body has `body_size` bytes and
    `item.body` is empty until it was fetched. `link` is the trace context that its spans continue, "" for none. `after`
    are the markers, by partition, that a sweep waits for (see `changes`). `endpoint` names the instance of the service
    that it is for, "" for the one without a name. Hub and endpoint are those of the flow and not among the bytes.
    """

    hub: str
    message_id: str
    item: Item
    body_ref: str = ""
    body_size: int = 0
    link: str = ""
    after: tuple[bytes, ...] = ()
    endpoint: str = ""

    @property
    def place(self) -> str:
        """The hub as it stands in the keys of lanes and flows."""
        return hub_at(self.hub, self.endpoint) if self.endpoint else self.hub


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

    `dead_age` is that of the oldest dead letter, `unowned` the number of partitions that no worker owns.
    """

    entries: tuple[int, ...]
    ages: Mapping[str, float]
    dead_letters: int
    size: int = 0
    dead_size: int = 0
    flows: tuple[FlowDepth, ...] = ()
    unowned: int = 0
    dead_age: float = 0.0

    @property
    def oldest_age(self) -> float:
        """The age of the oldest entry of all; 0 when nothing waits."""
        return max(self.ages.values(), default=0.0)


class UnreadableEntryError(ValueError):
    """The bytes are not an entry this version can read."""


class NewerEntryError(UnreadableEntryError):
    """The bytes are an entry of a newer format.

    `version` is a format that whoever reads it has to know. `lane` is its lane without the hub, "" when unknown.
    """

    def __init__(self, version: int, lane: str = "") -> None:
        super().__init__(f"entry is of format {version}, this process reads {VERSION}")
        self.version = version
        self.lane = lane


class _Form(msgspec.Struct, array_like=True, gc=False):
    """The stored form. `flags` are bits that a reader has to understand; there is none yet."""

    version: int
    flags: int
    message_id: str
    item: Item
    body_ref: str = ""
    body_size: int = 0
    link: str = ""
    after: tuple[bytes, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Form)
_parts_decoder = msgspec.msgpack.Decoder(list[Any])
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_UNKNOWN_VALUE = ("Invalid enum value", "Invalid value")  # how msgspec names values and tags that are not among ours


def encode(entry: Entry) -> bytes:
    """Return the bytes that are stored; the hub is not among them."""
    if entry.link or entry.after:
        place = (entry.body_ref, entry.body_size, entry.link)
        return _encoder.encode(
            (_FIRST, 0, entry.message_id, entry.item, *place, *([entry.after] if entry.after else []))
        )
    if entry.body_ref:
        return _encoder.encode((_FIRST, 0, entry.message_id, entry.item, entry.body_ref, entry.body_size))
    return _encoder.encode((_FIRST, 0, entry.message_id, entry.item))


def decode(data: bytes, hub: str, endpoint: str = "") -> Entry:
    """Read stored bytes of a hub's flow. Raise NewerEntryError, or UnreadableEntryError when they are broken."""
    try:
        form = _decoder.decode(data)
    except _BROKEN as error:
        raise _refusal(data, error) from None
    if form.version != _FIRST or form.flags:
        raise _refusal(data, None)
    return Entry(hub, form.message_id, form.item, form.body_ref, form.body_size, form.link, form.after, endpoint)


def _refusal(data: bytes, error: BaseException | None) -> UnreadableEntryError:
    """Return why bytes are not an entry of our format; `error` is what their decoding raised."""
    try:
        parts = _parts_decoder.decode(data)
    except _BROKEN as broken:
        return UnreadableEntryError(f"entry cannot be decoded: {broken}")
    version, lane = parts[0] if parts else None, parts[2] if len(parts) > _LANE_AT else None
    if type(version) is not int or version < _FIRST:
        return UnreadableEntryError(f"entry cannot be decoded: its format is {version!r:.20}")
    if version > VERSION:
        return NewerEntryError(version, lane if isinstance(lane, str) else "")
    if error is None or str(error).startswith(_UNKNOWN_VALUE):
        return NewerEntryError(VERSION + 1)  # a flag, a value or a kind of item that only a newer process knows
    return UnreadableEntryError(f"entry cannot be decoded: {error}")


def weight_of(data: bytes) -> int:
    """Return the bytes that an entry counts for in the queue."""
    return len(data) + _AROUND


def with_body(entry: Entry, body: bytes) -> Entry:
    """Return the entry with the body that stood beside the stream; it is still named, for settling."""
    if not isinstance(entry.item, Message):
        return entry
    item = msgspec.structs.replace(entry.item, body=body)
    return _with_item(entry, item, entry.body_ref, entry.body_size)


def apart(entry: Entry, body_ref: str) -> Entry:
    """Return the entry as it is stored when its body stands beside the stream under the name `body_ref`."""
    if not isinstance(entry.item, Message):
        return entry
    item = msgspec.structs.replace(entry.item, body=b"")
    return _with_item(entry, item, body_ref, len(entry.item.body))


def _with_item(entry: Entry, item: Message, body_ref: str, body_size: int) -> Entry:
    return Entry(entry.hub, entry.message_id, item, body_ref, body_size, entry.link, endpoint=entry.endpoint)
