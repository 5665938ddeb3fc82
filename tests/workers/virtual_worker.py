"""A worker without a store, in virtual time: real schedule, gate, dispatcher and flights, and a service by script.

An hour of it takes a second, and every run of one seed is the same.
"""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import cast

from fanout.metrics import Metrics
from fanout.queue.entry import Entry
from fanout.queue.keys import flow_of, lane_of
from fanout.queue.presence import Presence
from fanout.signalr.client import Client, OnOutcome, Sender
from fanout.signalr.message import Item, recipient_of
from fanout.signalr.outcome import TAKEN, Outcome
from tests.builders import an_entry
from tests.simulation.loop import SimulatedClock, SimulatedLoop
from tests.workers.helpers import Lines, a_flow, a_partition
from workers.bodies import Bodies
from workers.dispatch import Dispatcher
from workers.endpoint import Endpoint
from workers.flight import Flights
from workers.gate import Gate, Window
from workers.partition import BufferedEntry, StoreClock
from workers.schedule import Schedule
from workers.settler import OnSettled, Settler
from workers.sweeps import Sweeps
from workers.telemetry import Telemetry
from workers.verdicts import RetryPolicy

# What the service answers to a call that comes at a moment, and after how many seconds.
Service = Callable[[float, Item], tuple[float, Outcome]]
_POLICY = RetryPolicy(base=0.2, cap=30.0, max_age=3600.0, max_attempts=200, retry_unknown=True)  # the defaults


class _Calls:
    """Makes calls in no time and has the service answer; `seen` are all calls, and `served` when each was taken."""

    def __init__(self, loop: SimulatedLoop, service: Service) -> None:
        self._loop = loop
        self._service = service
        self.seen: list[tuple[float, str]] = []
        self.served: dict[str, float] = {}
        self.bounds = None

    def start(self, entry: Entry, before_write: Callable[[], None], on_outcome: OnOutcome) -> bool:
        before_write()
        who = recipient_of(entry.item)
        delay, outcome = self._service(self._loop.time(), entry.item)
        self.seen.append((self._loop.time(), who))
        self._loop.call_later(delay, self._answer, who, outcome, on_outcome)
        return True

    def _answer(self, who: str, outcome: Outcome, on_outcome: OnOutcome) -> None:
        if outcome is TAKEN:
            self.served[who] = self._loop.time()
        on_outcome(outcome)


class _Settling:
    """Settles at once."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def settle(self, _entries: Sequence[BufferedEntry], on_settled: OnSettled) -> None:
        self._loop.call_soon(on_settled, True)


class VirtualWorker:
    """One worker with `places` in flight; `post` gives it something at a moment, and `run` lets time pass."""

    def __init__(self, service: Service, *, places: int, seed: int = 0) -> None:
        random = Random(seed)
        self._loop = SimulatedLoop(random)
        clock = SimulatedClock(self._loop)
        self._calls = _Calls(self._loop, service)
        self._owned = a_partition()
        self._number = 0
        self.gate = Gate(Window(places, first=places), {}, random.random)
        self.schedule = Schedule(held_until=self.gate.held_until)
        store_clock = StoreClock()
        store_clock.observe(0.0, 0.0, 0.0)
        metrics, settler = Metrics(), cast("Settler", _Settling(self._loop))
        self.endpoint = Endpoint(cast("Client", None), cast("Sender", self._calls), self.gate)
        self._dispatcher = Dispatcher(
            Flights(
                self.schedule, {"": self.endpoint}, settler, cast("Bodies", _NoBodies()),
                Sweeps(cast("Presence", None), self.schedule, settler, clock, metrics, bound=1.0),
                Telemetry(metrics, Lines().log, clock, store_clock), _POLICY, clock, random.random,
                lambda *_told: None,
            )
        )  # fmt: skip

    @property
    def calls(self) -> list[tuple[float, str]]:
        """When each call left, and for whom."""
        return self._calls.seen

    @property
    def served(self) -> dict[str, float]:
        """When somebody was served."""
        return self._calls.served

    def post(self, when: float, items: Sequence[Item], *, hub: str = "chat") -> None:
        """Have items come at a moment."""
        self._loop.call_at(when, self._add, items, hub)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self._loop.run_until_complete(self._work(seconds))
        self._loop.bury()
        self._loop.close()

    async def _work(self, seconds: float) -> None:
        task = asyncio.ensure_future(self._dispatcher.run())
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()

    def _add(self, items: Sequence[Item], hub: str) -> None:
        for item in items:
            self._number += 1
            key = lane_of(hub, item)
            flow = a_flow(self._owned, flow_of(key))
            entry_id = b"%d-0" % self._number
            entry = an_entry(item, hub=hub, message_id=str(self._number))
            self.schedule.add(key, BufferedEntry(flow, entry_id, entry, self._loop.time(), 100))
        self._dispatcher.wake()


class _NoBodies:
    on_room: Callable[[], None]
