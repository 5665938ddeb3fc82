"""The queue as its two sides see it: append at the ingress, read and settle in a worker.

Why there is no consumer group: the lease of a partition already says who may take its entries, and settling deletes
them, so the stream itself is exactly what is not yet settled, in order. A new owner reads it from the start: first what
its predecessor left, then what is new. A group would add a second record of ownership that can disagree with the first:
a blocked XREADGROUP of a stalled worker takes entries for a holder that may not send them any more, and the group can
vanish (NOGROUP). XREAD takes nothing, so a zombie's read harms nobody, and every write is fenced by the lease. For the
same reason newer servers' group commands (XREADGROUP CLAIM, XACKDEL) have no use here.

Rules guarded: nothing unread is ever trimmed; an append is one round trip, and its outcome is told item by item.
"""

from collections.abc import Collection, Sequence
from typing import Any
from zlib import crc32

from fanout.clock import Clock
from fanout.errors import LeaseLostError, QueueSilentError
from fanout.queue import keys
from fanout.queue.entry import Admission, Depth, Receipt, StoredEntry, Submission, encode
from fanout.queue.lane_key import lane_of, partition_of
from fanout.queue.scripts import APPEND, CLAIM, EXPIRE, SETTLE
from fanout.redis.client import Argument, Call, RedisClient, raised
from fanout.redis.durability import Durability, Unconfirmed

START = b"0-0"
_REFRESH = 1.0  # seconds after which an append asks for every partition's length again
_DEPTH_WITHIN = 2.0
_SETTLE_AT_ONCE = 1000  # Lua's unpack has a limit
_UNSURE = Admission.UNKNOWN
_ACCEPTED = Admission.ACCEPTED
_SILENT = Receipt(_UNSURE)
_NINE, _DUPLICATE, _CONFLICT = b"9DC"  # how the script's answers begin: a new id, the id stored before, a conflict


class _Parcel:
    """What one request has for one partition: the places of its submissions, and what the script is handed for them."""

    __slots__ = ("entries", "partition", "places", "seen")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.places: list[int] = []
        self.entries: list[bytes] = []  # the bytes of an entry, then what guards its dedup id
        self.seen: list[str] = []

    def call(self, room: int, window_ms: int) -> Call:
        """Give the script call that stores it."""
        mark = crc32(self.entries[0])  # entries hold message ids: hardly two alike
        return APPEND, [keys.stream(self.partition), *self.seen], [room, window_ms, mark, *self.entries]


class Stream:
    """All partitions of the queue. `dedup_window` is seconds, `max_depth` counts entries of all partitions."""

    def __init__(
        self, redis_client: RedisClient, clock: Clock, *, partitions: int, max_depth: int, dedup_window: float,
        durability: Durability | None = None,
    ) -> None:  # fmt: skip
        self._redis = redis_client
        self._clock = clock
        self._partitions = partitions
        self._max_depth = max_depth
        self._window_ms = int(dedup_window * 1000)
        self._durability = durability
        self._lengths = [0] * partitions
        self._refreshed = float("-inf")

    def __repr__(self) -> str:
        return f"<Stream {self._partitions} partitions, about {sum(self._lengths)} entries>"

    @property
    def breaks(self) -> int:
        """How often a connection to the store broke: what was read before the last time may not be there any more."""
        return self._redis.breaks

    async def append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store submissions, those of one lane in their order, in one round trip; one receipt each.

        Where the store fell silent the receipts say UNKNOWN; QueueError is raised when nothing was written. An UNKNOWN
        with an entry id is stored in the primary, and fewer than the configured replicas acknowledged it in time.
        """
        placed = self._place(submissions)
        await self._refresh_lengths()
        room = self._max_depth if sum(self._lengths) < self._max_depth else 0
        calls = [parcel.call(room, self._window_ms) for parcel in placed]
        try:
            replies = await self._redis.run_all(calls, confirm=self._durability)
        except QueueSilentError:
            return [_SILENT] * len(submissions)
        if not any(isinstance(reply, QueueSilentError) for reply in replies):
            _raise_if_all_failed(replies)  # nothing of this request is stored, so the plain error is the truth
        receipts: list[Receipt] = [_SILENT] * len(submissions)
        for parcel, reply in zip(placed, replies, strict=True):
            self._note(parcel, reply, receipts)
        return receipts

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember the body an Idempotency-Key stands for; False when it stood for another one."""
        partition = partition_of(f"{hub}\n{key}", self._partitions)
        name = keys.idempotency(partition, hub, key)
        return bool(await self._redis.run(CLAIM, [name], [fingerprint, self._window_ms]))

    async def read(self, partition: int, after: bytes, *, count: int, block: float) -> list[StoredEntry]:
        """Give up to `count` entries after the id `after`, oldest first; wait up to `block` seconds for one."""
        command: list[Argument] = ["XREAD", "COUNT", count, "BLOCK", int(block * 1000)]
        command += ["STREAMS", keys.stream(partition), after]
        reply = await self._redis.ask(*command, within=block + _DEPTH_WITHIN)
        return [StoredEntry(id=entry[0], data=_data_of(entry[1])) for entry in reply[0][1]] if reply else []

    async def scan(self, partition: int, after: bytes, *, count: int) -> list[StoredEntry]:
        """Give up to `count` entries after the id `after`, oldest first, without waiting."""
        rows = await self._redis.ask("XRANGE", keys.stream(partition), b"(" + after, "+", "COUNT", count)
        return [StoredEntry(id=row[0], data=_data_of(row[1])) for row in rows]

    async def settle(self, batches: Sequence[tuple[int, str, Sequence[bytes]]]) -> list[bool | None]:
        """Delete delivered entries, each batch (partition, lease token, ids), in one round trip.

        False for a batch whose token does not hold its partition any more; None for one that could not be settled now,
        while others could (a node of a Cluster is away). Repeating is harmless.
        """
        calls: list[Call] = []
        owners: list[int] = []
        for position, (partition, token, ids) in enumerate(batches):
            for start in range(0, len(ids), _SETTLE_AT_ONCE):
                chunk = ids[start : start + _SETTLE_AT_ONCE]
                calls.append((SETTLE, [keys.lease(partition), keys.stream(partition)], [token, *chunk]))
                owners.append(position)
        held: list[bool | None] = [True] * len(batches)
        for position, reply in zip(owners, await self._redis.run_all(calls), strict=True):
            if isinstance(reply, Exception):
                held[position] = None
            elif reply == -1:
                held[position] = False
        return held

    async def expire(self, partition: int, token: str, stream_id: bytes, ttl: float) -> bool:
        """Delete an entry that is older than `ttl` seconds by the store's clock; False when it is not.

        LeaseLostError when `token` does not hold the partition any more. Repeating is harmless.
        """
        names = [keys.lease(partition), keys.stream(partition)]
        reply = await self._redis.run(EXPIRE, names, [token, stream_id, int(ttl * 1000)])
        if reply == -1:
            raise LeaseLostError(f"partition {partition} has another owner")
        return bool(reply)

    async def depth(self) -> Depth:
        """Count what waits and what is dead, and find the age of the oldest entry by the store's clock."""
        commands: list[Sequence[Argument]] = [("TIME",)]
        for partition in range(self._partitions):
            commands.append(("XLEN", keys.stream(partition)))
            commands.append(("XLEN", keys.dead(partition)))
            commands.append(("XRANGE", keys.stream(partition), "-", "+", "COUNT", 1))
        replies = [raised(reply) for reply in await self._redis.call(*commands, within=_DEPTH_WITHIN)]
        now = int(replies[0][0]) + int(replies[0][1]) / 1e6
        lengths, dead, oldest = replies[1::3], replies[2::3], replies[3::3]
        ages = [now - StoredEntry(first[0][0], b"").stored_at for first in oldest if first]
        return Depth(entries=tuple(lengths), oldest_age=max([0.0, *ages]), dead_letters=sum(dead))

    async def ping(self) -> None:
        """Do nothing but ask; QueueError when the store does not answer."""
        await self._redis.ask("PING", within=1.0)

    def _place(self, submissions: Sequence[Submission]) -> Collection[_Parcel]:
        parcels: dict[int, _Parcel] = {}
        for position, submission in enumerate(submissions):
            entry = submission.entry
            lane = lane_of(entry.hub, entry.item)
            partition = partition_of(lane, self._partitions)
            parcel = parcels.get(partition)
            if parcel is None:
                parcel = parcels[partition] = _Parcel(partition)
            parcel.places.append(position)
            if submission.dedup_id is None:
                parcel.entries += (encode(entry), b"")
            else:
                parcel.entries += (encode(entry), b"=" + submission.fingerprint)
                parcel.seen.append(keys.seen(partition, entry.hub, submission.dedup_id, lane))
        return parcels.values()

    def _note(self, parcel: _Parcel, reply: Any, receipts: list[Receipt]) -> None:
        if isinstance(reply, Exception):
            return
        sure = not isinstance(reply, Unconfirmed)
        answers = reply if sure else reply.reply
        partition = parcel.partition
        self._lengths[partition] = answers[0]
        for position, answer in zip(parcel.places, answers[1:], strict=True):
            if answer[0] <= _NINE:
                receipts[position] = Receipt(_ACCEPTED if sure else _UNSURE, partition, answer)
            else:
                receipts[position] = _unusual_receipt(partition, answer, sure=sure)

    async def _refresh_lengths(self) -> None:
        now = self._clock.monotonic()
        if now - self._refreshed < _REFRESH:
            return
        self._refreshed = now
        commands = [("XLEN", keys.stream(partition)) for partition in range(self._partitions)]
        replies = await self._redis.call(*commands)
        _raise_if_all_failed(replies)
        known = zip(replies, self._lengths, strict=True)  # a node that is down must not stop what goes to the others
        self._lengths = [before if isinstance(reply, Exception) else reply for reply, before in known]


def _raise_if_all_failed(replies: Sequence[Any]) -> None:
    if replies and all(isinstance(reply, Exception) for reply in replies):
        raised(replies[0])


def _unusual_receipt(partition: int, answer: bytes, *, sure: bool) -> Receipt:
    first = answer[0]
    if first == _DUPLICATE:
        return Receipt(Admission.DUPLICATE if sure else _UNSURE, partition, answer[1:])
    return Receipt(Admission.CONFLICT if first == _CONFLICT else Admission.FULL)


def _data_of(fields: Sequence[bytes]) -> bytes:
    # An entry somebody else wrote here has other fields: it is unreadable, and parked by whoever meets it.
    return bytes(fields[1]) if len(fields) > 1 and fields[0] == keys.FIELD else b""
