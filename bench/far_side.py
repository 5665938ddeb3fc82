"""The service in front of a far side, and the emulator as one, with what benchmarks ask of it: quota, latency, counts.

Rule guarded: what was delivered and refused is counted by the far side, never by the service that is measured.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from bench.rig import Child, Redis, Rig, answering, free_port
from emulator.config import connection_string

_TAKEN = range(200, 300)
_REFUSED = 429


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls so far: taken, and refused with 429."""

    taken: int
    refused: int

    def since(self, earlier: "Counts") -> "Counts":
        """Return the difference."""
        return Counts(self.taken - earlier.taken, self.refused - earlier.refused)


@dataclass(frozen=True, slots=True)
class FarSide:
    """A running emulator and the product in front of it."""

    http: httpx.AsyncClient
    emulator: str
    ingress: str
    redis: Redis
    workers: tuple[Child, ...]

    async def quota(self, per_second: int, retry_after: float | None = None) -> None:
        """Allow this many calls in each second; 0 ends it."""
        answer = await self.http.put(
            f"{self.emulator}/emulator/quota", json={"perSecond": per_second, "retryAfter": retry_after}
        )
        answer.raise_for_status()

    async def latency(self, seconds: float, path: str = "") -> None:
        """Answer every call (of a path) after this many seconds."""
        rule = {"kind": "latency", "seconds": seconds, "match": {"path": path} if path else {}}
        await self.faults([rule])

    async def faults(self, rules: list[dict[str, Any]]) -> None:
        """Set the emulator's fault rules."""
        (await self.http.put(f"{self.emulator}/emulator/faults", json=rules)).raise_for_status()

    async def counts(self) -> Counts:
        """Count calls as the far side saw them."""
        statuses = (await self.http.get(f"{self.emulator}/emulator/stats")).json()["statuses"]
        taken = sum(count for status, count in statuses.items() if int(status) in _TAKEN)
        return Counts(taken, int(statuses.get(str(_REFUSED), 0)))

    async def journal(self, since: int = 0) -> list[dict[str, Any]]:
        """Return every call since a sequence number."""
        found: list[dict[str, Any]] = []
        while True:
            page = (await self.http.get(f"{self.emulator}/emulator/journal?since={since}&limit=10000")).json()
            if not page["entries"]:
                return found
            found += page["entries"]
            since = page["last"]

    async def post(self, hub: str, items: list[dict[str, Any]]) -> None:
        """Post items to the ingress."""
        answer = await self.http.post(f"{self.ingress}/v1/hubs/{hub}/messages", json=items)
        answer.raise_for_status()


@asynccontextmanager
async def far_side(rig: Rig, *, workers: int, program: str = "service.cli", **settings: str) -> AsyncIterator[FarSide]:
    """Start Redis, emulator, ingress and workers for as long as the block lasts; `program` is what workers run."""
    redis, port = await rig.redis(), free_port()
    emulator = await rig.python("emulator", "service.cli", "emulate", "--port", str(port))
    await answering(emulator, port, "/api/health")
    ingress, started = await service(
        rig, redis, connection_string(port), workers=workers, program=program, settings=settings
    )
    async with httpx.AsyncClient(timeout=60) as http:
        yield FarSide(http, f"http://127.0.0.1:{port}", ingress, redis, started)


async def service(
    rig: Rig, redis: Redis, connection: str, *, workers: int, settings: Mapping[str, str], program: str = "service.cli"
) -> tuple[str, tuple[Child, ...]]:
    """Start an ingress and workers in front of what `connection` names; return the ingress' URL and the workers."""
    environ = {
        "AzureSignalRConnectionString": connection,
        "FANOUT_REDIS_URL": redis.url,
        "FANOUT_LOG_LEVEL": "warning",
        "FANOUT_AUTH": "none",
        "FANOUT_LAME_DUCK": "0",
        **settings,
    }
    front = free_port()
    ingress = await rig.python("ingress", "service.cli", "serve", "--role", "ingress", "--port", str(front), **environ)
    await answering(ingress, front)
    started = []
    for number in range(workers):
        own = free_port()
        worker = await rig.python(
            f"worker{number}", program, "serve", "--role", "worker", "--port", str(own), **environ
        )
        await answering(worker, own)
        started.append(worker)
    return f"http://127.0.0.1:{front}", tuple(started)
