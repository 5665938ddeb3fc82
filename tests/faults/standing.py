"""The product as the fault tests use it: one standing set of processes, proxies between them, and what heals them.

Rules guarded: every part is a real process reached through a proxy of our own, so that the network can be broken as
well as the parts; a test finds all of it well and empty, whatever the test before did or left; the verdict waits until
the queue is empty.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

import httpx

from emulator.config import connection_string
from fanout.queue.keys import KEYS, hub_of_flow
from tests.faults.driver import Flow, Producer, flowing, traffic_of
from tests.faults.proxy import Proxy, proxy
from tests.faults.verdict import Exits, Verdict, judge
from tests.flow.child import Child
from tests.flow.oracle import Call, mark_in
from tests.flow.redis_server import RedisServer
from tests.flow.stack import PARTITIONS, Stack
from tests.flow.waiting import until
from tests.free_ports import free_port
from tests.log_lines import checked
from tests.queue_layout import flows_of

CONCURRENCY = 16  # calls in flight of one worker, and what its end may repeat
WORKERS = 2
LEASE = 3.0
_SETTINGS = {
    "concurrency": CONCURRENCY,
    "lease_seconds": LEASE,
    "attempt_timeout": 3.0,  # a busy machine must not look like a silent service
    "connect_timeout": 1.0,
    "log_level": "info",
}
_PRODUCERS = 3
_EXPIRED = re.compile(r'\{[^\n]*"end":"expired"[^\n]*\}')


class Standing(Stack):
    """A stack whose processes reach Redis through `store` and the service through `service`."""

    def __init__(
        self, redis: RedisServer, emulator: Child, http: httpx.AsyncClient, directory: Path, ways: tuple[Proxy, Proxy]
    ) -> None:
        super().__init__(redis, emulator, http, directory)
        self.store, self.service = ways
        self.preload: dict[str, str] = {}
        self._known: list[Child] = []
        self._special: list[Child] = []

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Point every process at the proxies; `service_port` among the settings names another way to the service."""
        own = {**_SETTINGS, "redis_url": f"redis://127.0.0.1:{self.store.port}/0", **settings}
        port = int(str(own.pop("service_port", self.service.port)))
        environment = super().environment(own)
        return {**environment, "AzureSignalRConnectionString": connection_string(port), **self.preload}

    async def add_workers(self, count: int, **settings: object) -> list[Child]:
        workers = await super().add_workers(count, **settings)
        self._known += workers
        return workers

    async def renew_workers(self, **settings: object) -> None:
        """Replace the workers by as many with other settings; the next test finds the usual ones again."""
        await asyncio.gather(*(worker.terminate() for worker in self.workers))
        self.workers = []
        self._special = await self.add_workers(WORKERS, **settings)
        await self.all_work()

    async def all_work(self, within: float = 15.0) -> None:
        """Wait until the partitions are shared evenly by as many workers as usual."""
        await self.shared_as(*[PARTITIONS // WORKERS] * WORKERS, within=within)

    async def revive_ingress(self) -> None:
        """Start the ingress again, on its port, as an orchestrator does."""
        await self.ingress.start(["serve", "--role", "ingress", "--port", str(self.ingress.port)], self.environment({}))
        await self.ingress.ready()

    # Flow and verdict -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def flow(self, hub: str, *, ttl: float = 0.0, patience: float = 20.0) -> AsyncIterator[Flow]:
        """Run producers for the time of the block; they give a request `patience` seconds."""
        async with httpx.AsyncClient(trust_env=False, timeout=patience) as http:
            producers = [
                Producer(f"{hub}{n}", traffic_of(f"{hub}{n}", seed=n, ttl=ttl), http, lambda: self.ingress.url)
                for n in range(_PRODUCERS)
            ]
            async with flowing(producers) as flow:
                await flow.goes_on(60)
                yield flow

    async def verdict(self, flow: Flow, *, forgotten: Mapping[str, set[str]] | None = None) -> Verdict:
        """Wait until the queue is empty, and judge."""
        await self.drained()
        return judge(flow, await self.calls(), Exits(self._expired(flow), await self._dead(), forgotten or {}))

    def may_repeat(self, hub: str) -> int:
        """Count the deliveries of which workers say that they may come again.

        They could not settle them because a lease had ended, or the service had not answered in time.
        """
        settled, attempts = (
            [line for worker in self.workers for line in lines_of(worker, event) if line["hub"].startswith(hub)]
            for event in ("delivery.settled", "delivery.attempt")
        )
        unsettled = [line for line in settled if line["end"] == "delivered, not settled"]
        return len(unsettled) + len([line for line in attempts if line["failure"] == "maybeSent"])

    async def calls(self) -> dict[str, list[Call]]:
        """Return the journal's calls by hub."""
        found: dict[str, list[Call]] = defaultdict(list)
        async for entry in self._entries(0):
            found[entry["hub"]].append(Call.of(entry))
        return found

    async def cut_so_often(self, way: Proxy, cuts: int) -> None:
        """Wait until a proxy has cut this many connections in all."""

        async def enough() -> bool:
            return way.cuts >= cuts

        await until(enough, within=20, what=f"{cuts} cuts of {way!r}")

    async def counted(self, sample: str, count: float, *, within: float = 20.0) -> None:
        """Wait until a metric, summed over the workers, has grown by `count`; one that is not there yet counts 0."""

        async def total() -> float:
            return sum([(await worker.metrics()).get(sample, 0.0) for worker in self.workers if worker.running])

        wanted = await total() + count

        async def grown() -> bool:
            return await total() >= wanted

        await until(grown, within=within, what=f"{sample} grows by {count:g}")

    async def leases_of(self, worker: Child) -> list[str]:
        """Return the leases a worker holds, as the arguments of its scripts name them: the lease and the token."""
        tokens = await self.redis_client.call(*(("GET", KEYS.lease(p)) for p in range(PARTITIONS)))
        held = [(p, token.decode()) for p, token in enumerate(tokens) if token is not None]
        return [f'"{KEYS.lease(p)}" "{token}"' for p, token in held if f"-{worker.process.pid}-" in token]

    async def forget_owners(self) -> None:
        """Delete all ownership, as in a new store; what waits stays."""
        names = [name for p in range(PARTITIONS) for name in (KEYS.lease(p), KEYS.fence(p))]
        await self.redis_client.call(("DEL", *names, KEYS.workers))

    def _expired(self, flow: Flow) -> dict[str, set[str]]:
        lines = [json.loads(line) for child in self._known for line in _EXPIRED.findall(child.log.read_text())]
        known = {(each.hub, told): mark for each in flow.producers for told, mark in each.marks.items()}
        found: dict[str, set[str]] = defaultdict(set)
        for line in lines:
            if (line["hub"], line["id"]) in known:
                found[line["hub"]].add(known[line["hub"], line["id"]])
        return found

    async def _dead(self) -> dict[str, set[str]]:
        return marks_of((letter.flow, letter.entry.data) for letter in await self.dead_letters())

    # Healing ----------------------------------------------------------------------------------------------------------

    async def heal(self) -> None:
        """Undo whatever a test did: all processes run, nothing is broken or waits, no worker is on its guard."""
        self.store.heal()
        self.service.heal()
        for child in self.children:
            if child.running:
                child.thaw()
        await self.redis.revive()
        await self.redis_client.call(("CONFIG", "SET", "maxmemory", "0"))
        await self.faults()
        await self.quota(0)
        if not self.ingress.running:
            await self.revive_ingress()
        await self._replace_spoilt()
        await self._control("DELETE", "journal")
        await self.all_work()

    async def _replace_spoilt(self) -> None:
        # A pace that was cut grows slowly, and a queue that is not empty belongs to a test that failed: take new ones.
        running = [worker for worker in self.workers if worker.running]
        left = bool(await self.depth())
        all_of_them = left or len(running) > WORKERS
        spoilt = [each for each in running if all_of_them or each in self._special or await _is_on_guard(each)]
        await asyncio.gather(*(worker.kill() for worker in spoilt))
        self.workers = [worker for worker in running if worker not in spoilt]
        if left or await self.dead_letters():
            names = [name for p in range(PARTITIONS) for name in (KEYS.dead(p), KEYS.dead_size(p), KEYS.size(p))]
            names += [KEYS.stream(p, f) for p in range(PARTITIONS) for f in await flows_of(self.redis_client, p)]
            await self.redis_client.call(*(("DEL", name) for name in names))
        if spoilt:  # what a dead worker leaves behind would hold up the new ones for a lease's lifetime
            await self.forget_owners()
        if len(self.workers) < WORKERS:
            await self.add_workers(WORKERS - len(self.workers))


async def _is_on_guard(worker: Child) -> bool:
    """Return whether a worker holds back because of what it met: a rate limit, a breaker."""
    samples = await worker.metrics()
    limited = [value for name, value in samples.items() if name.startswith("fanout_rate_limit") and value != inf]
    return bool(limited) or any(value for name, value in samples.items() if name.startswith("fanout_breaker_open"))


def lines_of(child: Child, event: str) -> list[dict[str, Any]]:
    """Return what a process logged of one event."""
    lines = [line for line in child.log.read_text().splitlines() if f'"event":"{event}"' in line.replace(": ", ":")]
    return checked(lines)


def times_of(child: Child, event: str) -> list[float]:
    """Return when a process logged an event, in unix seconds."""
    return [datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines_of(child, event)]


def marks_of(entries: Iterable[tuple[str, bytes]]) -> dict[str, set[str]]:
    """Return the marks of queue entries, each with its flow, by hub."""
    found: dict[str, set[str]] = defaultdict(set)
    for flow, data in entries:
        mark = mark_in(data)
        assert mark is not None, data
        found[hub_of_flow(flow)].add(mark)
    return found


@asynccontextmanager
async def standing(directory: Path) -> AsyncIterator[Standing]:
    """Run it for the time of the block; at the end no process, connection or file of it is left."""
    redis = RedisServer()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.stop)
        await redis.start()
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30.0))
        emulator = Child("emulator", free_port(), directory / "emulator.log", http)
        ways = [await stack.enter_async_context(proxy(target)) for target in (redis.socket, emulator.port)]
        made = Standing(redis, emulator, http, directory, (ways[0], ways[1]))
        stack.push_async_callback(made.aclose)
        await emulator.start(["emulate", "--port", str(emulator.port)], {})
        await made.start_ingress()
        await emulator.ready("/emulator/stats")
        yield made
