"""Sends dead letters again, or deletes them, a bounded share of them in one request.

Rules guarded: what was done is told, also when the store refuses in the middle of it; a request that has done nothing
and cannot is refused. Letters go in the order in which their entries were accepted, not parked: a worker parks those
of one lane side by side. Repeating is harmless: a letter that was sent again is gone.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.queue.dead_letters import DeadLetters
from service.admin.dead_letters.command import Order
from service.admin.dead_letters.reference import Bookmark, Place, accepted_at
from service.admin.dead_letters.scan import Gathering, Walk

Action = Literal["replayed", "purged"]
WITHIN = 2.0  # seconds of looking, in one request
AT_ONCE = 500  # letters in one round trip
_READ_AT_ONCE = 16  # letters may be a megabyte each


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an order: how many letters fit, how many of them were acted on, and where to go on, if anywhere.

    `before` is the unix millisecond before which all looked at were parked, None for ids.
    """

    matched: int = 0
    done: int = 0
    more: bool = False
    bookmark: Bookmark | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one share: how many were there, how many were acted on, and what stopped it."""

    matched: int
    done: int
    error: QueueError | None = None


Act = Callable[[Sequence[Place]], Awaitable[Step]]


class Work:
    """Does orders on the dead letters of so many partitions."""

    def __init__(self, letters: DeadLetters, partitions: int, clock: Clock) -> None:
        self._letters = letters
        self._partitions = partitions
        self._clock = clock

    async def do(self, order: Order, action: Action) -> Report:
        """Do an order, or a part of it; QueueError when the store did nothing of it."""
        act = self._look if order.dry else self._replay if action == "replayed" else self._purge
        return await (self._selected(order, act) if order.ids is None else self._named(order, act))

    async def _named(self, order: Order, act: Act) -> Report:
        report = Report()
        ids = (order.ids or ())[: order.limit]
        if act == self._replay and len(ids) > 1:
            ids = await self._in_turn(ids)
        for start in range(0, len(ids), AT_ONCE):
            step = await _tried(partial(act, ids[start : start + AT_ONCE]), report)
            report = Report(report.matched + step.matched, report.done + step.done, more=step.error is not None)
            if step.error:
                return report
        return Report(report.matched, report.done, more=len(order.ids or ()) > order.limit)

    async def _selected(self, order: Order, act: Act) -> Report:
        walk = Walk(self._letters, self._partitions, order.start)
        gathering = Gathering(walk, order.selection, self._clock, self._clock.monotonic() + WITHIN)
        report, more = Report(), True
        while report.matched < order.limit and more:
            after = walk.bookmark.after
            share = _Share(gathering, min(AT_ONCE, order.limit - report.matched), _counted if order.dry else act)
            step = await _tried(share.take, report)
            report = Report(report.matched + step.matched, report.done + step.done)
            if step.error:
                again = Bookmark(after, walk.before)  # this share once more: what was done of it is gone
                return Report(report.matched, report.done, more=True, bookmark=again, before=walk.before)
            more = share.full
        more = await _goes_on(walk)
        return Report(report.matched, report.done, more, walk.bookmark if more else None, walk.before)

    async def _look(self, places: Sequence[Place]) -> Step:
        return Step(len(await self._in_turn(places)), 0)

    async def _in_turn(self, places: Sequence[Place]) -> tuple[Place, ...]:
        found: list[tuple[Place, Place]] = []
        for start in range(0, len(places), _READ_AT_ONCE):
            share = places[start : start + _READ_AT_ONCE]
            letters = await self._letters.find([place.chosen for place in share])
            found += [
                (accepted_at(place, letter), place) for place, letter in zip(share, letters, strict=True) if letter
            ]
        return tuple(place for _turn, place in sorted(found))

    async def _replay(self, places: Sequence[Place]) -> Step:
        outcomes = await self._letters.replay([place.chosen for place in places])
        errors = [outcome for outcome in outcomes if isinstance(outcome, QueueError)]
        sent = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
        return Step(len(sent) + len(errors), sum(bool(entry_id) for entry_id in sent), errors[0] if errors else None)

    async def _purge(self, places: Sequence[Place]) -> Step:
        deleted = 0
        for partition, share in groupby(sorted(places, key=_partition), key=_partition):
            try:
                deleted += await self._letters.forget(partition, [place.stream_id for place in share])
            except QueueError as error:
                return Step(deleted, deleted, error)
        return Step(deleted, deleted)


class _Share:
    """So many letters, gathered and acted on; `full` tells whether there may be more."""

    def __init__(self, gathering: Gathering, most: int, act: Act) -> None:
        self._gathering = gathering
        self._most = most
        self._act = act
        self.full = False

    async def take(self) -> Step:
        places: list[tuple[Place, Place]] = []
        while len(places) < self._most and (found := await self._gathering.next()) is not None:
            places.append((accepted_at(*found), found[0]))
        self.full = len(places) == self._most
        return await self._act([place for _turn, place in sorted(places)]) if places else Step(0, 0)


async def _goes_on(walk: Walk) -> bool:
    try:
        return not await walk.over()
    except QueueError:
        return True  # what was done is to be told; who goes on will hear of the error


async def _counted(places: Sequence[Place]) -> Step:
    return Step(len(places), 0)  # they were seen a moment ago


async def _tried(act: Callable[[], Awaitable[Step]], so_far: Report) -> Step:
    try:
        step = await act()
    except QueueError as error:
        step = Step(0, 0, error)
    if step.error and not so_far.done + step.done:
        raise step.error
    return step


def _partition(place: Place) -> int:
    return place.partition
