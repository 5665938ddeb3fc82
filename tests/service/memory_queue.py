"""A queue in memory that obeys the rules of the real one and can be told to fail as it does.

It exists for the failures that cannot be ordered from a real server at will: one partition full, another silent.
"""

import asyncio
from collections.abc import Sequence

from fanout.errors import QueueError
from fanout.queue.entry import Admission, Depth, Receipt, Submission
from fanout.queue.keys import lane_of
from fanout.signalr.message import Scope


class MemoryQueue:
    """`outcomes` gives the admission of a submission by its place in the next append, where it is not to be stored."""

    def __init__(self) -> None:
        self.stored: list[Submission] = []
        self.outcomes: dict[int, Admission] = {}
        self.error: QueueError | None = None
        self.silent = False
        self.waiting = (0,) * 4
        self.asked_depth = 0
        self.appends = 0
        self._seen: dict[tuple[str, str], bytes] = {}
        self._keys: dict[tuple[str, str], bytes] = {}

    async def append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        self.appends += 1
        await self._answer()
        return [Receipt(self._admit(place, submission)) for place, submission in enumerate(submissions)]

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        await self._answer()
        return self._keys.setdefault((hub, key), fingerprint) == fingerprint

    async def depth(self) -> Depth:
        self.asked_depth += 1
        await self._answer()
        return Depth(self.waiting, {Scope.USER: 1.5 if any(self.waiting) else 0.0}, dead_letters=0)

    async def memory_ratio(self) -> float | None:
        await self._answer()
        return 0.25

    async def ping(self) -> None:
        await self._answer()

    async def _answer(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    def _admit(self, place: int, submission: Submission) -> Admission:
        if place in self.outcomes:
            return self.outcomes[place]
        if submission.dedup_id is not None:
            known = (lane_of(submission.entry.hub, submission.entry.item), submission.dedup_id)
            if known in self._seen:
                same = self._seen[known] == submission.fingerprint
                return Admission.DUPLICATE if same else Admission.CONFLICT
            self._seen[known] = submission.fingerprint
        self.stored.append(submission)
        return Admission.ACCEPTED
