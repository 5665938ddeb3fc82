"""What a soak runs against: Redis behind a proxy, the emulator, two ingresses and two workers, each a real process.

Rule guarded: of each kind one process lives through the whole run, so that its memory can be judged; the other one is
there to be killed. Redis acknowledges what its append-only file has, so a killed one has lost nothing of it.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from emulator.config import connection_string
from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.queue.dead_letters import DeadLetter, DeadLetters
from fanout.queue.keys import KEYS
from fanout.redis.open import open_redis
from tests.faults.proxy import Proxy, proxy
from tests.flow.child import Child
from tests.flow.oracle import Call
from tests.flow.redis_server import RedisServer
from tests.free_ports import free_port

CONCURRENCY = 32  # of each worker
LASTING, MORTAL = "b", "a"
_PARTITIONS = 16
_SETTINGS = {
    "FANOUT_PARTITIONS": str(_PARTITIONS),
    "FANOUT_LEASE_SECONDS": "2",
    "FANOUT_CONCURRENCY": str(CONCURRENCY),
    "FANOUT_ATTEMPT_TIMEOUT": "3",
    "FANOUT_RETRY_BASE": "0.05",
    "FANOUT_RETRY_CAP": "1",
    "FANOUT_DEDUP_WINDOW": "60",  # so that what Redis remembers stops growing after a minute
    "FANOUT_TOKEN_CACHE": "1000",  # same for the tokens of a worker
    "FANOUT_LOG_LEVEL": "warning",
}
_PAGE = 1000
_KIB = 1024


class Plant:
    """The processes by name: `ingress a`, `worker b` and so on; made by `running_plant`."""

    def __init__(self, redis: RedisServer, between: Proxy, directory: Path, http: httpx.AsyncClient) -> None:
        self.redis = redis
        self.proxy = between
        self.http = http
        self.emulator = Child("emulator", free_port(), directory / "emulator.log", http)
        self.children: dict[str, Child] = {}
        self._directory = directory
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Plant of {', '.join(self.children)}>"

    async def start(self, role: str, which: str) -> None:
        """Start one process in the place of the one before it, and return once it answers."""
        name = f"{role} {which}"
        log = self._directory / f"{role}-{which}-{next(self._numbers)}.log"
        child = Child(name, free_port(), log, self.http)
        settings = {
            **_SETTINGS,
            "FANOUT_AUTH": "none",
            "FANOUT_LAME_DUCK": "0",
            "AzureSignalRConnectionString": connection_string(self.emulator.port),
            "FANOUT_REDIS_URL": f"redis://127.0.0.1:{self.proxy.port}/0",
        }
        await child.start(["serve", "--role", role, "--port", str(child.port)], settings)
        await child.ready("/livez")
        self.children[name] = child

    async def post(self, ingress: str, hub: str, body: bytes, key: str) -> int:
        """POST a batch through one ingress and give the status; 0 when there was no answer."""
        child = self.children.get(f"ingress {ingress}")
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        try:
            url = f"{child.url if child else ''}/v1/hubs/{hub}/messages"
            return (await self.http.post(url, content=body, headers=headers, timeout=5.0)).status_code
        except httpx.HTTPError:
            return 0

    async def control(self, method: str, topic: str, document: Any = None) -> Any:
        """Call the emulator's control API; it may be frozen for a while."""
        url = f"{self.emulator.url}/emulator/{topic}"
        answer = await self.http.request(method, url, json=document, timeout=60.0)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def calls_since(self, last: int) -> tuple[list[tuple[str, Call]], int]:
        """Return a page of calls after sequence number `last`, each with its hub, and the last number."""
        page = await self.control("GET", f"journal?since={last}&limit={_PAGE}")
        return [(entry["hub"], Call.of(entry)) for entry in page["entries"]], page["last"] or last

    async def backlog(self) -> int | None:
        """Count what waits in the streams, None while Redis does not answer."""
        found = await self._asked(*(("SMEMBERS", KEYS.flows(p)) for p in range(_PARTITIONS)))
        streams = [stream for some in found or () for stream in some]
        lengths = await self._asked(*(("XLEN", stream) for stream in streams)) if streams else []
        return None if found is None or lengths is None else sum(lengths)

    async def redis_memory(self) -> int | None:
        """Return the bytes Redis says it uses, None while it does not answer."""
        reply = await self._asked(("INFO", "memory"))
        if reply is None:
            return None
        if isinstance(reply[0], Mapping):
            return int(reply[0]["used_memory"])
        found = re.search(rb"used_memory:(\d+)", reply[0])
        return None if found is None else int(found[1])

    async def dead_letters(self) -> list[DeadLetter]:
        """Return all dead letters."""
        redis_client = open_redis(self.redis.url, SystemClock())
        try:
            letters = DeadLetters(redis_client)
            return [letter for partition in range(_PARTITIONS) for letter in await letters.oldest(partition)]
        finally:
            await redis_client.aclose()

    def memory(self) -> dict[str, int]:
        """Return the bytes of RAM (VmRSS) of every process that runs."""
        processes = {name: child.process for name, child in self.children.items() if child.running}
        processes |= {"redis": self.redis.process, "emulator": self.emulator.process}
        return {name: size for name, process in processes.items() if (size := _resident(process.pid))}

    def ended(self) -> list[str]:
        """Name the processes that ended without having been killed."""
        codes = {name: child.process.returncode for name, child in self.children.items()}
        return [f"{name} ended with {code}" for name, code in codes.items() if code is not None and code >= 0]

    async def _asked(self, *commands: tuple[str | bytes, ...]) -> list[Any] | None:
        redis_client = open_redis(self.redis.url, SystemClock())
        try:
            async with asyncio.timeout(2):
                return list(await redis_client.call(*commands))
        except (QueueError, TimeoutError):
            return None
        finally:
            await redis_client.aclose()

    async def stop(self) -> None:
        """End everything but Redis."""
        for child in [*self.children.values(), self.emulator]:
            if child.running:
                await child.kill()


@asynccontextmanager
async def running_plant(directory: Path) -> AsyncIterator[Plant]:
    """Run all of it for the time of the block; logs go to `directory`."""
    limits = httpx.Limits(max_connections=None)
    redis = RedisServer()
    path = Path(redis.url.removeprefix("unix://").partition("?")[0])
    async with httpx.AsyncClient(trust_env=False, limits=limits) as http, proxy(path) as between:
        plant = Plant(redis, between, directory, http)
        try:
            await redis.start()
            await plant.emulator.start(["emulate", "--port", str(plant.emulator.port)], {})
            await plant.emulator.ready("/emulator/stats")
            async with asyncio.TaskGroup() as group:
                for role in ("ingress", "worker"):
                    for which in (MORTAL, LASTING):
                        group.create_task(plant.start(role, which))
            yield plant
        finally:
            await plant.stop()
            await redis.stop()


def _resident(pid: int) -> int:
    try:
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * _KIB if found else 0
