"""Follows a soak: reads the emulator's journal as it grows, judges stretches that are done with, samples memory.

Rule guarded: a call is taken from the journal only when it has been answered or cut, because before that the journal
does not know yet whether it took effect.
"""

import asyncio
from time import monotonic

from tests.flow.oracle import Call
from tests.soak.judge import Stretch, Verdict
from tests.soak.load import Load
from tests.soak.plant import Plant
from tests.soak.troubles import Troublemaker

_LOOK_EVERY = 0.5
_SAMPLE_EVERY = 2.0
_LINGER = 30.0  # seconds in which a repeat of something delivered is waited for
_STUCK = 30.0
MIB = 2**20


class Watch:
    """What is known of a run. `samples` are (seconds, bytes) by process; `foreign` are calls to hubs of no producer."""

    def __init__(self, plant: Plant, load: Load, trouble: Troublemaker) -> None:
        self.verdict = Verdict()
        self.samples: dict[str, list[tuple[float, int]]] = {}
        self.backlogs: list[int] = []
        self.arrived = 0
        self._plant = plant
        self._load = load
        self._trouble = trouble
        self._last = 0
        self._seen = 0
        self._started = monotonic()

    async def follow(self) -> None:
        """Read, judge and sample until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_on())
            group.create_task(self._sample_on())

    def judge(self, *, linger: float = _LINGER) -> None:
        """Judge the stretches that have been whole for `linger` seconds, and forget them."""
        for name, stretch in list(self._load.open.items()):
            if stretch.whole and stretch.whole_since is None:
                stretch.whole_since = monotonic()
            if stretch.whole_since is not None and monotonic() - stretch.whole_since >= linger:
                self._finish(name, stretch)

    def judge_all(self) -> None:
        """Judge what is left, whole or not."""
        for name, stretch in list(self._load.open.items()):
            self._finish(name, stretch)

    def line(self, seconds: float) -> str:
        """Return one line of progress; rates are since the line before."""
        taken, arrived = self._load.taken, self.arrived
        rates = f"in {taken / max(seconds, 1):.0f}/s"
        out, self._seen = arrived - self._seen, arrived
        backlog = self.backlogs[-1] if self.backlogs else 0
        sizes = "  ".join(f"{name} {samples[-1][1] / MIB:.0f}" for name, samples in sorted(self.samples.items()))
        faults = f"troubles {len(self._trouble.events)}"
        now = self._trouble.now or "quiet"
        return f"{seconds:5.0f} s  {rates}  calls +{out}  waiting {backlog}  {faults} ({now})  MiB: {sizes}"

    def _finish(self, name: tuple[str, int], stretch: Stretch) -> None:
        self.verdict.add(f"{name[0]} {name[1]}", stretch, self._trouble.events)
        del self._load.open[name]

    async def _read_on(self) -> None:
        while True:
            calls, _ = await self._plant.calls_since(self._last)
            for name, call in calls:
                if call.answered is None and monotonic() - call.arrived < _STUCK:
                    break
                self._take(name, call)
            else:
                if calls:
                    continue
            self.judge()
            await asyncio.sleep(_LOOK_EVERY)

    def _take(self, name: str, call: Call) -> None:
        self._last = call.sequence
        self.arrived += 1
        stretch = self._load.stretch_of(name, call.mark) if call.mark is not None else None
        if stretch is not None:
            stretch.take(call)
        elif call.delivered and call.method != "HEAD":  # a process asks the service at its start and changes nothing
            self.verdict.wrong.append(
                f"{name}: {call.mark} belongs to no producer, or came {_LINGER:g} s after all had been there"
            )

    async def _sample_on(self) -> None:
        while True:
            now = monotonic() - self._started
            sizes = self._plant.memory()
            used = await self._plant.redis_memory()
            if used is not None:
                sizes["redis data"] = used
            for name, size in sizes.items():
                self.samples.setdefault(name, []).append((now, size))
            backlog = await self._plant.backlog()
            if backlog is not None:
                self.backlogs.append(backlog)
            await asyncio.sleep(_SAMPLE_EVERY)
