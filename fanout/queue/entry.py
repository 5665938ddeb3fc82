"""What one stream entry holds, its bytes, and the two calls of scripts that every message takes. Pure.

What a request has for a partition is stored in one call, and what is done at the same time is settled in one.

Rules guarded: an entry begins with its format version, so that a process that meets a newer one never guesses what it
means. A format later than 1 has the lane, without the hub, in its third place, so that older workers know which lane to
leave alone; whatever an older worker could not read (a value of an enumeration, a kind of item, a flag) is a new
format. An entry is small: the hub is the flow's, and a body that is large, or the same for many targets, stands beside
the stream and is named here. The garbage collector does not track these values (`gc=False`): thousands are alive at a
time, and none can be part of a cycle.

Everything a request has for a partition is one call, so that it is one atomic step and one round trip; entries of one
lane keep their order in it. No settlement is larger than the script can take, and the bytes of a portion are its share
of the whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from fanout.queue.keys import Keys, hub_at
from fanout.queue.scripts import APPEND, SETTLE
from fanout.redis.client import Argument, Call
from fanout.signalr.message import Item, Message

VERSION = 1  # the newest format this process reads; it reads the older ones too
_FIRST = 1  # the format of `_Form`
_LANE_AT = 2  # the place of the lane in an entry of a format later than 1
_AT_ONCE = 1000  # ids that one call settles: Lua's unpack has a limit
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


class FlowRead(NamedTuple):
    """What was read of one flow."""

    flow: str
    entries: Sequence[StoredEntry]


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


# What is stored ------------------------------------------------------------------------------------------------------


class Group:
    """Entries of one flow in one call of the script; those of a list share one body."""

    __slots__ = ("body_ref", "entries", "guard", "list_id", "positions", "text")

    def __init__(self, list_id: str) -> None:
        self.list_id = list_id
        self.positions: list[int] = []  # of the submissions, in the order of the answers
        self.entries: list[bytes] = []  # the bytes of each entry, where it is no list with what guards its dedup id
        self.body_ref = ""
        self.text = b""
        self.guard = b""


class PartitionAppend:
    """What one request has for one partition."""

    __slots__ = ("bodies", "groups", "latest", "mark", "partition")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.groups: list[tuple[str, Group]] = []
        self.latest: dict[str, Group] = {}  # by flow
        self.bodies: dict[str, str] = {}  # by list: flows of several endpoints share them
        self.mark = 0

    def body_ref(self, list_id: str, make: Callable[[], str]) -> str:
        """Return the name of the body of a list; the first of its groups has it made."""
        ref = self.bodies.get(list_id)
        if ref is None:
            ref = self.bodies[list_id] = make()
        return ref

    def add(self, flow: str, position: int, data: bytes, guard: bytes) -> None:
        """Add an entry that holds its whole item, with what guards its dedup id."""
        group = self.latest.get(flow)
        if group is None or group.list_id:
            group = self.group(flow, "")
        if not self.mark:
            self.mark = crc32(data)  # entries hold message ids: hardly two alike
        group.entries.extend((data, guard))
        group.positions.append(position)

    def group(self, flow: str, list_id: str) -> Group:
        """Return the group of the next submission: the latest of its flow, unless it is part of another list."""
        group = self.latest.get(flow)
        if group is None or list_id != group.list_id:
            group = self.latest[flow] = Group(list_id)
            self.groups.append((flow, group))
        return group

    def all_positions(self) -> list[int]:
        """Return the positions of all its submissions."""
        return [position for _flow, group in self.groups for position in group.positions]

    def call(self, keys: Keys, most_bytes: int, window_ms: int) -> Call:
        """Return the script call that stores it."""
        number = self.partition
        streams = {flow: place for place, flow in enumerate(self.latest, 1)}
        bodies = {group.body_ref: 0 for _flow, group in self.groups if group.body_ref}
        names = [keys.flows(number), keys.wake(number), keys.size(number), keys.seen(number)]
        names += [keys.stream(number, flow) for flow in streams]
        for ref in bodies:
            names.append(keys.body(number, ref))
            bodies[ref] = len(names)
        arguments: list[Argument] = [most_bytes, window_ms, self.mark, len(streams)]
        for flow, group in self.groups:
            head = [streams[flow], bodies.get(group.body_ref, 0), len(group.positions)]
            arguments += [*head, group.text, group.guard] if group.body_ref else head
            arguments += group.entries
        return APPEND, names, arguments


# What is settled -----------------------------------------------------------------------------------------------------


class Settled(NamedTuple):
    """Entries of one flow that are settled together: the body they share ("" for none), their bytes, their ids."""

    flow: str
    body_ref: str
    size: int
    ids: Sequence[bytes]


def parts_of(groups: Sequence[Settled]) -> list[list[Settled]]:
    """Return portions of at most `_AT_ONCE` ids; the bytes of a group go with its ids."""
    parts: list[list[Settled]] = [[]]
    room = _AT_ONCE
    for group in groups:
        for start in range(0, len(group.ids), _AT_ONCE):
            ids = group.ids[start : start + _AT_ONCE]
            if len(ids) > room:
                parts.append([])
                room = _AT_ONCE
            parts[-1].append(group._replace(ids=ids, size=group.size * len(ids) // len(group.ids)))
            room -= len(ids)
    return parts


def settlement(keys: Keys, partition: int, token: str, groups: Sequence[Settled]) -> Call:
    """Return the script call that settles a portion under a lease."""
    names = [keys.lease_of(partition, token), keys.size(partition)]
    streams = {group.flow: 0 for group in groups}
    for place, flow in enumerate(streams, 1):
        names.append(keys.stream(partition, flow))
        streams[flow] = place
    arguments: list[Argument] = [token]
    for group in groups:
        place = 0
        if group.body_ref:
            names.append(keys.body(partition, group.body_ref))
            place = len(names)
        arguments += [streams[group.flow], place, group.size, len(group.ids), *group.ids]
    return SETTLE, names, arguments
