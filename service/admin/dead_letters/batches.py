"""Replays or deletes dead letters, a bounded number in each request.

Rules guarded: the report says what was done even when the store fails in the middle; a request that could do nothing at
all is refused. Letters are replayed in the order in which their entries were accepted, which may differ from the order
in which they were parked. Repeating a request is harmless, because a letter that was replayed is gone. A replayed entry
counts as accepted anew.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal, NamedTuple

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetter, DeadLetters
from fanout.signalr.message import operation_of
from service.admin.dead_letters.command import Command, entry_of
from service.admin.dead_letters.reference import Cursor, LetterRef, acceptance_order
from service.admin.dead_letters.scan import FilteredScan, Scan

Action = Literal["replayed", "purged"]
SCAN_TIME = 2.0  # seconds that one request may scan
BATCH_SIZE = 500  # letters in one round trip
_READ_SIZE = 16  # a letter may be a megabyte


@dataclass(frozen=True, slots=True)
class Report:
    """How many letters matched, how many of them were acted on, and where to continue if there are more.

    `before` is the unix millisecond before which all scanned letters were parked; None when ids were given.
    """

    matched: int = 0
    done: int = 0
    more: bool = False
    cursor: Cursor | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How many letters of one batch existed, how many were acted on, and the error that ended it early."""

    matched: int
    done: int
    error: QueueError | None = None


class Selected(NamedTuple):
    """A letter to act on. They sort by when their entries were accepted.

    `operation` and `hub` are "" where they are not known.
    """

    accepted: LetterRef
    ref: LetterRef
    operation: str = ""
    hub: str = ""


Act = Callable[[Sequence[Selected]], Awaitable[BatchResult]]


class CommandRunner:
    """Runs commands on the dead letters of all partitions, and counts what is accepted anew by operation."""

    def __init__(self, letters: DeadLetters, partitions: int, clock: Clock, metrics: Metrics) -> None:
        self._letters = letters
        self._partitions = partitions
        self._clock = clock
        self._metrics = metrics

    async def run(self, command: Command, action: Action) -> Report:
        """Run a command, or a part of it; QueueError when the store did nothing of it."""
        act = self._count if command.dry else self._replay if action == "replayed" else self._purge
        return await (self._run_selected(command, act) if command.ids is None else self._run_named(command, act))

    async def _run_named(self, command: Command, act: Act) -> Report:
        report = Report()
        selected: Sequence[Selected] = [Selected(ref, ref) for ref in (command.ids or ())[: command.limit]]
        if act == self._replay:
            selected = await self._existing(selected)
        for start in range(0, len(selected), BATCH_SIZE):
            result = await _attempt(partial(act, selected[start : start + BATCH_SIZE]), report)
            report = Report(report.matched + result.matched, report.done + result.done, more=result.error is not None)
            if result.error:
                return report
        return Report(report.matched, report.done, more=len(command.ids or ()) > command.limit)

    async def _run_selected(self, command: Command, act: Act) -> Report:
        scan = Scan(self._letters, self._partitions, command.start)
        matches = FilteredScan(scan, command.selection, self._clock, self._clock.monotonic() + SCAN_TIME)
        report, more = Report(), True
        while report.matched < command.limit and more:
            after = scan.cursor.after
            batch = _Batch(matches, min(BATCH_SIZE, command.limit - report.matched), _seen if command.dry else act)
            result = await _attempt(batch.run, report)
            report = Report(report.matched + result.matched, report.done + result.done)
            if result.error:
                retry_from = Cursor(after, scan.before)  # this batch again: the letters it acted on are gone
                return Report(report.matched, report.done, more=True, cursor=retry_from, before=scan.before)
            more = batch.full
        more = await _has_more(scan)
        return Report(report.matched, report.done, more, scan.cursor if more else None, scan.before)

    async def _count(self, selected: Sequence[Selected]) -> BatchResult:
        return BatchResult(len(await self._existing(selected)), 0)

    async def _existing(self, selected: Sequence[Selected]) -> list[Selected]:
        # Those that exist, in the order in which their entries were accepted.
        found: list[Selected] = []
        for start in range(0, len(selected), _READ_SIZE):
            refs = [each.ref for each in selected[start : start + _READ_SIZE]]
            letters = await self._letters.find([ref.key for ref in refs])
            found += [_selected(ref, letter) for ref, letter in zip(refs, letters, strict=True) if letter]
        return sorted(found)

    async def _replay(self, selected: Sequence[Selected]) -> BatchResult:
        outcomes = await self._letters.replay([each.ref.key for each in selected])
        errors = [outcome for outcome in outcomes if isinstance(outcome, QueueError)]
        found = sum(isinstance(outcome, bytes) for outcome in outcomes)
        replayed = [
            each for each, outcome in zip(selected, outcomes, strict=True) if outcome and isinstance(outcome, bytes)
        ]
        self._count_accepted(replayed)
        return BatchResult(found + len(errors), len(replayed), errors[0] if errors else None)

    def _count_accepted(self, replayed: Sequence[Selected]) -> None:
        accepted, by_hub = self._metrics.accepted, self._metrics.by_hub
        for each in replayed:
            if each.operation in accepted:
                accepted[each.operation].inc()
                if by_hub.is_enabled:
                    by_hub.accepted(each.hub, 1)

    async def _purge(self, selected: Sequence[Selected]) -> BatchResult:
        deleted = 0
        for partition, group in groupby(sorted(selected, key=_partition), key=_partition):
            try:
                deleted += await self._letters.delete(partition, [each.ref.stream_id for each in group])
            except QueueError as error:
                return BatchResult(deleted, deleted, error)
        return BatchResult(deleted, deleted)


class _Batch:
    """Collects at most `size` matches and acts on them; `full` tells whether more may follow."""

    def __init__(self, matches: FilteredScan, size: int, act: Act) -> None:
        self._matches = matches
        self._size = size
        self._act = act
        self.full = False

    async def run(self) -> BatchResult:
        selected: list[Selected] = []
        while len(selected) < self._size and (found := await self._matches.next()) is not None:
            selected.append(_selected(*found))
        self.full = len(selected) == self._size
        return await self._act(sorted(selected)) if selected else BatchResult(0, 0)


def _selected(ref: LetterRef, letter: DeadLetter) -> Selected:
    entry = entry_of(letter)
    order = acceptance_order(ref, letter)
    return Selected(order, ref, operation_of(entry.item), entry.hub) if entry else Selected(order, ref)


async def _has_more(scan: Scan) -> bool:
    try:
        return not await scan.at_end()
    except QueueError:
        return True  # report what was done; the next request will meet the error


async def _seen(selected: Sequence[Selected]) -> BatchResult:
    return BatchResult(len(selected), 0)  # the scan has just read them, so they exist


async def _attempt(act: Callable[[], Awaitable[BatchResult]], so_far: Report) -> BatchResult:
    try:
        result = await act()
    except QueueError as error:
        result = BatchResult(0, 0, error)
    if result.error and not so_far.done + result.done:
        raise result.error
    return result


def _partition(selected: Selected) -> int:
    return selected.ref.partition
