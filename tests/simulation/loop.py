"""An event loop without a machine below it: simulated time, several simulated processes, one order per seed.

Rule guarded: everything that can differ between two runs is drawn from the seed. What is drawn follows from what
asyncio and an operating system promise:
- Within one process callbacks run first come, first served, as asyncio documents.
- Between processes there is no order: at each step the seed picks which of them runs its next callback.
- Time advances only when no process can run.
- A timer or a wake-up of a frozen process is kept until it thaws. A killed process stops between two callbacks, and
  none of its clean-up code runs.

The context of a callback, which asyncio passes on from task to task, says which process it belongs to.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from random import Random
from typing import Any, TypeVarTuple

EPOCH = 1_800_000_000.0  # unix time at which every run begins
STEP_LIMIT = 400_000  # callbacks in one run; more of them mean an endless loop
_LAST_ROUNDS = 100
_Ts = TypeVarTuple("_Ts")


class Host:
    """One simulated process: the callbacks that are ready, and whether they may run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[asyncio.Handle] = deque()
        self.running = True
        self.dead = False
        self.trap: Callable[[], None] | None = None  # what happens to it, after `trap_in` more callbacks
        self.trap_in = 0

    def __repr__(self) -> str:
        return f"<Host {self.name}{', dead' if self.dead else '' if self.running else ', frozen'}>"

    def freeze(self) -> None:
        """Run no further callback for now."""
        self.running = False

    def thaw(self) -> None:
        """Continue, unless it was killed."""
        self.running = not self.dead

    def kill(self) -> None:
        """End between two callbacks."""
        self.running, self.dead = False, True

    def set_trap(self, spring: Callable[[], None], steps: int) -> None:
        """Call `spring` after `steps` more callbacks."""
        self.trap, self.trap_in = spring, steps


HOST: ContextVar[Host] = ContextVar("HOST")


class StuckError(Exception):
    """Nothing can run, or something runs without end."""


class SimulatedTask(asyncio.Task[Any]):
    """A task with a hash of its own, so that sets of tasks have the same order in every run."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, number: int, **kwargs: Any) -> None:
        self.number = number
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop. `world` is the process of everything that belongs to no worker: network, store, service, script."""

    _stopping: bool  # of asyncio's loop, which does not declare it

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.world = Host("world")
        self.hosts = [self.world]
        self.steps = 0
        self.failures: list[str] = []
        self.unfit: NotImplementedError | None = None  # a command that the model does not know: the run proves nothing
        self._random = random
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._tasks: list[SimulatedTask] = []
        self._world_context = copy_context()
        self._world_context.run(HOST.set, self.world)
        self.set_task_factory(self._make_task)  # type: ignore[arg-type] # typeshed wants any awaitable taken
        self.set_exception_handler(self._note_failure)

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._host_of(handle).ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heappush(self._timers, (when, self._count, timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def outside(self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call something of the world in `delay` seconds, whatever becomes of the process that asks."""
        self.call_at(self._now + delay, callback, *args, context=self._world_context)

    def start(self, host: Host, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `coro` as the first task of a process."""
        if host not in self.hosts:
            self.hosts.append(host)
        context = copy_context()
        context.run(HOST.set, host)
        return self.create_task(coro, context=context)

    def bury(self) -> None:
        """Cancel all tasks of all processes until none is left; for after the checks."""
        for host in self.hosts:
            host.running, host.dead, host.trap = True, False, None
        for _ in range(_LAST_ROUNDS):
            left = [task for task in self._tasks if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            self.call_soon(self.stop, context=self._world_context)
            self.run_forever()

    def _run_once(self) -> None:
        """Run callbacks until the loop is stopped; asyncio would look after each one, in a loop of its own."""
        while not self._stopping:
            able = [host for host in self.hosts if host.ready and host.running]
            if not able:
                self._advance()
                continue
            host = able[0] if len(able) == 1 else able[int(self._random.random() * len(able))]
            handle = host.ready.popleft()
            if not handle.cancelled():
                self._run_callback(host, handle)

    def _run_callback(self, host: Host, handle: asyncio.Handle) -> None:
        self.steps += 1
        if self.steps > STEP_LIMIT:
            raise StuckError(
                f"more than {STEP_LIMIT} callbacks by {self._now:.3f} s, the last of {host.name}: {handle}"
            )
        handle._run()
        if self.unfit is not None:
            raise self.unfit
        if host.trap is not None:
            self._approach(host)

    def _advance(self) -> None:
        while self._timers:
            when, _count, timer = heappop(self._timers)
            if not timer.cancelled():
                self._now = max(self._now, when)
                self._host_of(timer).ready.append(timer)
                return
        raise StuckError(f"nothing left to wait for at {self._now:.3f} s")

    def _approach(self, host: Host) -> None:
        host.trap_in -= 1
        if host.trap_in < 0 and host.trap is not None:
            spring, host.trap = host.trap, None
            self._world_context.run(spring)

    def _host_of(self, handle: asyncio.Handle) -> Host:
        return handle._context.get(HOST, self.world)  # type: ignore[attr-defined,no-any-return] # asyncio keeps it private

    def _make_task(
        self, _loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **kwargs: Any
    ) -> SimulatedTask:
        self._count += 1
        task = SimulatedTask(coro, number=self._count, loop=self, **kwargs)
        self._tasks.append(task)
        return task

    def _note_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), NotImplementedError):
            self.unfit = context["exception"]
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        pass  # cancelled timers are skipped when their time comes

    def _write_to_self(self) -> None:
        pass  # no selector is used


class SimulatedClock:
    """The clocks of one process. `monotonic` begins at another value in each; `wall` may be wrong and jump."""

    def __init__(self, loop: SimulatedLoop, *, boot: float = 0.0, epoch: float = EPOCH) -> None:
        self._loop = loop
        self.boot = boot
        self.epoch = epoch

    def monotonic(self) -> float:
        return self._loop.time() + self.boot

    def wall(self) -> float:
        return self._loop.time() + self.epoch

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)
