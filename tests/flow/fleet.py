"""Several real workers in one process, each with connections of its own, on one real Redis and one real far side."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.message import RouteClass
from service.compose import Resources, build_worker, open_endpoint, open_resources
from tests.builders import a_message, a_submission
from tests.workers.helpers import until
from tests.workers.scripted_service import ACCEPTED, KEY, Received, scripted_service
from workers.pace import Pace
from workers.worker import Worker

PARTITIONS = 6
USERS = [f"user{number}" for number in range(60)]
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@dataclass
class FarSide:
    """Notes when each call came, by user, and answers with what `answer` gives."""

    answer: Callable[[Received], bytes] = lambda _request: ACCEPTED
    waits: asyncio.Event | None = None  # calls are answered when it is set
    came: list[tuple[float, str]] = field(default_factory=list)

    async def __call__(self, request: Received) -> bytes:
        self.came.append((time.monotonic(), request.target))
        answer = self.answer(request)
        if self.waits is not None:
            await self.waits.wait()
        return answer

    def since(self, moment: float, until: float = float("inf")) -> int:
        """Count the calls from a moment on."""
        return sum(moment <= when < until for when, _target in self.came)

    def has_more_than(self, count: int, moment: float) -> bool:
        """Return whether more than `count` calls came from a moment on."""
        return self.since(moment) > count


@dataclass
class Member:
    """One worker of the fleet."""

    resources: Resources
    worker: Worker
    task: "asyncio.Task[None] | None" = None

    @property
    def pace(self) -> Pace:
        [endpoint] = self.worker.dispatcher._endpoints
        return endpoint.gate.paces[RouteClass.SEND]

    def metric(self, line: str) -> float:
        """Read one series."""
        rendered = self.resources.metrics.render().decode().splitlines()
        return float(next(each for each in rendered if each.startswith(line)).rpartition(" ")[2])


class Fleet:
    """Workers that are started and killed by hand."""

    def __init__(self, url: str, port: int, exits: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        self.url = url
        self.members: list[Member] = []
        self._service = ConnectionString.parse(f"Endpoint=http://127.0.0.1;Port={port};AccessKey={KEY};Version=1.0;")
        self._exits = exits
        self._group = group

    async def hire(self, **settings: object) -> Member:
        """Put one worker together; it does not run yet."""
        wanted = {"redis_url": self.url, "partitions": PARTITIONS, "retry_base": 0.02, "retry_cap": 0.05} | settings
        configured = load({}, **wanted)
        resources = await self._exits.enter_async_context(open_resources(configured, SystemClock()))
        endpoint = open_endpoint(configured, SystemClock(), resources.metrics, self._service)
        self._exits.push_async_callback(endpoint.aclose)
        self.members.append(Member(resources, build_worker(resources, [endpoint])))
        return self.members[-1]

    async def start(self, count: int, **settings: object) -> list[Member]:
        """Run this many workers and wait until they have shared the partitions."""
        for _ in range(count):
            member = await self.hire(**settings)
            self.run(member)
        share = PARTITIONS // count
        await until(lambda: all(len(each.worker.ownership) == share for each in self.members), within=15)
        return self.members

    def run(self, member: Member) -> None:
        member.task = self._group.create_task(member.worker.run())

    async def kill(self, member: Member) -> None:
        """End it without a clean shutdown, as SIGKILL does."""
        assert member.task is not None
        member.task.cancel()
        await asyncio.wait([member.task])
        self.members.remove(member)

    async def send(self, *users: str, times: int = 1) -> None:
        batch = [a_submission(a_message(user)) for _ in range(times) for user in users]
        await self.members[0].resources.stream.append(batch)


@asynccontextmanager
async def a_fleet(url: str, far: FarSide) -> AsyncIterator[Fleet]:
    async with scripted_service(far) as end, AsyncExitStack() as exits, asyncio.TaskGroup() as group:
        fleet = Fleet(url, end.port, exits, group)
        try:
            yield fleet
        finally:
            for member in fleet.members:
                if member.task is not None:
                    member.task.cancel()
