"""One worker: the tasks that deliver, and the order in which they end.

Rule guarded: shutdown is choreography (design section 5). Reading stops, waiting entries are left to the stream, calls
in flight finish and are settled while the leases are still renewed, and the leases are released last.
"""

import asyncio
from dataclasses import dataclass

from fanout.clock import Clock
from fanout.log import Logger
from workers.courier import Couriers
from workers.keeper import Keeper
from workers.reader import Reader
from workers.settler import Settler
from workers.tenure import Tenure
from workers.trade import Trade
from workers.whisper import Whisper


class Worker:
    """Delivers until told to stop. `grace` seconds for calls in flight at the end."""

    def __init__(self, crew: "Crew", clock: Clock, log: Logger, *, grace: float) -> None:
        self.crew = crew
        self._clock = clock
        self._log = log
        self._grace = grace
        self._stopping = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Worker {self.crew.keeper!r} {self.crew.couriers!r}>"

    def stop(self) -> None:
        """Begin the end; `run` returns when it is done."""
        self._stopping.set()

    async def run(self) -> None:
        """Deliver until `stop`, then end in order. An error in any task ends all of them and is raised."""
        crew = self.crew
        async with asyncio.TaskGroup() as outer:
            lasting = [outer.create_task(crew.settler.run())]
            async with asyncio.TaskGroup() as inner:

                def read(tenure: Tenure) -> asyncio.Task[None]:
                    return inner.create_task(crew.reader.run(tenure))

                lasting.append(outer.create_task(crew.keeper.run(outer, read, crew.trade.store_time)))
                stations = (crew.couriers.run(), crew.couriers.alarm.run(), crew.reader.refill())
                tasks = [inner.create_task(station) for station in stations]
                tasks += [inner.create_task(talk) for talk in crew.whisper.tasks()]
                await self._stopping.wait()
                await self._drain()
                for task in tasks:
                    task.cancel()
            await crew.keeper.release_all()
            for task in lasting:
                task.cancel()

    async def _drain(self) -> None:
        self._log.info("worker.draining", in_flight=self.crew.couriers.in_flight, leases=self.crew.keeper.held)
        self.crew.couriers.close()
        try:
            async with self._clock.timeout(self._grace):
                await self.crew.keeper.leave()
        except TimeoutError:
            self._log.warning("worker.grace_over", in_flight=self.crew.couriers.in_flight, grace=self._grace)


@dataclass(frozen=True, slots=True)
class Crew:
    """The stations of one worker."""

    keeper: Keeper
    reader: Reader
    couriers: Couriers
    settler: Settler
    trade: Trade
    whisper: Whisper
