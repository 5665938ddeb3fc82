"""Bugs planted into what hands a partition over lane by lane; `planted` says what a planted bug is."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from fanout.queue.leases import Lease, Leases
from fanout.queue.stream import Stream
from tests.simulation.planted import Planted
from workers.lane import Lane
from workers.ownership import Ownership
from workers.partition import OwnedPartition
from workers.reader import Reader
from workers.schedule import Schedule


class TacitLeases(Leases):
    """Hands a partition over without a word of the lanes with calls in flight."""

    async def hand_over(self, lease: Lease, lanes: Collection[str]) -> Lease | None:
        del lanes
        return await super().hand_over(lease, ())


class HastyOwnership(Ownership):
    """Gives up all lanes of the rest of a lease at once."""

    async def _free_lanes(self, owned: OwnedPartition, lanes: set[str], ended: asyncio.Event) -> None:
        await self._leases.free(owned.lease, lanes)
        await super()._free_lanes(owned, lanes, ended)


class SelfishSchedule(Schedule):
    """Knows what went aside by a name that nobody else knows it by."""

    def step_aside(self, lane: Lane, key: str) -> None:
        super().step_aside(lane, key)
        for (_flow, other), aside in self._lanes.items():
            if other == key:
                aside.home = key


async def nothing_left(_stream: Stream, _partition: int) -> list[str]:
    """Know of no lane in which a former owner has a call in flight."""
    return []


async def never_freed(_reader: Reader, _owned: OwnedPartition) -> None:
    """Wait for the lanes of a former owner for ever."""


def _planted(target: str, what: type[Any] | Callable[..., Any], *words: str) -> Planted:
    return Planted({target: what}, words, "handover")


_TWICE = ("of the same lane was with", "was delivered before", "sent again by")
PLANTED_IN_HANDOVER: Mapping[str, Planted] = {
    "a lane its former owner has a call in": _planted("fanout.queue.stream.Stream.left", nothing_left, *_TWICE),
    "a hand-over without a word": _planted("Leases", TacitLeases, "in flight untold"),
    "lanes given up over calls in flight": _planted("Ownership", HastyOwnership, *_TWICE),
    "a freed lane that nobody goes on with": _planted("workers.reader.Reader._find_freed", never_freed, "not done"),
    "a lane aside that is told by its own name": _planted("Schedule", SelfishSchedule, "did SETTLE on", *_TWICE),
}
