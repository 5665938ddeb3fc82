"""`python -m bench.fairness`: what a noisy neighbour does to quiet traffic, in a table.

Source of the demand: a backlog, a pause, a quota, a dead destination or a large list in one hub, in one class of calls
or to one kind of destination leaves the p99 of the quiet ones within twice their p99 alone, and within 250 ms; where a
rate is set, one slot of that rate more. The neighbours are in the hub `noisy`; a quiet row is beside them in that hub
or in another one. Latency is from the POST to the far side's arrival, for one message every 20 ms, the kinds of quiet
traffic in turn. Rounds are interleaved and the median over them counts, because p99 on a shared machine is mostly the
machine's.

The far side is the sink, not the emulator. Where hundreds of calls are under way, an emulator in Python takes them one
by one, and the quiet ones would wait for it, as they do not wait for the service.
"""

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

import httpx

from bench.command import parser
from bench.far_side import service
from bench.rig import Rig
from bench.sink import Sink

_PER_KIND = 150
_EVERY = 0.02
_ROUNDS = 3
_LATENCY = 5.0  # milliseconds
_RATE = 200  # calls a second, of the class `send`
_MOST_TIMES = 2.0
_MOST_SECONDS = 0.25
_USERS = 50
_READ_WITHIN = 60.0
_WARM_UP = 2.0  # seconds: connections open, and a worker that starts learns its share of a rate from the others first
_PAUSE_IS_KNOWN = 1.0  # seconds: workers look twice in each
_MARKS = 200

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, and the sink that stands for what it delivers to."""

    http: httpx.AsyncClient
    ingress: str
    sink: Sink

    async def post(self, hub: str, items: list[Item]) -> None:
        """Post items to the ingress."""
        (await self.http.post(f"{self.ingress}/v1/hubs/{hub}/messages", json=items)).raise_for_status()


@dataclass(frozen=True, slots=True)
class Quiet:
    """One kind of quiet traffic: the hub it is in, whether it is of the class `send`, and its items by a mark."""

    name: str
    hub: str
    is_send: bool
    item: Callable[[str, int], Item]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What is beside it. `rate` is set for the class `send` where it is not 0."""

    name: str
    begin: Callable[[Service], Awaitable[None]]
    rate: int = 0
    is_pause: bool = False


Found = Mapping[Quiet, Sequence[float]]


def _broadcast(mark: str, _number: int) -> Item:
    return {"target": "t", "arguments": [mark]}


def _user(mark: str, number: int) -> Item:
    return {"userId": f"q{number % _USERS}", "target": "t", "arguments": [mark]}


def _group(mark: str, number: int) -> Item:
    return {"groupName": f"g{number % _USERS}", "target": "t", "arguments": [mark]}


def _join(mark: str, number: int) -> Item:
    return {"userId": mark, "groupName": f"j{number % _USERS}", "action": "add"}


def _urgent(mark: str, number: int) -> Item:
    return _user(mark, number) | {"priority": "high"}


QUIET = (
    Quiet("broadcast of another hub", "quiet", is_send=False, item=_broadcast),
    Quiet("user of another hub", "quiet", is_send=True, item=_user),
    Quiet("group of another hub", "quiet", is_send=True, item=_group),
    Quiet("join of another hub", "quiet", is_send=False, item=_join),
    Quiet("broadcast of the same hub", "noisy", is_send=False, item=_broadcast),
    Quiet("join of the same hub", "noisy", is_send=False, item=_join),
    Quiet("urgent user of the same hub", "noisy", is_send=True, item=_urgent),
)


async def _alone(_far: Service) -> None:
    """Begin nothing."""


async def _list(far: Service) -> None:
    await far.post("noisy", [{"userIds": [f"u{n}" for n in range(10_000)], "target": "t", "arguments": ["list"]}])


async def _many_users(far: Service) -> None:
    await _fill(far, 4 * 3_000, 3_000)


async def _long_lane(far: Service) -> None:
    await _fill(far, 100_000, 1)
    await _read_past(far)


async def _dead(far: Service) -> None:
    # They are more than a worker reads ahead, and all else in that hub is well.
    await far.sink.refuse_in("/api/hubs/noisy/users/u")
    await _fill(far, 30_000, 3_000)


async def _paused(far: Service) -> None:
    pause = {"class": "send", "seconds": 600, "reason": "bench.fairness"}
    (await far.http.post(f"{far.ingress}/v1/admin/pauses/set", json=pause)).raise_for_status()
    await asyncio.sleep(_PAUSE_IS_KNOWN)
    await _fill(far, 12_000, 3_000)


NEIGHBOURS = (
    Neighbour("10,000 userIds in one POST", _list, rate=_RATE),
    Neighbour("3,000 users x 4", _many_users, rate=_RATE),
    Neighbour("100,000 in one lane", _long_lane),
    Neighbour("3,000 dead destinations", _dead),
    Neighbour("a paused class", _paused, is_pause=True),
)
_ALONE = (Neighbour("alone", _alone), Neighbour(f"alone at {_RATE}/s", _alone, rate=_RATE))


async def main(rounds: int = _ROUNDS, only: str = "") -> None:
    """Measure alone and beside each neighbour (whose name contains `only`), `rounds` times; print the medians."""
    gc.disable()  # a collection here would be 30 ms of all that is measured
    chosen = [neighbour for neighbour in NEIGHBOURS if only in neighbour.name]
    rates = {neighbour.rate for neighbour in chosen}
    references = [alone for alone in _ALONE if alone.rate in rates]
    p99: dict[tuple[str, Quiet], list[float]] = defaultdict(list)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds:<28} p50 ms    p99 ms", flush=True)
        for neighbour in (*references, *chosen):
            for quiet, latencies in (await _measured(neighbour)).items():
                p99[neighbour.name, quiet].append(_row(f"{neighbour.name}: {quiet.name}", latencies))
    _print_verdicts(
        chosen, {alone.rate: alone for alone in references}, {key: median(all_) for key, all_ in p99.items()}
    )


async def _measured(neighbour: Neighbour) -> Found:
    async with _started(neighbour) as far:
        for quiet in QUIET:
            await far.post(quiet.hub, [quiet.item("warm", 0)])
        await asyncio.sleep(_WARM_UP)
        await neighbour.begin(far)
        return await _probed(far, [quiet for quiet in QUIET if not (neighbour.is_pause and quiet.is_send)])


@asynccontextmanager
async def _started(neighbour: Neighbour) -> AsyncIterator[Service]:
    settings = {"FANOUT_SEND_RATE": str(neighbour.rate)} if neighbour.rate else {}
    async with Rig.open() as rig, httpx.AsyncClient(timeout=60) as http:
        sink = await Sink.start(rig)
        await sink.set_latency(_LATENCY)
        ingress, _workers = await service(
            rig, await rig.redis(), sink.connection_string(), workers=1, settings=settings
        )
        yield Service(http, ingress, sink)


def _print_verdicts(
    neighbours: Sequence[Neighbour], references: Mapping[int, Neighbour], p99: Mapping[tuple[str, Quiet], float]
) -> None:
    print(f"\n{'medians of p99':<59} ms   x alone")
    for neighbour in neighbours:
        for quiet in QUIET:
            found = p99.get((neighbour.name, quiet))
            if found is None:
                continue
            alone = p99[references[neighbour.rate].name, quiet]
            slot = 1 / neighbour.rate if neighbour.rate else 0.0
            holds = found <= min(_MOST_TIMES * alone, _MOST_SECONDS) + slot
            name = f"{neighbour.name}: {quiet.name}"
            print(f"{name:<55} {found * 1e3:>6.1f} {found / alone:>9.2f}  {'' if holds else 'MISSED'}")


async def _read_past(far: Service) -> None:
    # Quiet messages that were stored last, in every partition, have arrived: all before them was read.
    await far.sink.record(on=True)
    await far.post("quiet", [{"userId": f"s{n}", "target": "t", "arguments": [f"probe-{n}"]} for n in range(_MARKS)])
    begin, arrived = time.monotonic(), 0
    while arrived < _MARKS:
        if time.monotonic() - begin > _READ_WITHIN:
            raise SystemExit("the worker did not read past the long lane")
        await asyncio.sleep(0.2)
        arrived += len(await far.sink.arrivals())


async def _fill(far: Service, count: int, users: int) -> None:
    for start in range(0, count, 5000):
        numbers = range(start, min(start + 5000, count))
        await far.post("noisy", [{"userId": f"u{n % users}", "target": "t", "arguments": [n]} for n in numbers])


async def _probed(far: Service, kinds: Sequence[Quiet]) -> Found:
    """Send one message at a time, of these kinds in turn; return the latencies of each in seconds, sorted."""
    await far.sink.record(on=True)
    sent: list[float] = []
    async with asyncio.TaskGroup() as group:
        begin = time.monotonic()
        for number in range(_PER_KIND * len(kinds)):
            await asyncio.sleep(max(0.0, begin + number * _EVERY - time.monotonic()))
            quiet = kinds[number % len(kinds)]
            sent.append(time.monotonic())
            group.create_task(far.post(quiet.hub, [quiet.item(f"probe-{number}", number // len(kinds))]))
    await asyncio.sleep(3)
    arrived = await far.sink.arrivals()
    latencies: dict[Quiet, list[float]] = defaultdict(list)
    for number, at in enumerate(sent):
        latencies[kinds[number % len(kinds)]].append(arrived.get(number, inf) - at)
    return {quiet: sorted(found) for quiet, found in latencies.items()}


def _row(name: str, found: Sequence[float]) -> float:
    """Print one line and give the p99; what did not arrive in time is said."""
    p50, p99 = (found[int(len(found) * share)] for share in (0.5, 0.99))
    missing = found.count(inf)
    late = f"   {missing} not within 3 s" if missing else ""
    print(f"{name:<55} {p50 * 1e3:>6.1f} {p99 * 1e3:>9.1f}{late}", flush=True)
    return p99


if __name__ == "__main__":
    command = parser("fairness", __doc__)
    command.add_argument("rounds", nargs="?", type=int, default=_ROUNDS, help="the median of them counts (%(default)s)")
    command.add_argument("only", nargs="?", default="", help="a part of the names of the neighbours to be run")
    asked = command.parse_args()
    if not any(asked.only in each.name for each in NEIGHBOURS):
        command.error(f"no neighbour is named so; there are: {', '.join(each.name for each in NEIGHBOURS)}")
    asyncio.run(main(asked.rounds, asked.only))
