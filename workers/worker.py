"""One worker: the tasks that deliver, and the order in which they end.

Rule guarded: the end has an order. Reading stops, waiting entries are left in the stream, the leases are released but
for the destinations with a call in flight, and these follow as their calls end and are settled. What is left of the
leases is renewed meanwhile, and released last.
"""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from fanout.clock import Clock
from fanout.log import Logger
from fanout.queue.entry import VERSION
from fanout.signalr.message import label_of
from workers.dispatch import Dispatcher
from workers.joining import Joining
from workers.ownership import Ownership
from workers.partition import OwnedPartition
from workers.peers import Peers
from workers.reader import Reader
from workers.retention import Retention
from workers.settler import Settler
from workers.sweeps import Sweeps
from workers.unclaimed import Unclaimed

_MOST_NAMES = 16  # of endpoints in one warning


class Worker:
    """Delivers until it is stopped. `grace`: seconds that calls in flight have at the end.

    `joining` has nothing where it is configured whether messages share calls, and else one for each endpoint.
    """

    def __init__(
        self,
        ownership: Ownership,
        reader: Reader,
        dispatcher: Dispatcher,
        settler: Settler,
        sweeps: Sweeps,
        unclaimed: Unclaimed,
        retention: Retention,
        peers: Peers,
        joining: Sequence[Joining],
        clock: Clock,
        log: Logger,
        *,
        grace: float,
    ) -> None:
        self.ownership = ownership
        self.reader = reader
        self.dispatcher = dispatcher
        self.settler = settler
        self.sweeps = sweeps
        self.unclaimed = unclaimed
        self.retention = retention
        self.peers = peers
        self.joining = joining
        self._clock = clock
        self._log = log
        self._grace = grace
        self._stopping = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Worker {self.ownership!r} {self.dispatcher!r}>"

    def stop(self) -> None:
        """Begin the end; `run` returns when everything has ended."""
        self._stopping.set()

    def warning(self) -> str:
        """Return what its operator should know although it works; "" for nothing."""
        return "; ".join(filter(None, (self._newer_entries(), warning_of(self.ownership.unknown_endpoints))))

    def _newer_entries(self) -> str:
        newer = self.ownership.newer
        if not newer:
            return ""
        numbers = ", ".join(map(str, sorted(newer)))
        return (
            f"entries of a newer format ({max(newer.values())}, this worker reads {VERSION}) wait in partitions "
            f"{numbers}; their destinations stand still until a worker of a newer version runs"
        )

    async def run(self) -> None:
        """Deliver until `stop`, then end in order. An error in any task ends all of them and is raised."""
        on_change = self.dispatcher.wake
        async with asyncio.TaskGroup() as outer:
            until_released = [outer.create_task(self.settler.run())]
            async with asyncio.TaskGroup() as inner:

                def read(owned: OwnedPartition) -> asyncio.Task[None]:
                    return inner.create_task(self.reader.run(owned, on_change))

                until_released.append(outer.create_task(self.ownership.run(read)))
                stations: list[Coroutine[Any, Any, None]] = [
                    self.dispatcher.run(),
                    self.sweeps.run(),
                    self.unclaimed.run(lambda: self.ownership.owned),
                    *self.peers.tasks(on_change),
                ]
                stations += self.retention.tasks(lambda: self.ownership.owned)
                stations += [joining.run() for joining in self.joining]
                until_drained = [inner.create_task(station) for station in stations]
                await self._stopping.wait()
                await self._drain()
                for task in until_drained:
                    task.cancel()
            await self.ownership.release_all()
            for task in until_released:
                task.cancel()

    async def _drain(self) -> None:
        """Wait until the calls in flight have ended and were settled, for as long as the grace time allows."""
        self._log.info("worker.draining", in_flight=self.dispatcher.in_flight, leases=len(self.ownership))
        self.dispatcher.close()
        try:
            async with self._clock.timeout(self._grace):
                await self.ownership.leave()
        except TimeoutError:
            self._log.warning("worker.grace_over", in_flight=self.dispatcher.in_flight, grace=self._grace)


def warning_of(unknown_endpoints: Collection[str]) -> str:
    """Return what an operator should know of endpoints that messages wait for and that no setting names."""
    if not unknown_endpoints:
        return ""
    names = sorted(map(label_of, unknown_endpoints))
    shown = ", ".join(names[:_MOST_NAMES]) + (f" and {left} more" if (left := len(names) - _MOST_NAMES) > 0 else "")
    return (
        f"messages may wait for endpoints that are not configured here ({shown}); they stay in the queue until a "
        "worker that has these endpoints runs, and become dead letters when they are older than FANOUT_RETRY_MAX_AGE"
    )
