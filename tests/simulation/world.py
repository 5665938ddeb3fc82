"""One simulated world: workers, producers, a store, the service, and a plan of what goes wrong.

Rule guarded: after the faults everything heals, and a healed world delivers everything it accepted within a bounded
time. What happens in a run depends on its plan alone.
"""

import asyncio
import gc
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from unittest.mock import patch

from fanout.errors import QueueError
from fanout.queue.entry import Admission
from fanout.queue.keys import KEYS
from fanout.queue.stream import Stream
from fanout.settings import Settings
from tests.simulation.faults import Faults
from tests.simulation.final_checks import check_history
from tests.simulation.loop import EPOCH, Host, SimulatedClock, SimulatedLoop, StuckError
from tests.simulation.observer import Observer
from tests.simulation.plan import LASTS, Batch, Plan
from tests.simulation.processes import ProcessFactory
from tests.simulation.rate_checks import check_rates
from tests.simulation.service_model import ServiceConditions, ServiceModel
from tests.simulation.store_model import StoreModel
from tests.simulation.store_network import NetworkConditions, StoreNetwork
from tests.simulation.sweep_checks import check_sweeps
from workers.worker import Worker

_SWIFT = 0.01  # above this latency a worker that has just ended may be given a lease, which then runs out
_MEMORY = 8 * 2**30  # bytes of every process, whatever the machine has
_CALM = 0.001  # up to this latency and clock resolution a notice arrives at once
_NEWER_WORKERS = 0.4  # of the workers, where there are two versions
_HEALED_WITHIN = 90.0  # seconds in which a healed world has to deliver everything


@dataclass(eq=False)
class Running:
    """A worker process."""

    host: Host
    clock: SimulatedClock
    worker: Worker
    task: "asyncio.Task[Any]"
    stopping: bool = False
    newer: bool = False  # it reads the newer format of entries


class World:
    """The parts of one run."""

    def __init__(self, plan: Plan, stations: Mapping[str, Any] | None = None) -> None:
        """Prepare a run; `stations` replace parts of the product, by their names in service.compose or in full."""
        self.plan = plan
        self.loop = SimulatedLoop(Random(f"turns {plan.seed}"))
        self.observer = Observer(self.loop)
        self.store = StoreModel(self._store_clock, self.loop.time, self.observer)
        self.store.tick = plan.tick
        self.network = StoreNetwork(self.loop, self.store, Random(f"network {plan.seed}"))
        self.network.conditions = NetworkConditions(latency=plan.store_latency)
        self.service = ServiceModel(self.loop, Random(f"far {plan.seed}"), self.observer, plan.doomed)
        self.service.conditions = ServiceConditions(
            plan.service_latency, joined="" if plan.executes else "404", noise=plan.service_noise, connect=plan.connect
        )
        self.service.conditions.quotas, self.service.conditions.over_quota = dict(plan.quotas), plan.over_quota
        self.observer.calm = plan.store_latency <= _CALM and plan.tick <= _CALM
        self.settings = Settings(**{"log_format": "console", "memory_limit": _MEMORY, **plan.settings})
        self.workers: list[Running] = []
        self.observer.store = self.store
        self.observer.unaware = self.settings.lease_seconds
        self.observer.settings = self.settings
        self.factory = ProcessFactory(self.settings, self.network, self.service, self.observer, prunes=plan.prunes)
        self._stations = stations or {}
        self._store_epoch = EPOCH
        self._random = Random(f"world {plan.seed}")
        self._producing = 0

    @property
    def living(self) -> list[Running]:
        """Workers that are neither killed nor stopping."""
        return [running for running in self.workers if not running.host.dead and not running.stopping]

    def run(self) -> None:
        """Run the plan; the violations are in the observer."""
        with _quiet(self.plan.seed), ExitStack() as stack:
            for name, stand_in in self._stations.items():
                stack.enter_context(patch(name if "." in name else f"service.compose.{name}", stand_in))
            try:
                self.loop.run_until_complete(self.loop.start(self.loop.world, self._live()))
            except StuckError as error:
                self.observer.violate(str(error))
            for failure in self.loop.failures:
                self.observer.violate(failure)
            check_history(self.observer, concurrency=self.settings.concurrency)
            check_rates(self.observer)
            check_sweeps(self.observer, self.plan.producers)
            self.observer.closed = True
            self.loop.bury()
            self.loop.close()

    def start_worker(self, *, newer: bool = False) -> None:
        """Start one more worker process, `newer` or as chance will have it where there are two versions."""
        newer = newer or (self.plan.newer > 0 and self._random.random() < _NEWER_WORKERS)
        host = Host(f"w{len(self.workers) + 1}-0-0")
        clock = SimulatedClock(self.loop, boot=self._random.random() * 1000)
        worker = self.factory.worker(host.name, clock, newer=newer)
        task = self.loop.start(host, worker.run())
        running = Running(host, clock, worker, task, newer=newer)
        self.workers.append(running)
        task.add_done_callback(lambda task: self._ended(running, task))

    def stop_worker(self, running: Running) -> None:
        """Ask a worker process to end, as SIGTERM does."""
        running.stopping = True
        self.observer.note("world", "stopping", running.host.name)
        running.worker.stop()

    def lose(self, forget: Callable[[], None], how: str, *, since: float = -1.0) -> None:
        """Have the store lose what was done after `since`, and note what that was."""
        before, leases = self.observer.stored(), self._leases()
        forget()
        self.observer.store_changed = True
        self.observer.store_lost(before, since)
        self.observer.unsure_until = self.loop.time() + self.observer.unaware
        for key, token in leases.items():
            if how == "failover" and self._leases().get(key) != token:
                self.observer.changed(key, token, None, how)

    def shift_store_clock(self, seconds: float) -> None:
        """Move the store's clock."""
        self._store_epoch += seconds
        if seconds:
            self.observer.clock_changed = self.observer.store_changed = True
            self.observer.unsure_until = self.loop.time() + self.observer.unaware

    async def _live(self) -> None:
        for _ in range(self.plan.workers):
            self.start_worker()
        for number, batches in enumerate(self.plan.producers):
            for batch in batches:
                for submission in batch.submissions:
                    self.observer.expect(submission, self.settings.partitions)
            self._producing += 1
            self.loop.start(Host(f"p{number}"), self._produce(batches))
        for number, at in enumerate(self.plan.poison):
            self.loop.outside(at, self._poison, number)
        faults = Faults(self)
        faults.schedule()
        await asyncio.sleep(LASTS)
        faults.heal()
        healed = self.loop.time()
        await self._drain()
        if self.loop.time() > healed + 30:
            self.observer.count("worlds that took more than 30 s to heal")
        await self._end()

    async def _drain(self) -> None:
        deadline = self.loop.time() + _HEALED_WITHIN
        while self._producing or self._waiting() or self._too_old():
            if self.loop.time() > deadline:
                left = f"{self._waiting()} in the store, {self._too_old()} letters too old"
                self.observer.violate(f"not done {_HEALED_WITHIN:g} s after all healed: {left}")
                return
            await asyncio.sleep(0.1)

    async def _end(self) -> None:
        for running in self.living:
            self.stop_worker(running)
        tasks = [running.task for running in self.workers if not running.host.dead]
        late = (await asyncio.wait(tasks, timeout=30))[1] if tasks else ()
        if late:
            self.observer.violate(f"{len(late)} workers did not end")
        elif self._leases() and not self.plan.faults and self.plan.store_latency < _SWIFT:
            self.observer.violate(f"leases are left behind: {self._leases()}")

    async def _produce(self, batches: tuple[Batch, ...]) -> None:
        clock = SimulatedClock(self.loop)
        stream = self.factory.stream(clock, Random(f"formats {self.plan.seed}"), self.plan.newer)
        async with asyncio.TaskGroup() as group:
            refreshing = group.create_task(stream.run())
            for batch in batches:
                await clock.sleep(batch.gap)
                while not await self._append(stream, batch):
                    await clock.sleep(0.05 + self._random.random() * 0.3)
            refreshing.cancel()
        self._producing -= 1

    async def _append(self, stream: Stream, batch: Batch) -> bool:
        try:
            receipts = await stream.append(batch.submissions)
        except QueueError:
            return False
        for submission, receipt in zip(batch.submissions, receipts, strict=True):
            tag = submission.entry.message_id
            self.observer.note("producer", tag, receipt.admission.value, receipt.entry_id)
            if receipt.admission is Admission.CONFLICT:
                self.observer.violate(f"{tag} was called a conflict")
            if receipt.admission in (Admission.ACCEPTED, Admission.DUPLICATE):
                self.observer.all_tracked[tag].accepted = True
        return all(receipt.admission in (Admission.ACCEPTED, Admission.DUPLICATE) for receipt in receipts)

    def _poison(self, number: int) -> None:
        partition = number % self.settings.partitions
        stream = KEYS.stream(partition, "uchat").encode()
        self.store.add(stream, [b"e", b"\x00broken %d" % number])
        self.store.sorted_set(KEYS.flows(partition).encode())[stream] = 0.0
        self.store.wake(KEYS.wake(partition).encode(), stream)

    def _ended(self, running: Running, task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.observer.violate(f"{running.host.name} failed: {error!r}")
        elif not running.stopping:
            self.observer.violate(f"{running.host.name} ended by itself")
        running.host.kill()

    def _store_clock(self) -> float:
        return self.loop.time() + self._store_epoch

    def _leases(self) -> dict[bytes, bytes]:
        names = [key for key in self.store.strings if key.endswith(b":lease") or b"}:rest:" in key]
        live = ((key, self.store.string(key)) for key in names)
        return {key: token for key, token in live if token is not None}

    def _waiting(self) -> int:
        return sum(len(s.entries) for key, s in self.store.streams.items() if b"}:q:" in key)

    def _too_old(self) -> int:
        """Return how many dead letters are kept although they are too old."""
        age = self.settings.max_dead_age
        letters = (letter for key, s in self.store.streams.items() if key.endswith(b":dead") for letter in s.entries)
        return sum(age > 0 and self.store.now() - letter[0] / 1000 > age for letter in letters)


@contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Seed the product's own random numbers, and keep the garbage collector from running code in between."""
    state = random.getstate()
    random.seed(seed)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        random.setstate(state)
