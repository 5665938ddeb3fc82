"""The queue as its two sides see it: append at the ingress, read and settle in a worker.

The layout. All keys of a partition share one Cluster slot.

- A stream for each flow: the lanes of one hub, one kind of destination and one priority. What waits in a flow that is
  held back is not read, and holds back no other flow. A set names the flows that may hold entries.
- An entry is small. A body that is large, or the same for many targets of one item, stands beside the streams with a
  count of the entries that need it: it is stored once in each partition, and fetched when it is about to be sent.
- A number says how many bytes wait, so that a full queue is noticed in the append itself.

Why there is no consumer group: the lease of a partition already says who may take its entries, and settling deletes
them, so the streams are exactly what is not yet settled, in order. A new owner reads them from the start: first what
its predecessor left, then what is new. A group would add a second record of ownership that can disagree with the first:
a blocked XREADGROUP of a stalled worker takes entries for a holder that may not send them any more, and the group can
vanish (NOGROUP). XREAD takes nothing, so a zombie's read harms nobody, and every write is fenced by the lease. For the
same reason newer servers' group commands (XREADGROUP CLAIM, XACKDEL) have no use here.

Rules guarded: nothing unread is ever trimmed. An append is one round trip, and its outcome is known item by item.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import count
from typing import Any
from zlib import crc32

from fanout.clock import Clock
from fanout.errors import LeaseLostError, QueueError, QueueSilentError
from fanout.queue.changes import swept_by
from fanout.queue.claims import Claims
from fanout.queue.entry import (
    Admission,
    Depth,
    FlowDepth,
    FlowRead,
    PartitionAppend,
    Receipt,
    Settled,
    StoredEntry,
    Submission,
    apart,
    encode,
    parts_of,
    settlement,
)
from fanout.queue.keys import FIELD, KEYS, Keys, flow_of_stream, place_of, scope_of_flow
from fanout.queue.remembered import dedup_mark, guard_of
from fanout.queue.scripts import EXPIRE, FETCH, MEASURE, PRUNE, WAKE
from fanout.queue.staged import Mark, append_staged
from fanout.queue.store import info_of, memory_ratio
from fanout.queue.worker_scripts import LEFT
from fanout.redis.client import Argument, Call, RedisClient, is_out_of_memory, reply_or_raise
from fanout.redis.durability import Durability, Unconfirmed
from fanout.signalr.message import Message, Scope

START = b"0-0"
INLINE = 4096  # bytes of a body up to which it stands in its entry
_LONG = 2  # targets in each partition, on average, from which the targets of one item share its body
_UNLIMITED = 1 << 62
_REFRESH_INTERVAL = 1.0  # seconds between two looks at how many bytes wait
_TIME_LIMIT = 2.0
_MOST_WEIGHED = 1000  # flows of a partition up to which its bytes are set right when it is empty
_UNSURE = Admission.UNKNOWN
_ACCEPTED = Admission.ACCEPTED
_SILENT = Receipt(_UNSURE)
_NINE, _DUPLICATE, _CONFLICT = b"9DC"  # how the script's answers begin: a new id, the id stored before, a conflict


class Stream:
    """All partitions of the queue. `dedup_window` is in seconds.

    `max_bytes` bounds what waits in all partitions together; 0 means no bound. `origin` makes the names of
    bodies unique among all processes that write.
    """

    def __init__(
        self, redis_client: RedisClient, clock: Clock, keys: Keys = KEYS, *, partitions: int, max_bytes: int,
        dedup_window: float, durability: Durability | None = None, origin: str = "",
    ) -> None:  # fmt: skip
        self._redis = redis_client
        self._keys = keys
        self._clock = clock
        self._partitions = partitions
        self._max_bytes = max_bytes or _UNLIMITED
        self._window_ms = max(1, int(dedup_window * 1000))
        self._durability = durability
        self._origin = origin
        self._numbers = count(1)
        self._sizes = [0] * partitions
        self._claims = Claims(redis_client, clock, keys, partitions=partitions, window=self._window_ms)

    def __repr__(self) -> str:
        return f"<Stream {self._partitions} partitions, about {sum(self._sizes)} bytes>"

    def limit(self, max_bytes: int) -> None:
        """Bound what waits in all partitions together."""
        self._max_bytes = max_bytes

    def generation(self, partition: int) -> Hashable:
        """Return a value that changes when what was read of a partition may no longer exist (a failover, a restart)."""
        return self._redis.generation(self._keys.lease(partition))

    def node_of(self, partition: int) -> Hashable:
        """Return a value that is equal for partitions that are served by one server."""
        return self._redis.node_of(self._keys.lease(partition))

    async def run(self) -> None:
        """Keep what is known of the bytes that wait up to date until cancelled; no request waits for it."""
        while True:
            await self.refresh()
            await self._clock.sleep(_REFRESH_INTERVAL)

    async def refresh(self) -> None:
        """Ask how many bytes wait. A partition whose server does not answer keeps the number it had."""
        commands = [("GET", self._keys.size(partition)) for partition in range(self._partitions)]
        try:
            replies = await self._redis.call(*commands, time_limit=_TIME_LIMIT)
        except QueueError:
            return
        for partition, reply in enumerate(replies):
            if not isinstance(reply, Exception):
                self._sizes[partition] = int(reply or 0)

    async def append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store submissions, those of one lane in their order, in one round trip; one receipt each.

        The receipt is UNKNOWN where Redis did not answer. An UNKNOWN with an entry id is stored in the primary, but
        fewer replicas than configured acknowledged it in time. Raise QueueError when nothing was stored.
        """
        shares, has_sweep = self._place(submissions)
        if has_sweep:
            return await append_staged(submissions, self._partitions, self._append_stage)
        return await self._store(shares, len(submissions))

    async def _append_stage(
        self, first: Sequence[Mark], submissions: Sequence[Submission], last: Sequence[Mark]
    ) -> list[Receipt]:
        shares = {number: PartitionAppend(number) for number in range(self._partitions if first or last else 0)}
        count = len(submissions)
        for mark in first:
            count = self._mark(shares, mark, count)
        self._place(submissions, shares)
        for mark in last:
            count = self._mark(shares, mark, count)
        return await self._store(shares.values(), count)

    def _mark(self, shares: Mapping[int, PartitionAppend], mark: Mark, position: int) -> int:
        for share in shares.values():
            group = share.group(mark.flow, "")
            group.entries += (mark.data, b"")
            group.positions.append(position + share.partition)
            share.mark = share.mark or crc32(b"%d" % next(self._numbers), crc32(self._origin.encode()))
        return position + self._partitions

    async def _store(self, shares: Collection[PartitionAppend], count: int) -> list[Receipt]:
        most = self._max_bytes if sum(self._sizes) < self._max_bytes else 0
        calls = [share.call(self._keys, most, self._window_ms) for share in shares]
        try:
            replies = await self._redis.run_all(calls, confirm=self._durability)
        except QueueSilentError:
            return [_SILENT] * count
        _raise_if_none_stored(replies)
        receipts: list[Receipt] = [_SILENT] * count
        for share, reply in zip(shares, replies, strict=True):
            self._note(share, reply, receipts)
        return receipts

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember the body an Idempotency-Key stands for; False when it stood for another one."""
        return await self._claims.claim(hub, key, fingerprint)

    async def flows(self, partition: int) -> list[str]:
        """Return the flows of a partition that may hold entries."""
        return sorted(map(flow_of_stream, await self._redis.ask("SMEMBERS", self._keys.flows(partition))))

    async def look(self, partition: int, named: str, *, most: int) -> tuple[list[str], list[StoredEntry]]:
        """Return the flows that may hold entries, and the first entries of the one that is `named`; "" names none."""
        if not named:
            return await self.flows(partition), []
        read = ("XRANGE", self._keys.stream(partition, named), "-", "+", "COUNT", most)
        names, rows = map(reply_or_raise, await self._redis.call(("SMEMBERS", self._keys.flows(partition)), read))
        return sorted(map(flow_of_stream, names)), stored_entries(rows)

    async def wait(
        self, partition: int, woken: bytes, after: Mapping[str, bytes], *, most: int, block: float
    ) -> tuple[bytes, list[FlowRead]]:
        """Wait up to `block` seconds for entries after the id `after` of each flow, at most `most` of each.

        Returns early when the partition's reader was woken after the id `woken`; the first value is the id to wait
        after next time. It differs from `woken` when there may be new flows; the latest comes without entries.
        """
        command: list[Argument] = ["XREAD", "COUNT", most, "BLOCK", int(block * 1000), "STREAMS"]
        command += [self._keys.wake(partition), *(self._keys.stream(partition, flow) for flow in after)]
        command += [woken, *after.values()]
        found = dict(await self._redis.ask(*command, time_limit=block + _TIME_LIMIT, blocking=True) or ())
        if wakes := found.pop(self._keys.wake(partition).encode(), None):
            woken, (_field, stream) = wakes[-1]
            if flow_of_stream(stream):
                found.setdefault(stream, ())
        return woken, [FlowRead(flow_of_stream(name), stored_entries(rows)) for name, rows in found.items()]

    async def read(self, partition: int, after: Mapping[str, bytes], *, most: int) -> list[FlowRead]:
        """Return at most `most` entries after the id `after` of each flow, oldest first, without waiting."""
        command: list[Argument] = ["XREAD", "COUNT", most, "STREAMS"]
        command += [*(self._keys.stream(partition, flow) for flow in after), *after.values()]
        return [
            FlowRead(flow_of_stream(name), stored_entries(rows)) for name, rows in await self._redis.ask(*command) or ()
        ]

    async def fetch(self, partition: int, ids: Mapping[str, Sequence[bytes]]) -> dict[str, list[StoredEntry | None]]:
        """Return the entries with these ids, by flow; None for one that is gone."""
        arguments: list[Argument] = []
        for some in ids.values():
            arguments += [len(some), *some]
        names = [self._keys.stream(partition, flow) for flow in ids]
        rows = iter(await self._redis.run(FETCH, names, arguments))
        return {
            flow: [None if (data := next(rows)) is None else StoredEntry(id_, data) for id_ in some]
            for flow, some in ids.items()
        }

    async def body(self, partition: int, name: str) -> bytes | None:
        """Return a body that stands beside the streams; None when it is gone."""
        body: bytes | None = await self._redis.ask("HGET", self._keys.body(partition, name), "b")
        return body

    async def left(self, partition: int) -> list[str]:
        """Return the lanes in which a former owner of a partition has a call in flight."""
        reply = await self._redis.run(LEFT, [self._keys.left(partition)], [self._keys.rest(partition, "")])
        return [lane.decode() for lane in reply]

    async def wake(self, partition: int) -> None:
        """Wake the reader of a partition, so that it looks again for what it waits for."""
        await self._redis.run(WAKE, [self._keys.wake(partition)], [])

    async def settle(self, batches: Sequence[tuple[int, str, Sequence[Settled]]]) -> list[bool | None]:
        """Delete entries that are done with, each batch (partition, lease token, entries), in one round trip.

        False for a batch whose token does not hold its partition any more; None for one that could not be settled now,
        while others could (a node of a Cluster is away). Repeating is harmless.
        """
        calls: list[Call] = []
        owners: list[int] = []
        for position, (partition, token, groups) in enumerate(batches):
            for part in parts_of(groups):
                calls.append(settlement(self._keys, partition, token, part))
                owners.append(position)
        held: list[bool | None] = [True] * len(batches)
        for position, reply in zip(owners, await self._redis.run_all(calls), strict=True):
            if isinstance(reply, Exception):
                held[position] = None
            elif reply == -1:
                held[position] = False
        return held

    async def expire(self, partition: int, token: str, entry: Settled, ttl: float) -> bool:
        """Delete one entry that is older than `ttl` seconds by the store's clock; False when it is not.

        LeaseLostError when `token` does not hold the partition any more. Repeating is harmless.
        """
        names = [self._keys.lease_of(partition, token), self._keys.size(partition)]
        names.append(self._keys.stream(partition, entry.flow))
        names += [self._keys.body(partition, entry.body_ref)] if entry.body_ref else []
        reply = await self._redis.run(EXPIRE, names, [token, entry.ids[0], int(ttl * 1000), entry.size])
        if reply == -1:
            raise LeaseLostError(f"partition {partition} has another owner")
        return bool(reply)

    async def prune(self, partition: int, token: str, flows: Collection[str], idle: float) -> list[str] | None:
        """Delete the streams of those of `flows` that were empty for `idle` seconds; return these flows.

        None when `token` does not hold the partition any more.
        """
        keys = self._keys
        names = [keys.lease(partition), keys.flows(partition), keys.wake(partition), keys.size(partition)]
        names += [keys.stream(partition, flow) for flow in flows]
        reply = await self._redis.run(PRUNE, names, [token, int(idle * 1000), _MOST_WEIGHED])
        return None if reply == -1 else [flow_of_stream(name) for name in reply]

    async def depth(self) -> Depth:
        """Count what waits and what is dead, and find the age of the oldest entry by the store's clock."""
        calls: list[Call] = [(MEASURE, self._keys.measured(p), []) for p in range(self._partitions)]
        time = await self._redis.ask("TIME", time_limit=_TIME_LIMIT)
        now = int(time[0]) + int(time[1]) / 1e6
        rows = [reply_or_raise(reply) for reply in await self._redis.run_all(calls)]
        flows = [
            FlowDepth(partition, flow_of_stream(row[k]), row[k + 1], row[k + 2])
            for partition, row in enumerate(rows)
            for k in range(6, len(row), 3)
        ]
        ages: dict[str, float] = dict.fromkeys(Scope, 0.0)
        for flow in flows:
            scope = scope_of_flow(flow.flow)
            if flow.oldest and scope is not None:
                ages[scope] = max(ages[scope], now - StoredEntry(flow.oldest, b"").stored_at)
        letters = [StoredEntry(row[5], b"").stored_at for row in rows if row[5]]
        return Depth(
            entries=tuple(row[0] for row in rows),
            ages=ages,
            dead_letters=sum(row[1] for row in rows),
            dead_age=max(0.0, now - min(letters, default=now)),
            size=sum(row[2] for row in rows),
            dead_size=sum(row[3] for row in rows),
            flows=tuple(flows),
            unowned=sum(not row[4] for row in rows),
        )

    async def memory_ratio(self) -> float | None:
        """Return the memory in use as a share of maxmemory, or else of the machine's; that of the fullest primary."""
        infos = [info_of(text) for text in await self._redis.ask_primaries("INFO", "memory")]
        ratios = [ratio for info in infos if (ratio := memory_ratio(info)) is not None]
        return max(ratios, default=None)

    async def ping(self) -> None:
        """Do nothing but ask; QueueError when the store does not answer."""
        await self._redis.ask("PING", time_limit=1.0)

    def _place(
        self, submissions: Sequence[Submission], shares: dict[int, PartitionAppend] | None = None
    ) -> tuple[Collection[PartitionAppend], bool]:
        """Sort submissions into what each partition stores; the second value says whether some are sweeps."""
        shares = {} if shares is None else shares
        has_sweep = False
        listed = [submission.list_id for submission in submissions if submission.list_id]
        targets: Mapping[str, int] = Counter(listed) if listed else {}
        long = {list_id for list_id, count in targets.items() if count >= _LONG * self._partitions}
        for position, submission in enumerate(submissions):
            entry = submission.entry
            item = entry.item
            hub = entry.place if entry.endpoint else entry.hub
            lane, partition, flow = place_of(hub, item, self._partitions)
            share = shares.get(partition)
            if share is None:
                share = shares[partition] = PartitionAppend(partition)
            if not isinstance(item, Message):
                has_sweep = has_sweep or swept_by(item) is not None
            elif len(item.body) > INLINE or submission.list_id in long:
                self._add_apart(share, flow, position, submission)
                continue
            dedup_id = submission.dedup_id
            guard = b"" if dedup_id is None else _guard_of(submission, dedup_id, lane)
            share.add(flow, position, encode(entry), guard)
        return shares.values(), has_sweep

    def _add_apart(self, share: PartitionAppend, flow: str, position: int, submission: Submission) -> None:
        entry = submission.entry
        list_id = submission.list_id or f"\n{position}"
        group = share.group(flow, list_id)
        if not group.positions and isinstance(entry.item, Message):
            group.body_ref, group.text = share.body_ref(list_id, self._next_body), entry.item.body
            if submission.dedup_id is not None:
                group.guard = _guard_of(submission, submission.dedup_id, flow)
        data = encode(apart(entry, group.body_ref))
        share.mark = share.mark or crc32(data)
        group.entries.append(data)
        group.positions.append(position)

    def _next_body(self) -> str:
        return f"{self._origin}{next(self._numbers):x}"

    def _note(self, share: PartitionAppend, reply: Any, receipts: list[Receipt]) -> None:
        if isinstance(reply, Exception):
            if is_out_of_memory(reply):  # the server did not begin the script
                for position in share.all_positions():
                    receipts[position] = Receipt(Admission.FULL)
            return
        sure = not isinstance(reply, Unconfirmed)
        answers = iter(reply if sure else reply.reply)
        partition = share.partition
        self._sizes[partition] = next(answers) or self._sizes[partition]
        admission = _ACCEPTED if sure else _UNSURE
        for _flow, group in share.groups:
            for position, answer in zip(group.positions, answers, strict=False):  # what is left is for the next groups
                if answer[0] <= _NINE:
                    receipts[position] = Receipt(admission, partition, answer)
                else:
                    receipts[position] = _unusual_receipt(partition, answer, sure=sure)


def _guard_of(submission: Submission, dedup_id: str, place: str) -> bytes:
    return guard_of(dedup_mark(submission.entry.hub, dedup_id, place), submission.fingerprint)


def stored_entries(rows: Sequence[Any]) -> list[StoredEntry]:
    # An entry somebody else wrote here has other fields: it is unreadable, and parked by whoever meets it.
    return [StoredEntry(id_, fields[1] if len(fields) > 1 and fields[0] == FIELD else b"") for id_, fields in rows]


def _raise_if_none_stored(replies: Sequence[Any]) -> None:
    # Where all failed and none fell silent, nothing of the request is stored, so the plain error is the truth.
    failed = [reply for reply in replies if isinstance(reply, Exception)]
    if failed and len(failed) == len(replies) and not any(isinstance(reply, QueueSilentError) for reply in failed):
        reply_or_raise(failed[0])


def _unusual_receipt(partition: int, answer: bytes, *, sure: bool) -> Receipt:
    first = answer[0]
    if first == _DUPLICATE:
        return Receipt(Admission.DUPLICATE if sure else _UNSURE, partition, answer[1:])
    return Receipt(Admission.CONFLICT if first == _CONFLICT else Admission.FULL)
