"""What goes wrong during a soak, one trouble after the other, chosen by a seeded dice.

Rule guarded: each trouble heals by itself, leaves an event with its times behind, and says how many calls it may have
repeated; a repeat that no event explains is a fault of ours. What is killed is only ever the mortal one of its kind.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from tests.faults.proxy import Side
from tests.soak.plant import CONCURRENCY, LASTING, MORTAL, Plant

_BOTH: Final = 2 * CONCURRENCY
_ALL: Final = 6 * CONCURRENCY  # the far side freezes: each call may time out and be repeated, at most three times


@dataclass(frozen=True, slots=True)
class Event:
    """One trouble: seconds of the monotonic clock, and how many repeated calls it explains."""

    name: str
    began: float
    ended: float
    repeats: int


Trouble = Callable[[Plant, random.Random], Awaitable[None]]


async def worker_killed(plant: Plant, dice: random.Random) -> None:
    await plant.children[f"worker {MORTAL}"].kill()
    await asyncio.sleep(dice.uniform(0, 4))
    await plant.start("worker", MORTAL)


async def ingress_killed(plant: Plant, dice: random.Random) -> None:
    await plant.children[f"ingress {MORTAL}"].kill()
    await asyncio.sleep(dice.uniform(0, 2))
    await plant.start("ingress", MORTAL)


async def both_killed(plant: Plant, dice: random.Random) -> None:
    await plant.children[f"worker {MORTAL}"].kill()
    await plant.children[f"ingress {MORTAL}"].kill()
    await asyncio.sleep(dice.uniform(0, 3))
    async with asyncio.TaskGroup() as group:
        group.create_task(plant.start("worker", MORTAL))
        group.create_task(plant.start("ingress", MORTAL))


async def worker_frozen(plant: Plant, dice: random.Random) -> None:
    await _frozen(plant, f"worker {dice.choice((MORTAL, LASTING))}", dice.uniform(1, 8))


async def ingress_frozen(plant: Plant, dice: random.Random) -> None:
    await _frozen(plant, f"ingress {dice.choice((MORTAL, LASTING))}", dice.uniform(1, 6))


async def redis_killed(plant: Plant, dice: random.Random) -> None:
    await plant.redis.kill()
    await asyncio.sleep(dice.uniform(0, 4))
    await plant.redis.start()


async def connections_cut(plant: Plant, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 10)):
        plant.proxy.cut_all()
        await asyncio.sleep(dice.uniform(0, 0.5))


async def cut_in_the_middle(plant: Plant, dice: random.Random) -> None:
    plant.proxy.cut_each(dice.randint(5, 50), dice.choice((Side.REQUEST, Side.RESPONSE)))
    await _healed(plant, dice.uniform(1, 6))


async def connections_held(plant: Plant, dice: random.Random) -> None:
    plant.proxy.hold()
    await _healed(plant, dice.uniform(0.5, 6))


async def connections_swallowed(plant: Plant, dice: random.Random) -> None:
    plant.proxy.swallow()
    await _healed(plant, dice.uniform(1, 8))


async def redis_out_of_reach(plant: Plant, dice: random.Random) -> None:
    plant.proxy.refuse()
    await _healed(plant, dice.uniform(0.5, 6))


async def throttled(plant: Plant, dice: random.Random) -> None:
    await plant.control("PUT", "quota", {"perSecond": dice.randint(5, 50), "retryAfter": dice.choice([None, 1, 2])})
    await asyncio.sleep(dice.uniform(2, 8))
    await plant.control("PUT", "quota", {"perSecond": 0, "retryAfter": None})


async def far_side_down(plant: Plant, dice: random.Random) -> None:
    await _faulty(plant, dice.uniform(2, 10), {"kind": "resetBeforeBody"})


async def far_side_broken(plant: Plant, dice: random.Random) -> None:
    """A part of the calls is refused, done and then refused, cut before and after, or slow."""
    seed = dice.randrange(2**31)
    kinds = [
        {"kind": "latency", "seconds": 0.2, "probability": 0.1, "seed": seed},
        {"kind": "status", "status": 503, "probability": 0.1, "seed": seed + 1},
        {"kind": "statusAfterDelivery", "status": 500, "probability": 0.05, "seed": seed + 2},
        {"kind": "resetAfterBody", "deliver": True, "probability": 0.05, "seed": seed + 3},
        {"kind": "resetBeforeBody", "probability": 0.05, "seed": seed + 4},
    ]
    await _faulty(plant, dice.uniform(3, 10), *kinds)


async def far_side_frozen(plant: Plant, dice: random.Random) -> None:
    plant.emulator.freeze()
    try:
        await asyncio.sleep(dice.uniform(1, 6))
    finally:
        plant.emulator.thaw()


# By name: the trouble, and how many repeats it explains beside those whose answer was lost or a 5xx.
TROUBLES: Mapping[str, tuple[Trouble, int]] = {
    "worker killed": (worker_killed, CONCURRENCY),
    "ingress killed": (ingress_killed, 0),
    "both killed": (both_killed, CONCURRENCY),
    "worker frozen": (worker_frozen, CONCURRENCY),
    "ingress frozen": (ingress_frozen, 0),
    "Redis killed": (redis_killed, _BOTH),
    "connections cut": (connections_cut, _BOTH),
    "cut in the middle": (cut_in_the_middle, _BOTH),
    "connections held": (connections_held, _BOTH),
    "connections swallowed": (connections_swallowed, _BOTH),
    "Redis out of reach": (redis_out_of_reach, _BOTH),
    "throttled": (throttled, 0),
    "far side down": (far_side_down, 0),
    "far side broken": (far_side_broken, 0),
    "far side frozen": (far_side_frozen, _ALL),
}


class Troublemaker:
    """Makes trouble until stopped; `now` is the current trouble, `events` those that are over."""

    def __init__(self, plant: Plant, dice: random.Random) -> None:
        self._plant = plant
        self._dice = dice
        self.now = ""
        self.events: list[Event] = []

    async def run(self, until: float) -> None:
        """Make one trouble after the other until the monotonic clock shows `until`; each kind comes in each round."""
        names: list[str] = []
        while monotonic() < until:
            if not names:
                names = self._dice.sample(sorted(TROUBLES), len(TROUBLES))
            await self._make(names.pop())
            await asyncio.sleep(self._dice.uniform(1, 5))

    async def _make(self, name: str) -> None:
        trouble, repeats = TROUBLES[name]
        began = monotonic()
        self.now = name
        await trouble(self._plant, self._dice)
        self.now = ""
        self.events.append(Event(name, began, monotonic(), repeats))


async def _frozen(plant: Plant, name: str, seconds: float) -> None:
    child = plant.children[name]
    child.freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        child.thaw()


async def _healed(plant: Plant, seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        plant.proxy.heal()
        plant.proxy.requests.clear()


async def _faulty(plant: Plant, seconds: float, *rules: Mapping[str, object]) -> None:
    await plant.control("PUT", "faults", list(rules))
    await asyncio.sleep(seconds)
    await plant.control("PUT", "faults", [])
