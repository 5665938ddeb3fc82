"""The queue as its two sides use it: append at the ingress, read and settle in a worker.

Why there is no consumer group: the lease of a partition already decides who may read its entries, and settling deletes
them, so the stream holds exactly what is not yet settled, in order. A new owner reads it from the start: first what its
predecessor left, then what is new. A group would be a second record of ownership that can disagree with the first. A
blocked XREADGROUP of a stalled worker claims entries for a holder that may no longer send them, and the group can
disappear (NOGROUP). XREAD claims nothing, so the read of a stalled worker does no harm, and every write is fenced by
the lease. For the same reason the newer group commands (XREADGROUP CLAIM, XACKDEL) are of no use here.

Rules guarded: nothing unread is ever trimmed. An append is one round trip, and every item has its own outcome.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from zlib import crc32

from fanout.clock import Clock
from fanout.errors import LeaseLostError, QueueSilentError
from fanout.queue.entry import Admission, Depth, Receipt, StoredEntry, Submission, encode
from fanout.queue.keys import FIELD, KEYS, Keys
from fanout.queue.lane_key import lane_of, partition_of
from fanout.queue.scripts import APPEND, CLAIM, EXPIRE, SETTLE
from fanout.queue.store import info_of
from fanout.redis.client import Argument, Call, RedisClient, reply_or_raise
from fanout.redis.durability import Durability, Unconfirmed

START = b"0-0"
_REFRESH_INTERVAL = 1.0  # seconds after which an append asks for the length of every partition again
_DEPTH_TIMEOUT = 2.0
_MAX_IDS_PER_SETTLE = 1000  # Lua's unpack has a limit
_UNKNOWN = Admission.UNKNOWN
_ACCEPTED = Admission.ACCEPTED
_NO_REPLY = Receipt(_UNKNOWN)
_NINE, _DUPLICATE, _CONFLICT = (
    b"9DC"  # how an answer of the script begins: a new id, the id of the duplicate, a conflict
)


class _PartitionAppend:
    """What one request stores in one partition: the positions of its submissions and the arguments of the script."""

    __slots__ = ("entries", "partition", "positions", "seen")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.positions: list[int] = []
        self.entries: list[bytes] = []  # for each entry its bytes, then its fingerprint or nothing
        self.seen: list[str] = []

    def call(self, stream: str, room: int, window_ms: int) -> Call:
        """Return the script call that stores it in `stream`."""
        mark = crc32(self.entries[0])  # entries hold message ids, so two requests hardly ever share it
        return APPEND, [stream, *self.seen], [room, window_ms, mark, *self.entries]


class Stream:
    """All partitions of the queue. `dedup_window` is in seconds; `max_depth` counts entries of all partitions."""

    def __init__(
        self, redis_client: RedisClient, clock: Clock, keys: Keys = KEYS, *, partitions: int, max_depth: int,
        dedup_window: float, durability: Durability | None = None,
    ) -> None:  # fmt: skip
        self._redis = redis_client
        self._clock = clock
        self._keys = keys
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
        """How often a connection to Redis was lost. What was read before the last time may no longer exist."""
        return self._redis.breaks

    async def append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store submissions in one round trip, those of one lane in their order, and return a receipt for each.

        The receipt is UNKNOWN where Redis did not answer. An UNKNOWN with an entry id is stored in the primary, but
        fewer replicas than configured acknowledged it in time. Raise QueueError when nothing was stored.
        """
        appends = self._group(submissions)
        await self._refresh_lengths()
        room = self._max_depth if sum(self._lengths) < self._max_depth else 0
        calls = [append.call(self._keys.stream(append.partition), room, self._window_ms) for append in appends]
        try:
            replies = await self._redis.run_all(calls, confirm=self._durability)
        except QueueSilentError:
            return [_NO_REPLY] * len(submissions)
        if not any(isinstance(reply, QueueSilentError) for reply in replies):
            _raise_if_all_failed(replies)  # nothing of this request is stored
        receipts: list[Receipt] = [_NO_REPLY] * len(submissions)
        for append, reply in zip(appends, replies, strict=True):
            self._read_reply(append, reply, receipts)
        return receipts

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember the body of an Idempotency-Key. Return False when it was used with another body."""
        partition = partition_of(f"{hub}\n{key}", self._partitions)
        name = self._keys.idempotency(partition, hub, key)
        return bool(await self._redis.run(CLAIM, [name], [fingerprint, self._window_ms]))

    async def read(self, partition: int, after: bytes, *, count: int, block: float) -> list[StoredEntry]:
        """Return up to `count` entries after the id `after`, oldest first. Wait up to `block` seconds for one."""
        command: list[Argument] = ["XREAD", "COUNT", count, "BLOCK", int(block * 1000)]
        command += ["STREAMS", self._keys.stream(partition), after]
        reply = await self._redis.ask(*command, time_limit=block + _DEPTH_TIMEOUT)
        return [StoredEntry(id=entry[0], data=_data_of(entry[1])) for entry in reply[0][1]] if reply else []

    async def scan(self, partition: int, after: bytes, *, count: int) -> list[StoredEntry]:
        """Return up to `count` entries after the id `after`, oldest first, without waiting."""
        rows = await self._redis.ask("XRANGE", self._keys.stream(partition), b"(" + after, "+", "COUNT", count)
        return [StoredEntry(id=row[0], data=_data_of(row[1])) for row in rows]

    async def settle(self, batches: Sequence[tuple[int, str, Sequence[bytes]]]) -> list[bool | None]:
        """Delete delivered entries in one round trip; each batch is (partition, lease token, ids).

        Return for each batch True; False when its token no longer holds the partition; None when it could not be
        settled while others could (a node of a Cluster is away). Repeating does no harm.
        """
        calls: list[Call] = []
        owners: list[int] = []
        for position, (partition, token, ids) in enumerate(batches):
            for start in range(0, len(ids), _MAX_IDS_PER_SETTLE):
                chunk = ids[start : start + _MAX_IDS_PER_SETTLE]
                calls.append((SETTLE, [self._keys.lease(partition), self._keys.stream(partition)], [token, *chunk]))
                owners.append(position)
        held: list[bool | None] = [True] * len(batches)
        for position, reply in zip(owners, await self._redis.run_all(calls), strict=True):
            if isinstance(reply, Exception):
                held[position] = None
            elif reply == -1:
                held[position] = False
        return held

    async def expire(self, partition: int, token: str, stream_id: bytes, ttl: float) -> bool:
        """Delete an entry if it is older than `ttl` seconds by the clock of Redis, and return whether it was.

        Raise LeaseLostError when `token` no longer holds the partition. Repeating does no harm.
        """
        names = [self._keys.lease(partition), self._keys.stream(partition)]
        reply = await self._redis.run(EXPIRE, names, [token, stream_id, int(ttl * 1000)])
        if reply == -1:
            raise LeaseLostError(f"partition {partition} has another owner")
        return bool(reply)

    async def depth(self) -> Depth:
        """Count waiting entries and dead letters, and measure the age of the oldest entry by the clock of Redis."""
        commands: list[Sequence[Argument]] = [("TIME",)]
        for partition in range(self._partitions):
            commands.append(("XLEN", self._keys.stream(partition)))
            commands.append(("XLEN", self._keys.dead(partition)))
            commands.append(("XRANGE", self._keys.stream(partition), "-", "+", "COUNT", 1))
        replies = [reply_or_raise(reply) for reply in await self._redis.call(*commands, time_limit=_DEPTH_TIMEOUT)]
        now = int(replies[0][0]) + int(replies[0][1]) / 1e6
        lengths, dead, oldest = replies[1::3], replies[2::3], replies[3::3]
        ages = [now - StoredEntry(first[0][0], b"").stored_at for first in oldest if first]
        return Depth(entries=tuple(lengths), oldest_age=max([0.0, *ages]), dead_letters=sum(dead))

    async def memory_ratio(self) -> float | None:
        """Return the memory in use as a share of maxmemory, or else of the machine's; that of the fullest primary."""
        infos = [info_of(text) for text in await self._redis.ask_primaries("INFO", "memory")]
        ratios = [ratio for info in infos if (ratio := _memory_ratio(info)) is not None]
        return max(ratios, default=None)

    async def ping(self) -> None:
        """Raise QueueError unless Redis answers."""
        await self._redis.ask("PING", time_limit=1.0)

    def _group(self, submissions: Sequence[Submission]) -> Collection[_PartitionAppend]:
        appends: dict[int, _PartitionAppend] = {}
        for position, submission in enumerate(submissions):
            entry = submission.entry
            lane = lane_of(entry.hub, entry.item)
            partition = partition_of(lane, self._partitions)
            append = appends.get(partition)
            if append is None:
                append = appends[partition] = _PartitionAppend(partition)
            append.positions.append(position)
            if submission.dedup_id is None:
                append.entries += (encode(entry), b"")
            else:
                append.entries += (encode(entry), b"=" + submission.fingerprint)
                append.seen.append(self._keys.seen(partition, entry.hub, submission.dedup_id, lane))
        return appends.values()

    def _read_reply(self, append: _PartitionAppend, reply: Any, receipts: list[Receipt]) -> None:
        if isinstance(reply, Exception):
            return
        confirmed = not isinstance(reply, Unconfirmed)
        answers = reply if confirmed else reply.reply
        partition = append.partition
        self._lengths[partition] = answers[0]
        for position, answer in zip(append.positions, answers[1:], strict=True):
            if answer[0] <= _NINE:
                receipts[position] = Receipt(_ACCEPTED if confirmed else _UNKNOWN, partition, answer)
            else:
                receipts[position] = _unusual_receipt(partition, answer, confirmed=confirmed)

    async def _refresh_lengths(self) -> None:
        now = self._clock.monotonic()
        if now - self._refreshed < _REFRESH_INTERVAL:
            return
        self._refreshed = now
        commands = [("XLEN", self._keys.stream(partition)) for partition in range(self._partitions)]
        replies = await self._redis.call(*commands)
        _raise_if_all_failed(replies)
        known = zip(replies, self._lengths, strict=True)  # a node that is down must not stop requests to the others
        self._lengths = [before if isinstance(reply, Exception) else reply for reply, before in known]


def _memory_ratio(info: Mapping[str, str]) -> float | None:
    limit = int(info.get("maxmemory", "0")) or int(info.get("total_system_memory", "0"))
    return int(info.get("used_memory", "0")) / limit if limit else None


def _raise_if_all_failed(replies: Sequence[Any]) -> None:
    if replies and all(isinstance(reply, Exception) for reply in replies):
        reply_or_raise(replies[0])


def _unusual_receipt(partition: int, answer: bytes, *, confirmed: bool) -> Receipt:
    first = answer[0]
    if first == _DUPLICATE:
        return Receipt(Admission.DUPLICATE if confirmed else _UNKNOWN, partition, answer[1:])
    return Receipt(Admission.CONFLICT if first == _CONFLICT else Admission.FULL)


def _data_of(fields: Sequence[bytes]) -> bytes:
    # An entry that another program wrote here has other fields. It is unreadable, and its reader parks it.
    return bytes(fields[1]) if len(fields) > 1 and fields[0] == FIELD else b""
