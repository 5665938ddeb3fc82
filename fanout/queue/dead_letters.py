"""The dead letters: entries that will not be delivered, kept with the reason, listed, replayed and deleted.

Rules guarded: parking adds the dead letter and deletes the entry in one atomic, fenced step, so a crash leaves exactly
one of the two. Replaying is the same step in the other direction, so that repeating it sends nothing twice. What is
deleted for its age is deleted in fenced steps too, and by the clock that wrote its id. What a newer version wrote here
is shown as far as it is understood and never makes a request fail.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from fanout.errors import LeaseLostError, QueueError
from fanout.queue.entry import StoredEntry, weight_of
from fanout.queue.keys import KEYS, Keys, flow_of_stream
from fanout.queue.scripts import DELETE, PARK, PEEK, REPLAY
from fanout.queue.worker_scripts import DELETE_OLD
from fanout.redis.client import Argument, Call, RedisClient, reply_or_raise

_UNLIMITED = 1 << 62
UNKNOWN = "unknown"  # the reason of a letter that names none
_NUMBER = re.compile(rb"[0-9]{1,9}")
_MAX_IDS_PER_DELETE = 1000
_OLD_AT_ONCE = 100  # letters that one step deletes for their age,
_OLD_BYTES = 1_000_000  # and about so many bytes, so that it holds up nobody else's command


@dataclass(frozen=True, slots=True)
class DeathCause:
    """Why an entry is dead: `reason` is one of metrics.DEAD_REASONS, `status` the last HTTP status or 0."""

    reason: str
    status: int
    attempts: int
    detail: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter as stored: its own id, the original entry, the cause and the flow.

    A body that stands beside the stream is named by `body_key`, and is in `body` where one letter was asked for.
    """

    id: bytes
    entry: StoredEntry
    cause: DeathCause
    flow: str = ""
    body_key: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Parked:
    """An entry on its way to the dead letters: its flow, and the body that stands beside the stream, "" for none."""

    flow: str
    entry: StoredEntry
    body_ref: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some dead letters of a partition, oldest first; `last` is the id of the newest stored there, b"" for none."""

    last: bytes
    letters: Sequence[DeadLetter]


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How much one page may hold: letters stored before this unix millisecond, a count, and about so many bytes."""

    before: int | None = None
    count: int = 100
    size: int = 1_000_000


@dataclass(frozen=True, slots=True)
class OldDeleted:
    """What one step deleted for its age: letters to be counted, and the `last` of them, b"" for none.

    `left` is in how many seconds the oldest letter that is kept is too old: 0 for now, None when no letter is kept.
    """

    count: int
    last: bytes
    left: float | None


LetterKey = tuple[int, bytes]  # a dead letter by partition and id


class DeadLetters:
    """The dead letters of all partitions; `max_bytes` bounds what they take together, 0 does not."""

    def __init__(
        self, redis_client: RedisClient, keys: Keys = KEYS, *, partitions: int = 1, max_bytes: int = 0
    ) -> None:
        self._redis = redis_client
        self._keys = keys
        self._partitions = partitions
        self._most = 0
        self.limit(max_bytes)

    def limit(self, max_bytes: int) -> None:
        """Bound what dead letters take in all partitions together."""
        self._most = (
            max_bytes or _UNLIMITED
        ) // self._partitions  # of each partition, because one script sees one partition

    async def park(self, partition: int, token: str, parked: Parked, cause: DeathCause) -> int:
        """Move an entry to the dead letters; return how many of the oldest were deleted to make room for it.

        Raise LeaseLostError when `token` does not hold the partition any more.
        """
        entry, flow = parked.entry, self._keys.stream(partition, parked.flow)
        fields: list[Argument] = ["entry", entry.data, "id", entry.id, "flow", flow, "reason", cause.reason]
        fields += ["status", cause.status, "attempts", cause.attempts, "detail", cause.detail]
        names = [
            self._keys.lease_of(partition, token),
            self._keys.size(partition),
            flow,
            self._keys.dead(partition),
            self._keys.dead_size(partition),
        ]
        if parked.body_ref:
            names.append(self._keys.body(partition, parked.body_ref))
            fields += ["body", names[-1]]
        reply: int = await self._redis.run(PARK, names, [token, entry.id, weight_of(entry.data), self._most, *fields])
        if reply == -1:
            raise LeaseLostError(f"partition {partition} has another owner")
        return max(0, reply - 1)

    async def oldest(self, partition: int, *, count: int = 100) -> list[DeadLetter]:
        """Return the first `count` dead letters of a partition."""
        rows = await self._redis.ask("XRANGE", self._keys.dead(partition), "-", "+", "COUNT", count)
        return [_dead_letter(row) for row in rows]

    async def scan(self, after: Mapping[int, bytes], limits: PageLimits) -> dict[int, Page]:
        """Return the page that follows the id `after` in each of these partitions, in one round trip.

        A page without letters means that no more exist there. `limits` apply to each page.
        """
        end = "+" if limits.before is None else max(0, limits.before - 1)  # with all counters of that millisecond
        calls: list[Call] = [
            (PEEK, [self._keys.dead(partition)], [start, end, limits.count, limits.size])
            for partition, start in after.items()
        ]
        replies = [reply_or_raise(reply) for reply in await self._redis.run_all(calls)]
        pages = (Page(bytes(last), [_dead_letter(row) for row in rows]) for last, *rows in replies)
        return dict(zip(after, pages, strict=True))

    async def find(self, refs: Sequence[LetterKey]) -> list[DeadLetter | None]:
        """Return these dead letters in one round trip, with None for each that does not exist."""
        replies = await self._redis.call(*(("XRANGE", self._keys.dead(partition), id_, id_) for partition, id_ in refs))
        letters = [_dead_letter(rows[0]) if (rows := reply_or_raise(reply)) else None for reply in replies]
        return [await self._with_body(letter) if letter and letter.body_key else letter for letter in letters]

    async def _with_body(self, letter: DeadLetter) -> DeadLetter:
        body = await self._redis.ask("HGET", letter.body_key, "b")
        return letter if body is None else replace(letter, body=body)

    async def replay(self, refs: Sequence[LetterKey]) -> list[bytes | QueueError | None]:
        """Append the entries of these dead letters to their lanes, in this order, in one round trip.

        The result of each is the id of the new entry; None when the letter is gone, which a repetition finds too; b""
        when the letter holds no entry and remains; or the error that kept Redis from doing it (QueueFullError: the
        letter remains). Raise QueueError when nothing was done and QueueSilentError when no outcome is known.
        """
        calls: list[Call] = [
            (
                REPLAY,
                [
                    self._keys.flows(p),
                    self._keys.wake(p),
                    self._keys.size(p),
                    self._keys.dead(p),
                    self._keys.dead_size(p),
                ],
                [id_, crc32(id_)],
            )
            for p, id_ in refs
        ]
        return [_outcome(reply) for reply in await self._redis.run_all(calls)]

    async def delete(self, partition: int, ids: Sequence[bytes]) -> int:
        """Delete dead letters and return how many existed."""
        deleted = 0
        for start in range(0, len(ids), _MAX_IDS_PER_DELETE):
            chunk = ids[start : start + _MAX_IDS_PER_DELETE]
            deleted += await self._redis.run(
                DELETE, [self._keys.dead(partition), self._keys.dead_size(partition)], chunk
            )
        return deleted

    async def delete_old(self, partition: int, token: str, max_age: float, counted: bytes = b"") -> OldDeleted:
        """Delete a bounded number of the dead letters that are older than `max_age` seconds by the store's clock.

        `counted` is the `last` of the step before, once its letters are counted; without it they are reported again.
        Raise LeaseLostError when `token` does not hold the partition.
        """
        names = [
            self._keys.lease(partition),
            self._keys.dead(partition),
            self._keys.dead_size(partition),
            self._keys.dead_aged(partition),
        ]
        arguments: list[Argument] = [token, int(max_age * 1000), _OLD_AT_ONCE, _OLD_BYTES, counted]
        reply = await self._redis.run(DELETE_OLD, names, arguments)
        if reply == -1:
            raise LeaseLostError(f"partition {partition} has another owner")
        count, last, left = reply
        return OldDeleted(count, last, None if left < 0 else left / 1000)


def _outcome(reply: Any) -> bytes | QueueError | None:
    try:
        replayed: bytes | None = reply_or_raise(reply)
    except QueueError as error:
        return error
    return replayed


def _dead_letter(row: Sequence[Any]) -> DeadLetter:
    dead_id, flat = row
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    cause = DeathCause(
        reason=_text(fields.get(b"reason", b"")) or UNKNOWN,
        status=_number(fields.get(b"status", b"")),
        attempts=_number(fields.get(b"attempts", b"")),
        detail=_text(fields.get(b"detail", b"")),
    )
    stored = StoredEntry(fields.get(b"id", b""), fields.get(b"entry", b""))
    flow = flow_of_stream(fields.get(b"flow", b""))
    return DeadLetter(dead_id, stored, cause, flow, _text(fields.get(b"body", b"")))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _number(value: bytes) -> int:
    return int(value) if _NUMBER.fullmatch(value) else 0
