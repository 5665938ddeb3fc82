"""The whole product around one test: a Redis, an emulator, an ingress, and as many workers as asked for.

Rule guarded: the flow and fault tests see what an operator sees. Every part is a real process, reached over its real
door; what the tests know comes from HTTP answers, the emulator's journal, the metrics and the keys in Redis.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from emulator.config import connection_string
from fanout.clock import SystemClock
from fanout.queue.dead_letters import DeadLetter, DeadLetters
from fanout.queue.keys import KEYS
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from tests.flow.child import Child
from tests.flow.oracle import Call
from tests.flow.redis_server import RedisServer
from tests.flow.waiting import until
from tests.free_ports import free_port
from tests.queue_layout import forget_needs, waiting_in

PARTITIONS = 16
COUNTED_HUB = "counted"  # the one hub whose metrics are kept apart
LEASE = 3.0  # of a worker that is killed or stands still in its test
_LONG_LEASE = 20.0  # of all others: where a lease runs out on a busy machine, what is in flight comes again
_PAGE = 1000
_STANDARD = "OTEL_"  # begins the variables that a library reads
_SHARED_VARIABLES = ("AzureSignalRConnectionString", "HTTPS_PROXY")  # settings that are not named FANOUT_...
# The settings of every process of a stack; single workers may get others.
_SETTINGS = {
    "FANOUT_PARTITIONS": str(PARTITIONS),
    "FANOUT_LEASE_SECONDS": str(_LONG_LEASE),
    "FANOUT_RETRY_BASE": "0.05",
    "FANOUT_RETRY_CAP": "0.5",
    "FANOUT_LOG_LEVEL": "warning",
    "FANOUT_AUTH": "none",
    "FANOUT_METRICS_HUBS": COUNTED_HUB,
    "FANOUT_LAME_DUCK": "0",  # no load balancer has to notice
}


class Stack:
    """A running product; made by `running_stack`.

    `redis`, `emulator` and `ingress` are always there. Workers come with `add_worker` and are ended by `reset`.
    """

    def __init__(self, redis: RedisServer, emulator: Child, http: httpx.AsyncClient, directory: Path) -> None:
        self.redis = redis
        self.emulator = emulator
        self.workers: list[Child] = []
        self.http = http
        self._directory = directory
        self._numbers = itertools.count(1)
        self._redis = open_redis(redis.url, SystemClock())
        self._ingress: Child | None = None
        self._common: Child | None = None

    def __repr__(self) -> str:
        return f"<Stack {self.emulator!r}, {self._ingress!r}, {self.workers!r}>"

    @property
    def ingress(self) -> Child:
        assert self._ingress is not None
        return self._ingress

    @property
    def redis_client(self) -> RedisClient:
        """A connection of the test's own to the Redis."""
        return self._redis

    @property
    def children(self) -> list[Child]:
        """Every process that is or was part of it since the last `reset`."""
        return [self.emulator, *([self._ingress] if self._ingress else []), *self.workers]

    # Sending ----------------------------------------------------------------------------------------------------------

    async def try_post(self, hub: str, items: Any, **headers: str) -> httpx.Response:
        """POST a batch, `items` as a value or as the body's own bytes; header names have `_` for `-`."""
        content = items if isinstance(items, bytes) else orjson.dumps(items)
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.http.post(f"{self.ingress.url}/v1/hubs/{hub}/messages", content=content, headers=sent)

    async def post(self, hub: str, items: Any, **headers: str) -> dict[str, Any]:
        """POST a batch that has to be taken whole, and give the document of the 202."""
        answer = await self.try_post(hub, items, **headers)
        assert answer.status_code == 202, answer.text
        document: dict[str, Any] = answer.json()
        assert not document["rejected"], document
        return document

    # The service's side -----------------------------------------------------------------------------------------------

    async def journal(self, hub: str) -> list[Call]:
        """Return every call to one hub in order of arrival."""
        return [Call.of(entry) async for entry in self._entries(0) if entry["hub"] == hub.lower()]

    async def faults(self, *rules: Mapping[str, Any]) -> None:
        """Inject these faults from now on, in place of those before; none ends them."""
        await self._control("PUT", "faults", list(rules))

    async def fault_hits(self) -> list[int]:
        """Return how many calls each rule in force has hit."""
        return [rule["hits"] for rule in (await self._control("GET", "faults")).json()]

    async def quota(self, per_second: int, retry_after: float | None = None) -> None:
        """Answer 429 past this many calls a second; 0 ends it."""
        await self._control("PUT", "quota", {"perSecond": per_second, "retryAfter": retry_after})

    async def stats(self) -> dict[str, Any]:
        """Return the emulator's counters since the last `reset`."""
        stats: dict[str, Any] = (await self._control("GET", "stats")).json()
        return stats

    async def arrived(self, hub: str, count: int, *, within: float = 30.0) -> None:
        """Wait until this many calls to a hub have arrived."""
        last = found = 0

        async def enough() -> bool:
            nonlocal last, found
            async for entry in self._entries(last):
                last = entry["sequence"]
                found += entry["hub"] == hub.lower()
            return found >= count

        await until(enough, within=within, what=f"{count} calls to {hub}")

    # The queue --------------------------------------------------------------------------------------------------------

    async def depth(self) -> int:
        """Count what waits or is not yet settled."""
        return await waiting_in(self._redis, PARTITIONS)

    async def drained(self, *, within: float = 30.0) -> None:
        """Wait until nothing waits."""

        async def empty() -> bool:
            return await self.depth() == 0

        await until(empty, within=within, what="the queue is empty")

    async def dead_letters(self) -> list[DeadLetter]:
        """Return all dead letters."""
        letters = DeadLetters(self._redis)
        return [letter for partition in range(PARTITIONS) for letter in await letters.oldest(partition)]

    async def tokens(self) -> dict[int, str]:
        """Return the token of each partition that has an owner."""
        tokens = await self._redis.call(*(("GET", KEYS.lease(p)) for p in range(PARTITIONS)))
        return {p: token.decode() for p, token in enumerate(tokens) if token is not None}

    async def leases(self) -> dict[int, str]:
        """Return the holder of each partition that has one, by its token without the fence's number."""
        return {partition: token.rpartition(":")[0] for partition, token in (await self.tokens()).items()}

    async def owner_of(self, partition: int) -> Child:
        """Return the worker that holds a partition; its process id is part of the lease's token."""
        holder = (await self.leases())[partition]
        return next(worker for worker in self.workers if f"-{worker.process.pid}-" in holder)

    async def shared_as(self, *shares: int, within: float = 15.0) -> None:
        """Wait until the partitions are held in these numbers, smallest first; without a number, until none is held."""

        async def so() -> bool:
            holders = list((await self.leases()).values())
            return sorted(holders.count(holder) for holder in set(holders)) == list(shares)

        await until(so, within=within, what=f"partitions are shared {shares}")

    # Processes --------------------------------------------------------------------------------------------------------

    async def add_worker(self, **settings: object) -> Child:
        """Start one more worker; settings by their lower-case names, for example `concurrency=8`."""
        return (await self.add_workers(1, **settings))[0]

    async def add_workers(self, count: int, **settings: object) -> list[Child]:
        """Start several workers at the same time."""
        started = [await self._serve("worker", settings) for _ in range(count)]
        self.workers += started
        await asyncio.gather(*(worker.ready() for worker in started))
        return started

    async def add_newer(self, role: str, **settings: object) -> Child:
        """Start one more process of a newer version of the code (see `newer`); it ends with the workers."""
        started = await self._serve(role, settings, "tests.flow.newer")
        self.workers.append(started)
        await started.ready()
        return started

    async def add_whole(self, **settings: object) -> Child:
        """Start one process that is ingress and worker; it ends with the workers."""
        started = await self._serve("all", settings)
        self.workers.append(started)
        await started.ready()
        return started

    async def start_ingress(self) -> None:
        """Start the ingress; it believes who sends x-ms-client-principal-id, for tests with clients."""
        self._ingress = await self._serve("ingress", {"negotiate_user": "principal-id", "negotiate_peers": "127.0.0.1"})
        await self._ingress.ready()

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Return the environment of a process; settings by their lower-case names."""
        return {
            **_SETTINGS,
            "AzureSignalRConnectionString": connection_string(self.emulator.port),
            "FANOUT_REDIS_URL": self.redis.url,
            **{_variable(name): str(value) for name, value in settings.items()},
        }

    async def common_worker(self) -> Child:
        """Return a worker with the common settings that lives on from test to test, its counters at zero."""
        if self._common is None or not self._common.running:
            self._common = await self.add_worker()
        await self._common.count_anew()
        return self._common

    async def retire_common_worker(self) -> None:
        """End the worker that lives on, for a test that wants none or others."""
        if self._common is not None:
            self.workers.remove(self._common)
            if self._common.running:
                await self._common.terminate()
            self._common = None

    async def reset(self) -> None:
        """End the workers, each with exit code 0 unless it was killed, and forget everything that happened."""
        await self.faults()
        await self.quota(0)
        running = [worker for worker in self.workers if worker.running and worker is not self._common]
        self.workers = [] if self._common is None else [self._common]
        await asyncio.gather(*(worker.terminate() for worker in running))
        names: list[bytes] = await self._redis.ask("KEYS", "*")
        forgotten = [name for name in names if not name.endswith((b":lease", b":fence", KEYS.workers.encode()))]
        await self._redis.call(*(("DEL", name) for name in forgotten))
        await forget_needs(self._redis)  # they would go on for as long as a lease lives
        await self._control("DELETE", "journal")

    async def aclose(self) -> None:
        """End everything; a process that still runs is sent SIGTERM and has to exit with 0."""
        running = [child for child in self.children if child.running]
        try:
            await asyncio.gather(*(child.terminate() for child in running))
        finally:
            for child in running:
                if child.running:
                    await child.kill()
            await self._redis.aclose()

    async def _serve(self, role: str, settings: Mapping[str, object], module: str = "service.cli") -> Child:
        number = next(self._numbers)
        child = Child(f"{role} {number}", free_port(), self._directory / f"{role}-{number}.log", self.http)
        await child.start(["serve", "--role", role, "--port", str(child.port)], self.environment(settings), module)
        return child

    async def _entries(self, since: int) -> AsyncIterator[dict[str, Any]]:
        """Walk over the journal's entries after a sequence number, a page at a time."""
        while True:
            page = (await self._control("GET", f"journal?since={since}&limit={_PAGE}")).json()
            for entry in page["entries"]:
                yield entry
            if len(page["entries"]) < _PAGE:
                return
            since = page["last"]

    async def _control(self, method: str, path: str, document: Any = None) -> httpx.Response:
        answer = await self.http.request(method, f"{self.emulator.url}/emulator/{path}", json=document)
        assert answer.is_success, answer.text
        return answer


def _variable(name: str) -> str:
    return name if name in _SHARED_VARIABLES or name.startswith(_STANDARD) else f"FANOUT_{name.upper()}"


@asynccontextmanager
async def running_stack(directory: Path, *, emulator_options: Sequence[str] = ()) -> AsyncIterator[Stack]:
    """Run a stack without workers for the time of the block; logs go to `directory`."""
    redis = RedisServer()
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as http:
        emulator = Child("emulator", free_port(), directory / "emulator.log", http)
        stack = Stack(redis, emulator, http, directory)
        try:
            await redis.start()
            await emulator.start(["emulate", "--port", str(emulator.port), *emulator_options], {})
            await stack.start_ingress()
            await emulator.ready("/emulator/stats")
            yield stack
        finally:
            try:
                await stack.aclose()
            finally:
                await redis.stop()


def logs_of(stack: Stack, most: int = 4000) -> Sequence[tuple[str, str]]:
    """Return the end of each process's log, for the report of a failed test."""
    logs = [(child.name, child.log) for child in stack.children] + [("redis", stack.redis.log)]
    return [(name, log.read_text(errors="replace")[-most:]) for name, log in logs if log.exists()]
