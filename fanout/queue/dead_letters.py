"""Where entries go that will not be delivered: parked with the reason, never dropped; looked at, sent again, forgotten.

Rules guarded: parking adds the dead letter and deletes the entry in one atomic, fenced step, so a crash leaves exactly
one of the two (design section 5); sending again is the same step the other way round, so that whoever repeats it sends
nothing twice. What a newer version wrote here is shown as far as it is understood, never a reason to fail.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from fanout.errors import LeaseLostError, QueueError
from fanout.queue import keys
from fanout.queue.entry import StoredEntry
from fanout.queue.scripts import PARK, PEEK, REPLAY
from fanout.redis.client import Argument, Call, RedisClient, raised

UNKNOWN = "unknown"  # the reason of a letter that names none
_NUMBER = re.compile(rb"[0-9]{1,9}")
_DELETED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class DeathCause:
    """Why an entry is dead: `reason` is one of metrics.DEAD_REASONS, `status` the last HTTP status or 0."""

    reason: str
    status: int
    attempts: int
    detail: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter as kept: its own id, the entry as it was, and why."""

    id: bytes
    entry: StoredEntry
    cause: DeathCause


@dataclass(frozen=True, slots=True)
class Page:
    """Some dead letters of one partition, oldest first; `last` is the id of the last one kept there, b"" for none."""

    last: bytes
    letters: Sequence[DeadLetter]


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How much to read: before this unix millisecond, at most so many letters, and so many bytes of them (about)."""

    before: int | None = None
    count: int = 100
    size: int = 1_000_000


LetterKey = tuple[int, bytes]  # a dead letter by partition and id


class DeadLetters:
    """The dead letters of all partitions."""

    def __init__(self, redis_client: RedisClient) -> None:
        self._redis = redis_client

    async def park(self, partition: int, token: str, entry: StoredEntry, cause: DeathCause) -> None:
        """Move an entry to the dead letters; LeaseLostError when `token` does not hold the partition any more."""
        fields: list[Argument] = ["entry", entry.data, "id", entry.id, "reason", cause.reason]
        fields += ["status", cause.status, "attempts", cause.attempts, "detail", cause.detail]
        names = [keys.lease(partition), keys.stream(partition), keys.dead(partition)]
        if await self._redis.run(PARK, names, [token, entry.id, *fields]) == -1:
            raise LeaseLostError(f"partition {partition} has another owner")

    async def oldest(self, partition: int, *, count: int = 100) -> list[DeadLetter]:
        """Give the first `count` dead letters of a partition."""
        rows = await self._redis.ask("XRANGE", keys.dead(partition), "-", "+", "COUNT", count)
        return [_dead_letter(row) for row in rows]

    async def scan(self, after: Mapping[int, bytes], limits: PageLimits) -> dict[int, Page]:
        """Give what follows the id `after` in each of these partitions, in one round trip.

        A page without letters means that there are none; `portion.count` and `size` bound each page.
        """
        end = "+" if limits.before is None else max(0, limits.before - 1)  # with all counters of that millisecond
        calls: list[Call] = [
            (PEEK, [keys.dead(partition)], [start, end, limits.count, limits.size])
            for partition, start in after.items()
        ]
        replies = [raised(reply) for reply in await self._redis.run_all(calls)]
        pages = (Page(bytes(last), [_dead_letter(row) for row in rows]) for last, *rows in replies)
        return dict(zip(after, pages, strict=True))

    async def find(self, refs: Sequence[LetterKey]) -> list[DeadLetter | None]:
        """Give these dead letters, in one round trip; None for what is not there (any more)."""
        replies = await self._redis.call(*(("XRANGE", keys.dead(partition), id_, id_) for partition, id_ in refs))
        return [_dead_letter(rows[0]) if (rows := raised(reply)) else None for reply in replies]

    async def replay(self, refs: Sequence[LetterKey]) -> list[bytes | QueueError | None]:
        """Put the entries of these dead letters at the end of their lanes, in this order, in one round trip.

        For each: the id of the new entry; None when the letter is gone, which a repeat meets too; b"" when it holds no
        entry, and stays; the error when the store did not do it (QueueFullError: full, the letter stays). Raises
        QueueError when nothing was done, QueueSilentError when no outcome is known.
        """
        calls: list[Call] = [
            (REPLAY, [keys.stream(partition), keys.dead(partition)], [id_, crc32(id_)]) for partition, id_ in refs
        ]
        return [_outcome(reply) for reply in await self._redis.run_all(calls)]

    async def forget(self, partition: int, ids: Sequence[bytes]) -> int:
        """Delete dead letters for good; gives how many were there."""
        deleted = 0
        for start in range(0, len(ids), _DELETED_AT_ONCE):
            deleted += await self._redis.ask("XDEL", keys.dead(partition), *ids[start : start + _DELETED_AT_ONCE])
        return deleted


def _outcome(reply: Any) -> bytes | QueueError | None:
    try:
        replayed: bytes | None = raised(reply)
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
    return DeadLetter(dead_id, StoredEntry(fields.get(b"id", b""), fields.get(b"entry", b"")), cause)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _number(value: bytes) -> int:
    return int(value) if _NUMBER.fullmatch(value) else 0
