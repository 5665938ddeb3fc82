"""Instruments parts of a worker: they report what the worker knows, and change nothing.

Rule guarded: what a worker may do depends on what it knows (its leases, a pause it was asked for, a breaker that is
open), and only the worker itself can report since when it knows.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

from fanout.metrics import CLASSES
from fanout.queue.entry import Entry, PartitionAppend, Submission
from fanout.queue.entry import encode as older_encode
from fanout.queue.keys import KEYS, hub_of
from fanout.queue.leases import Lease, LeaseKey, Leases, Renewal
from fanout.queue.pace_channel import OnNotice, PaceChannel, PaceNotice
from fanout.queue.stream import Stream
from fanout.signalr.message import RouteClass
from service import compose as assembly
from tests.newer_format import NEWER, decode, encode
from tests.simulation.coverage import SWEEP
from tests.simulation.delivery_observer import phase_of
from tests.simulation.loop import SimulatedClock
from tests.simulation.observer import Observer
from workers.breaker import Candidate, Phase
from workers.gate import Gate
from workers.lane import Lane
from workers.partition import OwnedPartition
from workers.pruner import Pruner
from workers.sweeps import Sweeps

_IDLE = 0.0  # seconds
_INTERVAL = 0.03
_LATE = 0.15  # until the owner hears what was pruned: long enough for an append and a read of it in between


def instrumented(observer: Observer, clock: SimulatedClock, name: str, *, newer: bool, prunes: bool) -> dict[str, Any]:
    """Return the instrumented parts of one worker, made of those that service.compose would use.

    One that `prunes` does so at once, and as often as is needed to meet appends to the same streams.
    """
    leases: Any = _leases(vars(assembly)["Leases"], observer, clock)
    of_version: dict[str, Any] = {"Leases": leases}
    if newer:
        reader = vars(assembly)["Reader"]
        of_version["Reader"] = type("NewerReader", (reader,), {"_decode": staticmethod(decode)})
        of_version["Leases"] = partial(leases, reads=NEWER)
    pruner: Any = _pruner(vars(assembly)["Pruner"], observer)
    if prunes:
        of_version["Pruner"] = lambda stream, clock: pruner(
            _LateAnswers(stream, clock), clock, idle=_IDLE, interval=_INTERVAL
        )
    return {
        **of_version,
        "PaceChannel": _pace_channel(vars(assembly)["PaceChannel"], observer, name),
        "Gate": _gate(vars(assembly)["Gate"], observer, name),
        "Sweeps": _sweeps(vars(assembly)["Sweeps"], observer),
    }


def writing_both(stream: Stream, chance: Random, newer: float) -> Stream:
    """Have a producer's queue write a part of all entries in the newer format, each always in the same one."""
    formats: dict[str, bool] = {}

    def encode_either(entry: Entry) -> bytes:
        return (encode if formats.setdefault(entry.message_id, chance.random() < newer) else older_encode)(entry)

    def place(
        submissions: Sequence[Submission], shares: dict[int, PartitionAppend] | None = None
    ) -> tuple[Collection[PartitionAppend], bool]:
        with patch("fanout.queue.stream.encode", encode_either):
            return Stream._place(stream, submissions, shares)

    stream._place = place  # type: ignore[method-assign] # of this one producer
    return stream


class _LateAnswers:
    """A stream whose owner hears late of what was pruned, so that what comes meanwhile meets it in every run."""

    def __init__(self, stream: Stream, clock: SimulatedClock) -> None:
        self._stream = stream
        self._clock = clock

    async def prune(self, *args: Any) -> Any:
        pruned = await self._stream.prune(*args)
        await self._clock.sleep(_LATE)
        return pruned


def _pruner(base: type[Pruner], observer: Observer) -> type[Pruner]:
    class Instrumented(base):  # type: ignore[misc, valid-type] # which class it is is known at run time
        """Counts what is pruned, and what got something before its owner knew."""

        def _forget(self, owned: OwnedPartition, pruned: Mapping[str, bytes]) -> None:
            super()._forget(owned, pruned)
            assert observer.store is not None
            for name in pruned:
                observer.count("flows pruned")
                if KEYS.stream(owned.number, name).encode() in observer.store.streams:
                    observer.count("flows pruned and used before their owner knew")
                if name in owned.flows:
                    observer.count("flows pruned and read before their owner knew")

    return Instrumented


def _leases(base: type[Leases], observer: Observer, clock: SimulatedClock) -> type[Leases]:
    class Instrumented(base):  # type: ignore[misc, valid-type] # which class it is is known at run time
        """Reports until when a worker relies on its leases, and on what is left of them."""

        def _note(self, *leases: Lease | None) -> None:
            for lease in filter(None, leases):
                observer.believed(self.worker, lease, lease.expires - clock.boot)

        async def hand_over(self, lease: Lease, lanes: Collection[str]) -> Lease | None:
            rest: Lease | None = await super().hand_over(lease, lanes)
            self._note(rest)
            return rest

        async def free(self, rest: Lease, lanes: Collection[str]) -> None:
            observer.freed(rest, lanes)
            await super().free(rest, lanes)

        async def acquire(self, partitions: Sequence[int]) -> list[Lease]:
            leases: list[Lease] = await super().acquire(partitions)
            self._note(*leases)
            return leases

        async def renew(
            self, leases: Sequence[Lease], flows: Mapping[int, Sequence[str]] | None = None
        ) -> Mapping[LeaseKey, Renewal | None]:
            renewals: Mapping[LeaseKey, Renewal | None] = await super().renew(leases, flows)
            self._note(*(None if renewal is None else renewal.lease for renewal in renewals.values()))
            return renewals

    return Instrumented


def _pace_channel(base: type[PaceChannel], observer: Observer, name: str) -> type[PaceChannel]:
    class Instrumented(base):  # type: ignore[misc, valid-type] # which class it is is known at run time
        """Reports the pauses a worker learns of from others."""

        async def run_receiving(self, on_notice: OnNotice) -> None:
            def noted(notice: PaceNotice) -> None:
                observer.learned_of_pause(name, CLASSES[notice.route_class], notice.pause, asked=notice.asked)
                on_notice(notice)

            await super().run_receiving(noted)

    return Instrumented


def _gate(base: type[Gate], observer: Observer, name: str) -> type[Gate]:
    class Instrumented(base):  # type: ignore[misc, valid-type] # which class it is is known at run time
        """Reports its breakers, and counts how they and the window change."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            observer.gate_made(name, self)

        def began(self, route_class: RouteClass, lane: Candidate, now: float) -> None:
            phase = phase_of(self, route_class, lane.hub)
            super().began(route_class, lane, now)
            observer.passed((name, CLASSES[route_class], lane.hub), lane.key, phase)

        def ended(self, route_class: RouteClass, lane: str, *args: Any, **kwargs: Any) -> Any:
            hub = hub_of(lane)
            road = name, CLASSES[route_class], hub
            before, limit = phase_of(self, route_class, hub), self.window.limit
            slowdown = super().ended(route_class, lane, *args, **kwargs)
            after = phase_of(self, route_class, hub)
            was_probe = observer.ended_probe(road, lane)
            if before is not after:
                observer.count(f"{_TURNS[after]} ({CLASSES[route_class]})")
                observer.note(name, _TURNS[after], CLASSES[route_class])
            elif was_probe and after is Phase.OPEN:
                observer.count(f"probe failed ({CLASSES[route_class]})")
            if after is Phase.OPEN and before is Phase.CLOSED:
                observer.opened(road)
            if self.window.limit < limit:
                observer.count("window shrunk")
            return slowdown

    return Instrumented


def _sweeps(base: type[Sweeps], observer: Observer) -> type[Sweeps]:
    class Instrumented(base):  # type: ignore[misc, valid-type] # which class it is is known at run time
        """Counts what is held back."""

        def may_go(self, lane: Lane, now: float) -> bool:
            is_sweep = bool(lane.head.entry.after)
            may_go: bool = super().may_go(lane, now)
            if not may_go:
                observer.count(SWEEP)
                observer.count("sweeps held back" if is_sweep else "entries held back for a sweep")
            return may_go

    return Instrumented


_TURNS = {Phase.OPEN: "breaker opened", Phase.CLOSED: "breaker closed"}
