"""Whole services under load: ours, ours with another sender, the naive one; each has its own Redis and sink.

Rules guarded: a stack is warm before anything counts (every user's token signed, every connection open, every import
done); a flow ends when the sink has got every message and the queue is empty again, so settling is in the figures; what
did not arrive fails the run.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.front import Front
from bench.load import post_all, write_all
from bench.messages import PATH, USERS, batches
from bench.rig import BenchError, Child, Redis, Rig, answering, free_port
from bench.sink import Sink

Sample = Mapping[str, float]
BATCH = 100
_CALLERS = {1: 32}  # connections by batch size; else
_FEW_CALLERS = 8
_DRAIN_WITHIN = 300.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a stack is made of. `sender` is pool or aiohttp; `environ` are settings of the product."""

    name: str
    users: int = USERS
    latency: float = 0.0  # milliseconds
    naive: bool = False
    sender: str = "pool"
    redis: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()
    has_worker: bool = True
    front: Literal["", "plain", "tls"] = ""  # with nginx between worker and sink


@dataclass(frozen=True, slots=True)
class Stack:
    """One running service."""

    shape: Shape
    sink: Sink
    redis: Redis
    ingress: Child
    worker: Child | None
    port: int

    @classmethod
    async def start(cls, rig: Rig, shape: Shape, server: str | None = None) -> "Stack":
        """Start one, with this Redis binary, and warm it up."""
        sink, redis, port = await Sink.start(rig), await rig.redis(*shape.redis, binary=server), free_port()
        if shape.front:
            sink = await _fronted(rig, sink, tls=shape.front == "tls")
        start = _start_naive if shape.naive else _start_ours
        ingress, worker = await start(rig, shape, sink, redis, port)
        stack = cls(shape, sink, redis, ingress, worker, port)
        await stack._warm_up()
        await sink.set_latency(shape.latency)
        return stack

    async def flow(self, count: int, size: int = BATCH) -> Sample:
        """Send `count` messages through it, `size` a request; CPU in microseconds per message and messages a second."""
        bodies = list(batches(count, size, users=self.shape.users))
        return await self.flow_of(iter(bodies), count, size)

    async def flow_of(self, bodies: Iterator[bytes], count: int, size: int = BATCH) -> Sample:
        """Send these bodies, `count` messages together."""
        return await self._flow(self.post(bodies, size), count)

    async def flow_of_requests(self, requests: Iterator[bytes], count: int, connections: int) -> Sample:
        """Send these whole requests, one message each, over so many connections."""
        return await self._flow(write_all(self.port, requests, connections=connections), count)

    async def _flow(self, sending: Coroutine[Any, Any, None], count: int) -> Sample:
        before, answered, begin = self.cpu(), await self.sink.answered(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            arriving = group.create_task(self.sink.reached(answered + count, _DRAIN_WITHIN))
            group.create_task(sending)
        end = arriving.result()
        await self.settled()
        used = {name: (cpu - before[name]) for name, cpu in self.cpu().items()}
        wall = end - begin
        sample = {f"{name}_us": cpu * 1e6 / count for name, cpu in used.items()}
        sample["total_us"] = sample["ingress_us"] + sample["worker_us"] + sample["redis_us"]
        return sample | {"rate": count / wall, "sink_share": used["sink"] / wall, "worker_share": used["worker"] / wall}

    async def append(self, count: int, size: int) -> Sample:
        """Fill the queue without anybody who empties it; CPU per message and per request."""
        bodies = list(batches(count, size, users=self.shape.users))
        await self.redis.clear()
        before, begin = self.cpu(), time.monotonic()
        await self.post(iter(bodies), size)
        wall = time.monotonic() - begin
        used = {name: (cpu - before[name]) for name, cpu in self.cpu().items()}
        return {f"{name}_us": cpu * 1e6 / count for name, cpu in used.items()} | {"rate": count / wall}

    async def post(self, bodies: Iterator[bytes], size: int) -> None:
        """Post all of these, `size` messages each, as fast as they are taken."""
        await post_all(self.port, PATH, bodies, connections=_CALLERS.get(size, _FEW_CALLERS))

    async def _warm_up(self) -> None:
        if self.worker is None:
            await self.post(batches(2 * USERS, BATCH), BATCH)
            await self.redis.clear()
        else:
            count = 300 if self.shape.naive else max(2 * USERS, self.shape.users)
            await self.flow_of(batches(count, BATCH, users=self.shape.users), count)

    async def settled(self) -> None:
        """Wait until the queue is empty."""
        deadline = time.monotonic() + _DRAIN_WITHIN
        while await self._left():
            if time.monotonic() > deadline:
                raise BenchError(f"{self.shape.name}: the queue does not become empty")
            await asyncio.sleep(0.01)

    async def _left(self) -> int:
        if self.shape.naive:
            return int(await self.redis.client.xlen("naive:stream"))
        return await self.redis.waiting()

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process so far."""
        worker = self.worker.cpu() if self.worker is not None else 0.0
        sink = self.sink.child.cpu()
        return {"ingress": self.ingress.cpu(), "worker": worker, "redis": self.redis.cpu(), "sink": sink}


async def _start_ours(rig: Rig, shape: Shape, sink: Sink, redis: Redis, port: int) -> tuple[Child, Child | None]:
    ingress = await start_ingress(rig, shape, sink, redis, port)
    return ingress, await start_worker(rig, shape, sink, redis) if shape.has_worker else None


async def start_ingress(rig: Rig, shape: Shape, sink: Sink, redis: Redis, port: int) -> Child:
    """Start an ingress of this shape on this port."""
    ingress = await rig.python("ingress", *_served("service.cli", "ingress", port), **_environ(shape, sink, redis))
    await answering(ingress, port)
    return ingress


async def start_worker(rig: Rig, shape: Shape, sink: Sink, redis: Redis) -> Child:
    """Start a worker of this shape."""
    module = "service.cli" if shape.sender == "pool" else f"bench.references.{shape.sender}_worker"
    port = free_port()
    worker = await rig.python("worker", *_served(module, "worker", port), **_environ(shape, sink, redis))
    await answering(worker, port)
    return worker


def _served(module: str, role: str, port: int) -> tuple[str, ...]:
    return module, "serve", "--role", role, "--port", str(port)


def _environ(shape: Shape, sink: Sink, redis: Redis) -> dict[str, str]:
    fixed = {"AzureSignalRConnectionString": sink.connection_string(), "FANOUT_REDIS_URL": redis.url}
    if sink.authority:
        fixed["FANOUT_SERVICE_CA"] = sink.authority
    return fixed | {"FANOUT_AUTH": "none", "FANOUT_LAME_DUCK": "0"} | dict(shape.environ)


async def _fronted(rig: Rig, sink: Sink, *, tls: bool) -> Sink:
    front = await Front.start(rig, sink.port)
    if not tls:
        return replace(sink, endpoint=f"http://127.0.0.1:{front.sink_plain}")
    return replace(sink, endpoint=f"https://127.0.0.1:{front.sink_tls}", authority=str(front.authority))


async def _start_naive(rig: Rig, shape: Shape, sink: Sink, redis: Redis, port: int) -> tuple[Child, Child | None]:
    del shape
    app = await rig.python("naive-app", "bench.references.naive_app", str(port), redis.url)
    await answering(app, port)
    endpoint = f"http://127.0.0.1:{sink.port}"
    return app, await rig.python("naive-worker", "bench.references.naive_worker", redis.url, endpoint)
