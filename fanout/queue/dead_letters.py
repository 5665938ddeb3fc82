"""Where entries go that will not be delivered: parked with the reason, never dropped.

Rule guarded: parking adds the dead letter and deletes the entry in one atomic, fenced step, so a crash leaves exactly
one of the two (design section 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fanout.errors import LeaseLostError
from fanout.queue import keys
from fanout.queue.entry import Stored
from fanout.queue.scripts import PARK
from fanout.queue.wire import Argument, Wire


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an entry is dead: `reason` is one of metrics.DEAD_REASONS, `status` the last HTTP status or 0."""

    reason: str
    status: int
    attempts: int
    detail: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter as kept: its own id, the entry as it was, and why."""

    id: bytes
    entry: Stored
    verdict: Verdict


class DeadLetters:
    """The dead letters of all partitions."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def park(self, partition: int, token: str, entry: Stored, verdict: Verdict) -> None:
        """Move an entry to the dead letters; LeaseLostError when `token` does not hold the partition any more."""
        fields: list[Argument] = ["entry", entry.data, "id", entry.id, "reason", verdict.reason]
        fields += ["status", verdict.status, "attempts", verdict.attempts, "detail", verdict.detail]
        names = [keys.lease(partition), keys.stream(partition), keys.dead(partition)]
        if await self._wire.run(PARK, names, [token, entry.id, *fields]) == -1:
            raise LeaseLostError(f"partition {partition} has another owner")

    async def oldest(self, partition: int, *, count: int = 100) -> list[DeadLetter]:
        """Give the first `count` dead letters of a partition."""
        rows = await self._wire.ask("XRANGE", keys.dead(partition), "-", "+", "COUNT", count)
        return [_dead_letter(row[0], row[1]) for row in rows]


def _dead_letter(dead_id: bytes, flat: Sequence[bytes]) -> DeadLetter:
    fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
    verdict = Verdict(
        reason=fields["reason"].decode(),
        status=int(fields["status"]),
        attempts=int(fields["attempts"]),
        detail=fields["detail"].decode(),
    )
    return DeadLetter(dead_id, Stored(fields["id"], fields["entry"]), verdict)
