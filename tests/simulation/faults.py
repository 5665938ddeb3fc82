"""Injects faults, and ends them.

Rule guarded: each fault happens to real systems, and each ends by itself. `heal` ends all of them at once, so that what
is still wrong afterwards is the product's fault.
"""

from typing import TYPE_CHECKING

from tests.simulation.plan import LASTS, STORE_FAULTS, Fault
from tests.simulation.store_network import NetworkConditions

if TYPE_CHECKING:
    from tests.simulation.world import World

_STEPS = 40
_MOST_LOST = 1.5
_HEALTHY = 0.2  # seconds that a service takes which is well: past it calls run out of time for ever
_LARGEST_JUMP = 4.0


class Faults:
    """The faults of one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._healed = False

    def schedule(self) -> None:
        """Schedule all faults of the plan."""
        for fault in self._world.plan.faults:
            self._world.loop.outside(fault.at, self._strike, fault)

    def heal(self) -> None:
        """End all faults."""
        self._healed = True
        world = self._world
        paused = world.network.conditions.paused
        world.network.conditions = NetworkConditions(latency=world.plan.store_latency)
        world.store.full = False
        if paused:
            world.network.resume()
        world.service.conditions.troubles.clear()
        world.service.conditions.noise = 0.0
        world.service.conditions.latency = min(world.plan.service_latency, _HEALTHY)
        world.service.conditions.connect = 0.0
        world.service.conditions.quotas.clear()
        if world.plan.executes:
            world.service.conditions.joined = ""
        for worker in world.workers:
            worker.host.trap = None
            worker.host.thaw()
        if not any(worker.newer or not world.plan.newer for worker in world.living):
            world.start_worker(newer=bool(world.plan.newer))
        world.observer.note("world", "healed")

    def _strike(self, fault: Fault) -> None:
        if not self._healed:
            observer = self._world.observer
            observer.note("fault", fault.kind, fault)
            observer.count(f"fault: {fault.kind}")
            observer.calm = observer.calm and fault.kind not in STORE_FAULTS
            if fault.kind in ("down", "pause", "failover"):
                observer.outages.append((fault.at, min(fault.at + fault.lasts, LASTS)))
            getattr(self, f"_{fault.kind}")(fault)

    def _after(self, fault: Fault, undo: str) -> None:
        def run() -> None:
            if not self._healed:
                getattr(self, undo)(fault)

        self._world.loop.outside(fault.lasts, run)

    # Workers ------------------------------------------------------------------------------------------------------

    def _kill(self, fault: Fault) -> None:
        living = self._world.living
        if not living:
            return
        worker = living[fault.who % len(living)]

        def spring() -> None:
            if not self._healed and not worker.host.dead:
                worker.host.kill()
                self._world.observer.killed(worker.host)

        worker.host.set_trap(spring, int(fault.amount * _STEPS))
        self._after(fault, "_start")

    def _freeze(self, fault: Fault) -> None:
        living = self._world.living
        if not living:
            return
        worker = living[fault.who % len(living)]

        def spring() -> None:
            if not self._healed and worker.host.running:
                self._world.observer.note("world", "frozen", worker.host.name)
                self._world.observer.frozen.add(worker.host.name)
                worker.host.freeze()
                self._world.loop.outside(fault.lasts, worker.host.thaw)

        worker.host.set_trap(spring, int(fault.amount * _STEPS))

    def _stop(self, fault: Fault) -> None:
        living = self._world.living
        if living:
            self._world.stop_worker(living[fault.who % len(living)])
            self._after(fault, "_start")

    def _start(self, _fault: Fault) -> None:
        self._world.start_worker()

    def _clock(self, fault: Fault) -> None:
        for worker in self._world.living:
            worker.clock.epoch += (fault.amount - 0.5) * 2 * _LARGEST_JUMP

    # The store ----------------------------------------------------------------------------------------------------

    def _cut(self, _fault: Fault) -> None:
        self._world.network.cut_all()

    def _down(self, fault: Fault) -> None:
        self._world.network.go_down()
        self._after(fault, "_up")

    def _up(self, _fault: Fault) -> None:
        self._world.network.conditions.down = False

    def _pause(self, fault: Fault) -> None:
        self._world.network.conditions.paused = True
        self._after(fault, "_resume")

    def _resume(self, _fault: Fault) -> None:
        self._world.network.resume()

    def _failover(self, fault: Fault) -> None:
        world = self._world
        world.network.go_down()
        lost = fault.amount * _MOST_LOST
        world.lose(lambda: world.store.lose_tail(lost), "failover", since=world.loop.time() - lost)
        world.store.forget_scripts()
        # A clock that was set back gives out the lost ids again; most failovers do that here.
        world.shift_store_clock(-(fault.lasts + lost * (fault.who % 4) / 3) if fault.who % 4 else 0.0)
        self._after(fault, "_up")

    def _flush(self, _fault: Fault) -> None:
        self._world.lose(self._world.store.flush, "FLUSHALL")

    def _jump(self, fault: Fault) -> None:
        self._world.shift_store_clock((fault.amount - 0.5) * 2 * _LARGEST_JUMP)

    def _noise(self, fault: Fault) -> None:
        conditions = self._world.network.conditions
        name = ("cut_before", "cut_within", "cut_after", "swallow")[fault.who % 4]
        setattr(conditions, name, fault.amount * 0.5)
        self._after(fault, "_calm")

    def _calm(self, _fault: Fault) -> None:
        conditions = self._world.network.conditions
        conditions.cut_before = conditions.cut_within = conditions.cut_after = conditions.swallow = 0.0

    def _forget(self, _fault: Fault) -> None:
        self._world.store.forget_scripts()

    def _full(self, fault: Fault) -> None:
        self._world.store.full = True
        self._after(fault, "_drained")

    def _drained(self, _fault: Fault) -> None:
        self._world.store.full = False

    def _slow(self, fault: Fault) -> None:
        self._world.network.conditions.latency = 0.02 + fault.amount * 0.2
        self._after(fault, "_fast")

    def _fast(self, _fault: Fault) -> None:
        self._world.network.conditions.latency = self._world.plan.store_latency

    # The service --------------------------------------------------------------------------------------------------

    def _service(self, fault: Fault) -> None:
        self._world.service.conditions.troubles.append((fault.what, 0.3 + fault.amount, None))
        self._after(fault, "_clear")

    def _lane(self, fault: Fault) -> None:
        lanes = sorted({tracked.lane for tracked in self._world.observer.all_tracked.values()})
        self._world.service.conditions.troubles.append((fault.what, 1.0, lanes[fault.who % len(lanes)]))
        self._after(fault, "_clear")

    def _hub(self, fault: Fault) -> None:
        hubs = sorted(set(self._world.observer.hubs.values()))
        self._world.service.conditions.troubles.append((fault.what, 1.0, hubs[fault.who % len(hubs)]))
        self._after(fault, "_clear")

    def _refuse(self, fault: Fault) -> None:
        self._world.service.conditions.joined = fault.what
        self._after(fault, "_take")

    def _take(self, _fault: Fault) -> None:
        self._world.service.conditions.joined = ""

    def _clear(self, _fault: Fault) -> None:
        if self._world.service.conditions.troubles:
            self._world.service.conditions.troubles.pop(0)
