"""The producers of a soak: each sends numbered items at a steady rate and repeats a batch until it is taken.

Rule guarded: a producer sends one batch at a time and goes on only after its 202, so the order it sends in is the order
it may expect; a repeat carries the same Idempotency-Key and the same bytes. Each producer has one hub and few lanes, so
that what a worker keeps for each name (tokens, request lines) is full early and memory can be judged. What is sent is
cut into stretches, each judged by itself.
"""

import asyncio
import random
from dataclasses import dataclass, field
from itertools import count
from time import monotonic

from tests.flow.traffic import Item, batches, membership, message, sent_of
from tests.soak.judge import Stretch
from tests.soak.plant import LASTING, MORTAL, Plant

_ACCEPTED = 202
_BATCH = 10
_GIVE_UP = 120.0
_STRETCH = 20.0  # seconds
_LANES = 20  # of each kind
_AGAIN = 0.2


class NotTakenError(Exception):
    """A batch was refused, or was not accepted for too long."""


@dataclass(slots=True)
class Load:
    """All producers together, with the stretches that are not judged yet, by hub in lower case and number.

    `taken` counts accepted items, `repeats` requests that had to be sent again.
    """

    plant: Plant
    rate: float
    producers: int
    seed: int
    open: dict[tuple[str, int], Stretch] = field(default_factory=dict)
    taken: int = 0
    repeats: int = 0

    @property
    def size(self) -> int:
        """How many items a stretch has."""
        return int(_STRETCH * self.rate / self.producers)

    def stretch_of(self, hub: str, mark: str) -> Stretch | None:
        """Find where a mark belongs, None when it was judged already or never sent."""
        return self.open.get((hub, int(mark.split("-")[1]) // self.size))

    async def run(self, until: float) -> None:
        """Send until the monotonic clock shows `until`."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.producers):
                group.create_task(self._produce(f"Soak{number}", random.Random(self.seed + number), until))

    async def _produce(self, hub: str, dice: random.Random, until: float) -> None:
        pause = _BATCH * self.producers / self.rate
        due = monotonic()
        for number in count():
            items = [_item(hub, number * self.size + n, dice) for n in range(self.size)]
            stretch = self.open[hub.lower(), number] = Stretch(sent_of(items))
            for index, body in enumerate(batches(items, _BATCH)):
                if monotonic() >= until:
                    stretch.sent = stretch.sent[: index * _BATCH]
                    stretch.closed = True
                    return
                await self._send(hub, body, f"{hub}-{number}-{index}", (MORTAL, LASTING)[index % 2])
                self.taken += min(_BATCH, len(items) - index * _BATCH)
                due += pause
                await asyncio.sleep(max(0.0, due - monotonic()))
            stretch.closed = True

    async def _send(self, hub: str, body: bytes, key: str, which: str) -> None:
        deadline = monotonic() + _GIVE_UP
        while (status := await self.plant.post(which, hub, body, key)) != _ACCEPTED:
            if status not in {0, 503}:
                raise NotTakenError(f"{hub}: {status} for {key}")
            if monotonic() > deadline:
                raise NotTakenError(f"{hub}: {key} was not taken within {_GIVE_UP:g} s")
            self.repeats += 1
            which = LASTING if which == MORTAL else MORTAL
            await asyncio.sleep(_AGAIN)


def _item(hub: str, number: int, dice: random.Random) -> Item:
    lane = dice.randrange(_LANES)
    kind = dice.choices(("users", "groups", "connections", "", "member"), (40, 30, 20, 8, 2))[0]
    if kind == "member":  # each names another member, so each is a path of its own
        return membership(hub, number, f"group {lane}", add=dice.random() < 0.5)
    return message(hub, number, kind, f"{kind} {lane}/ü" if kind == "users" else f"{kind}-{lane}" if kind else "")
