"""One simulated world: workers built by the product's own composition root, producers, a store and a far side.

Rule guarded: what is simulated ends at connections, clock and chance. Workers come from service.assembly.build_worker,
so a station that is added there is simulated from that day on; queue, wire, tokens and client are the real ones.
"""

import asyncio
import gc
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from redis.asyncio.connection import AbstractConnection

from fanout.errors import QueueError
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue import keys
from fanout.queue.entry import Admission
from fanout.queue.stream import Stream
from fanout.queue.wire import ServerWire, Wire
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString, with_access_key
from fanout.signalr.http1.pool import Pool
from service import assembly
from service.parts import Parts
from tests.simulation.far_side import FarSide, FarWeather, ModelPool
from tests.simulation.faults import Faults
from tests.simulation.loop import Host, SimulatedClock, SimulatedLoop, StuckError
from tests.simulation.plan import LASTS, Batch, Plan
from tests.simulation.store_model import StoreModel
from tests.simulation.store_network import StoreNetwork, StoreWeather
from tests.simulation.verdict import judge
from tests.simulation.witness import Witness
from workers.worker import Worker

_EPOCH = 1_800_000_000.0
_HEALED_WITHIN = 90.0  # seconds in which a healed world has to deliver everything
_SERVICE = with_access_key(ConnectionString.parse("Endpoint=http://far.example;AccessKey=" + "k" * 44 + ";Version=1.0;"))
_METRICS = Metrics()  # counts for nobody; made once because it is slow to make


@dataclass(eq=False)
class Running:
    """A worker process."""

    host: Host
    clock: SimulatedClock
    worker: Worker
    task: "asyncio.Task[Any]"
    stopping: bool = False


class JournalLog:
    """A logger that writes into the witness's journal."""

    def __init__(self, witness: Witness, who: str) -> None:
        self._witness = witness
        self._who = who

    def debug(self, event: str, **fields: Any) -> None:
        self._witness.note(self._who, event, fields)
        if event == "worker.grace_over":
            self._witness.overtime.add(self._who)

    info = warning = error = debug


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan, stations: Mapping[str, Any] | None = None) -> None:
        """`stations` stand in for the product's own, by their names in service.assembly."""
        self.plan = plan
        self._stations = dict(stations or {})
        self.loop = SimulatedLoop(Random(f"turns {plan.seed}"))
        self.witness = Witness(self.loop)
        self.store = StoreModel(self._store_clock, self.loop.time, self.witness)
        self.store.tick = plan.tick
        self.network = StoreNetwork(self.loop, self.store, Random(f"network {plan.seed}"))
        self.network.weather = StoreWeather(latency=plan.store_latency)
        self.far = FarSide(self.loop, Random(f"far {plan.seed}"), self.witness, plan.doomed)
        self.far.weather = FarWeather(plan.far_latency, executes=plan.executes, noise=plan.far_noise)
        self.settings = Settings(log_format="console", **plan.settings)
        self.workers: list[Running] = []
        self.witness.store = self.store
        self.witness.unaware = self.settings.lease_seconds
        self.witness.settings = self.settings
        self._store_epoch = _EPOCH
        self._random = Random(f"world {plan.seed}")
        self._producing = 0

    @property
    def living(self) -> list[Running]:
        """Workers that are neither dead nor on their way out."""
        return [running for running in self.workers if not running.host.dead and not running.stopping]

    def run(self) -> None:
        """Live through the plan; what was wrong is in the witness."""
        with _quiet(self.plan.seed):
            try:
                self.loop.run_until_complete(self.loop.start(self.loop.world, self._live()))
            except StuckError as error:
                self.witness.violate(str(error))
            for failure in self.loop.failures:
                self.witness.violate(failure)
            judge(self.witness, concurrency=self.settings.concurrency)
            self.witness.closed = True
            self.loop.bury()
            self.loop.close()

    def start_worker(self) -> None:
        """Start one more worker process."""
        host = Host(f"w{len(self.workers) + 1}-0-0")
        clock = SimulatedClock(self.loop, boot=self._random.random() * 1000, epoch=_EPOCH)
        worker = self._build(host, clock)
        task = self.loop.start(host, worker.run())
        running = Running(host, clock, worker, task)
        self.workers.append(running)
        task.add_done_callback(lambda task: self._ended(running, task))

    def stop_worker(self, running: Running) -> None:
        """Tell a worker process to end, as SIGTERM does."""
        running.stopping = True
        self.witness.note("world", "stopping", running.host.name)
        running.worker.stop()

    def lose(self, forget: Callable[[], None], how: str) -> None:
        """Have the store lose data, and take note of what."""
        before, leases = self.witness.stored(), self._leases()
        forget()
        self.witness.store_changed = True
        self.witness.store_lost(before)
        self.witness.unsure_until = self.loop.time() + self.witness.unaware
        for key, token in leases.items():
            if how == "failover" and self._leases().get(key) != token:
                self.witness.changed(key, token, None, how)

    def shift_store_clock(self, seconds: float) -> None:
        """Have the store's clock jump."""
        self._store_epoch += seconds
        if seconds:
            self.witness.clock_changed = self.witness.store_changed = True
            self.witness.unsure_until = self.loop.time() + self.witness.unaware

    def _build(self, host: Host, clock: SimulatedClock) -> Worker:
        settings = self.settings
        wire = self._wire(clock)
        stream = self._stream(wire, clock)
        client = assembly.open_client(settings, clock, _SERVICE)
        client.pool = cast("Pool", ModelPool(self.far, clock, request_timeout=settings.attempt_timeout))
        log = cast("Logger", JournalLog(self.witness, host.name))
        parts = Parts(settings, clock, _METRICS, wire, stream, log)
        others = {name: station for name, station in self._stations.items() if name != "Leases"}
        chance = {
            "socket": SimpleNamespace(gethostname=lambda: host.name.partition("-")[0]),
            "os": SimpleNamespace(getpid=lambda: 0),
            "secrets": SimpleNamespace(token_hex=lambda _length: "0"),
        }
        with patch.multiple(assembly, **{"Leases": self._tapped(clock), **chance, **others}):
            return assembly.build_worker(parts, client)

    def _tapped(self, clock: SimulatedClock) -> type:
        witness = self.witness
        base: Any = self._stations.get("Leases", assembly.Leases)

        class Tapped(base):  # type: ignore[misc] # which class it is is known at run time
            """Tells the witness what a worker believes of its leases, and changes nothing."""

            async def acquire(self, partitions: Any) -> Any:
                leases = await super().acquire(partitions)
                for lease in leases:
                    witness.believed(self.worker, lease.partition, lease.expires - clock.boot)
                return leases

            async def renew(self, leases: Any) -> Any:
                renewals = await super().renew(leases)
                for renewal in renewals.values():
                    if renewal is not None:
                        witness.believed(self.worker, renewal.lease.partition, renewal.lease.expires - clock.boot)
                return renewals

        return Tapped

    def _wire(self, clock: SimulatedClock) -> Wire:
        return ServerWire(lambda: cast("AbstractConnection", self.network.connect()), clock)

    def _stream(self, wire: Wire, clock: SimulatedClock) -> Stream:
        settings = self.settings
        limits = {"partitions": settings.partitions, "max_depth": settings.max_depth}
        return Stream(wire, clock, **limits, dedup_window=settings.dedup_window)

    async def _live(self) -> None:
        for _ in range(self.plan.workers):
            self.start_worker()
        for number, batches in enumerate(self.plan.producers):
            for batch in batches:
                for submission in batch.submissions:
                    self.witness.expect(submission, self.settings.partitions)
            self._producing += 1
            self.loop.start(Host(f"p{number}"), self._produce(batches))
        for number, at in enumerate(self.plan.poison):
            self.loop.outside(at, self._poison, number)
        faults = Faults(self)
        faults.schedule()
        await asyncio.sleep(LASTS)
        faults.heal()
        await self._drain()
        await self._end()

    async def _drain(self) -> None:
        deadline = self.loop.time() + _HEALED_WITHIN
        while self._producing or self._waiting():
            if self.loop.time() > deadline:
                self.witness.violate(f"not done {_HEALED_WITHIN:g} s after all healed: {self._waiting()} in the store")
                return
            await asyncio.sleep(0.1)

    async def _end(self) -> None:
        for running in self.living:
            self.stop_worker(running)
        tasks = [running.task for running in self.workers if not running.host.dead]
        late = (await asyncio.wait(tasks, timeout=30))[1] if tasks else ()
        if late:
            self.witness.violate(f"{len(late)} workers did not end")
        elif self._leases() and not self.witness.kills and not self.plan.faults:
            self.witness.violate(f"leases are left behind: {self._leases()}")

    async def _produce(self, batches: tuple[Batch, ...]) -> None:
        clock = SimulatedClock(self.loop, epoch=_EPOCH)
        stream = self._stream(self._wire(clock), clock)
        for batch in batches:
            await clock.sleep(batch.gap)
            while not await self._append(stream, batch):
                await clock.sleep(0.05 + self._random.random() * 0.3)
        self._producing -= 1

    async def _append(self, stream: Stream, batch: Batch) -> bool:
        try:
            receipts = await stream.append(batch.submissions)
        except QueueError:
            return False
        for submission, receipt in zip(batch.submissions, receipts, strict=True):
            tag = submission.entry.message_id
            self.witness.note("producer", tag, receipt.admission.value, receipt.entry_id)
            if receipt.admission is Admission.CONFLICT:
                self.witness.violate(f"{tag} was called a conflict")
            if receipt.admission in (Admission.ACCEPTED, Admission.DUPLICATE):
                self.witness.parcels[tag].accepted = True
        return all(receipt.admission in (Admission.ACCEPTED, Admission.DUPLICATE) for receipt in receipts)

    def _poison(self, number: int) -> None:
        partition = number % self.settings.partitions
        self.store.add(keys.stream(partition).encode(), [b"e", b"\x00broken %d" % number])

    def _ended(self, running: Running, task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.witness.violate(f"{running.host.name} failed: {error!r}")
        elif not running.stopping:
            self.witness.violate(f"{running.host.name} ended by itself")
        running.host.kill()

    def _store_clock(self) -> float:
        return self.loop.time() + self._store_epoch

    def _leases(self) -> dict[bytes, bytes]:
        live = ((key, self.store.string(key)) for key in list(self.store.strings) if key.endswith(b":lease"))
        return {key: token for key, token in live if token is not None}

    def _waiting(self) -> int:
        return sum(len(s.entries) for key, s in self.store.streams.items() if key.endswith(b":stream"))


@contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Make the product's own chance the seed's, and keep the garbage collector from running its code in between."""
    state = random.getstate()
    random.seed(seed)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        random.setstate(state)
