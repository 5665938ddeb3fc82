"""Appends a batch with sweeps stage by stage (see `changes`), and says what became of each entry.

Rules guarded: a stage is stored when all of the one before is. A sweep counts as stored only when the markers behind it
are, because from then on its sender may rely on the order.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from fanout.errors import QueueError, QueueSilentError
from fanout.queue.changes import Sweep, group_flow, marker_before, marker_behind, stages_of, swept_by
from fanout.queue.entry import Admission, Receipt, Submission

_FAILED = (Admission.FULL, Admission.UNKNOWN)
_NOT_STORED, _UNKNOWN = Receipt(Admission.FULL), Receipt(Admission.UNKNOWN)


class Mark(NamedTuple):
    """A marker that is stored in each partition: its flow and its bytes."""

    flow: str
    data: bytes


# Stores marks, entries and marks, in this order in each partition. Returns the receipts of the entries, then those of
# all marks, by mark and partition. Raises QueueError when nothing was stored.
StoreStage = Callable[[Sequence[Mark], Sequence[Submission], Sequence[Mark]], Awaitable[list[Receipt]]]


async def append_staged(submissions: Sequence[Submission], partitions: int, store: StoreStage) -> list[Receipt]:
    """Store submissions of which some are sweeps; one receipt each. Raise QueueError when nothing was stored."""
    staged = _Staged(submissions, partitions, store)
    stages = stages_of(submissions)
    for number in range(0, len(stages) + 1, 2):
        normal = stages[number] if number < len(stages) else []
        sweeps = stages[number + 1] if number + 1 < len(stages) else []
        if not await staged.store(normal, sweeps):
            break
    return staged.receipts


class _Staged:
    """One append. What is not reached keeps the receipt of something that is not stored."""

    def __init__(self, submissions: Sequence[Submission], partitions: int, store: StoreStage) -> None:
        self.receipts = [_NOT_STORED] * len(submissions)
        self._submissions = submissions
        self._partitions = partitions
        self._store = store
        self._before: list[int] = []  # the sweeps of the stage before
        self._begun = False

    def __repr__(self) -> str:
        return f"<_Staged {len(self.receipts)} entries>"

    async def store(self, normal: Sequence[int], sweeps: Sequence[int]) -> bool:
        """Store the marks behind the last sweeps, entries, the marks before the next sweeps, and these."""
        first, last = self._marks_behind(), self._marks_before(sweeps)
        receipts = await self._try(first, [self._submissions[k] for k in normal], last)
        self._take(normal, receipts)
        marks = receipts[len(normal) :]
        behind, before = marks[: len(first) * self._partitions], marks[len(first) * self._partitions :]
        if not _are_stored(behind):
            self._take(self._before, [_UNKNOWN] * len(self._before))
        if not _are_stored(receipts):
            self._take(sweeps, [_NOT_STORED] * len(sweeps))
            return False
        ids = {mark.flow: before[k * self._partitions : (k + 1) * self._partitions] for k, mark in enumerate(last)}
        waiting = [self._waiting(k, ids[group_flow(self._submissions[k].entry.place)]) for k in sweeps]
        self._take(sweeps, await self._try([], waiting, []) if waiting else [])
        self._before = [k for k in sweeps if self.receipts[k].stream_id]
        return _are_stored([self.receipts[k] for k in sweeps])

    async def _try(
        self, first: Sequence[Mark], entries: Sequence[Submission], last: Sequence[Mark]
    ) -> Sequence[Receipt]:
        if not (first or entries or last):
            return []
        try:
            receipts = await self._store(first, entries, last)
        except QueueError as error:
            if not self._begun:
                raise
            receipt = _UNKNOWN if isinstance(error, QueueSilentError) else _NOT_STORED
            receipts = [receipt] * (len(entries) + (len(first) + len(last)) * self._partitions)
        self._begun = True
        return receipts

    def _take(self, positions: Sequence[int], receipts: Sequence[Receipt]) -> None:
        for position, receipt in zip(positions, receipts, strict=False):
            self.receipts[position] = receipt

    def _marks_before(self, sweeps: Sequence[int]) -> list[Mark]:
        hubs: dict[str, dict[str, None]] = {}
        for position in sweeps:
            entry = self._submissions[position].entry
            hubs.setdefault(entry.place, {})[swept_by(entry.item) or ""] = None
        return [Mark(group_flow(hub), marker_before(members)) for hub, members in hubs.items()]

    def _marks_behind(self) -> list[Mark]:
        hubs: dict[str, list[Sweep]] = {}
        for position in self._before:
            entry, receipt = self._submissions[position].entry, self.receipts[position]
            sweep = Sweep(swept_by(entry.item) or "", receipt.partition, receipt.stream_id)
            hubs.setdefault(entry.place, []).append(sweep)
        return [Mark(group_flow(hub), marker_behind(sweeps)) for hub, sweeps in hubs.items()]

    def _waiting(self, position: int, marks: Sequence[Receipt]) -> Submission:
        submission = self._submissions[position]
        entry = msgspec.structs.replace(submission.entry, after=tuple([mark.stream_id for mark in marks]))
        return msgspec.structs.replace(submission, entry=entry)


def _are_stored(receipts: Sequence[Receipt]) -> bool:
    return not any(receipt.admission in _FAILED for receipt in receipts)
