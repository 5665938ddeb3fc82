"""A process stays within its memory limit whatever waits in the queue, and drains it: a worker, or all in one process.

Rules guarded: it is the kernel that says how large the process was at most; what was delivered is counted by the far
side and by the queue, which is empty in the end without a dead letter.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fanout.clock import SystemClock
from fanout.queue.entry import Submission
from fanout.queue.stream import Stream
from fanout.redis.address import parse
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.message import Message, Scope
from service.dev.private_redis import private_redis
from tests.builders import an_entry
from tests.faults.proxy import Proxy, proxy
from tests.hostile.ingress import Victim
from tests.hostile.test_memory import until_taken
from tests.service.programs import program, service_at
from tests.workers.scripted_service import ACCEPTED, Received, scripted_service

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600), pytest.mark.slow]
MIB = 2**20
LIMIT = 256 * MIB
LINK = 12_500_000  # bytes a second
_HANGS = 400  # seconds after which it is clear that nothing goes on
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@dataclass
class FarSide:
    """Takes every call, or none while `holds`."""

    holds: bool = False
    taken: int = 0
    refused: int = 0

    async def __call__(self, request: Received) -> bytes:
        if self.holds:
            self.refused += 1
            return UNAVAILABLE
        self.taken += 1
        return ACCEPTED


@dataclass
class World:
    """A queue, the link to it, a far side; `worker` starts one worker, `process` one of another role."""

    url: str
    redis_client: RedisClient
    stream: Stream
    link: Proxy
    far: FarSide
    port: int
    directory: Path

    async def fill(self, items: Sequence[Submission], at_once: int = 8 * MIB) -> None:
        """Append them in portions of about `at_once` bytes; a list is not cut."""
        start = size = 0
        for position, submission in enumerate(items):
            item = submission.entry.item
            size += len(item.body) if isinstance(item, Message) and not submission.list_id else 100
            if size > at_once and submission.list_id == "":
                await self.stream.append(items[start : position + 1])
                start, size = position + 1, 0
        if start < len(items):
            await self.stream.append(items[start:])

    def worker(self) -> AbstractAsyncContextManager[Victim]:
        return self.process("worker")

    @asynccontextmanager
    async def process(self, role: str) -> AsyncIterator[Victim]:
        settings = {
            "AzureSignalRConnectionString": service_at(self.port),
            "FANOUT_REDIS_URL": f"redis://127.0.0.1:{self.link.port}/0",
            "FANOUT_PORT": "0",
            "FANOUT_MEMORY_LIMIT": "256MiB",
            "FANOUT_RETRY_CAP": "1s",
            "FANOUT_LOG_LEVEL": "info" if role == "all" else "error",  # its port is logged
        }
        async with program(self.directory, "serve", "--role", role, **settings) as running:
            victim = Victim(running, await running.port() if role == "all" else 0)
            yield victim
            assert running.process.returncode is None, running.err
            assert victim.peak < LIMIT, f"{victim.peak / MIB:.0f} MiB"

    async def bytes_read(self) -> int:
        """Return how many bytes Redis has sent to all its clients so far."""
        info: bytes = await self.redis_client.ask("INFO", "stats")
        return next(
            int(line.split(b":")[1]) for line in info.splitlines() if line.startswith(b"total_net_output_bytes:")
        )

    async def waiting(self) -> int:
        return sum((await self.stream.depth()).entries)

    async def drained(self, victim: Victim) -> None:
        """Wait until nothing waits; nothing may be dead."""

        async def empty() -> bool:
            return await self.waiting() == 0

        await victim.program.until(empty, within=_HANGS)
        assert (await self.stream.depth()).dead_letters == 0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as exits:
        url = await exits.enter_async_context(private_redis(SystemClock()))
        redis_client = open_redis(url, SystemClock(), time_limit=20.0)
        exits.push_async_callback(redis_client.aclose)
        link = await exits.enter_async_context(proxy(Path(parse(url).path)))
        far = FarSide()
        port = (await exits.enter_async_context(scripted_service(far))).port
        stream = Stream(redis_client, SystemClock(), partitions=16, max_bytes=0, dedup_window=60.0, origin="t-")
        yield World(url, redis_client, stream, link, far, port, tmp_path / "worker")


def single(number: int, size: int, users: int = 1000) -> Submission:
    """One message of `size` bytes to one of `users`."""
    return Submission(an_entry(Message(Scope.USER, f"user{number % users}", b"x" * size)))


def a_list(number: int, targets: int, size: int) -> list[Submission]:
    """The submissions of one item to many users."""
    body = b"x" * size
    return [
        Submission(an_entry(Message(Scope.USER, f"u{number}-{target}", body)), list_id=f"{number}")
        for target in range(targets)
    ]


async def test_large_messages_come_over_a_slow_link(world: World) -> None:
    """4,000 messages of 100 KB over 12.5 MB/s: 32 s for the bodies alone. A read that takes long is no failover."""
    await world.fill([single(number, 100_000) for number in range(4000)])
    world.link.rate = LINK
    before = await world.bytes_read()
    async with world.worker() as victim:
        await world.drained(victim)
    assert world.far.taken == 4000
    assert await world.bytes_read() - before < 1.5 * 4000 * 100_000  # nothing is read again and again


async def test_large_messages_to_destinations_that_are_held_back(world: World) -> None:
    """2,000 messages of 900 KB; the service takes none of them for a while."""
    await world.fill([single(number, 900_000, users=2000) for number in range(2000)])
    world.far.holds = True
    async with world.worker() as victim:
        await victim.program.until(lambda: world.far.refused > 50, within=_HANGS)
        assert await world.waiting() == 2000
        world.far.holds = False
        await world.drained(victim)
    assert world.far.taken == 2000


async def test_fifty_lists(world: World) -> None:
    """50 lists of 1,000 targets, 60 KB each, held back at first."""
    for number in range(50):
        await world.fill(a_list(number, 1000, 60_000))
    world.far.holds = True
    async with world.worker() as victim:
        await victim.program.until(lambda: world.far.refused > 50, within=_HANGS)
        world.far.holds = False
        await world.drained(victim)
    assert world.far.taken == 50_000


async def test_every_size_mixed(world: World) -> None:
    """Messages from nothing to the limit, and lists; held back, then over a link of 50 MB/s."""
    chance = random.Random(4)  # the same sizes each time
    sizes = [0, 100, 1000, 4000, 4096, 4097, 10_000, 65_536, 300_000, 1_000_000]
    await world.fill([single(number, chance.choice(sizes[:7]), users=20_000) for number in range(20_000)])
    await world.fill([single(number, chance.choice(sizes[5:]), users=300) for number in range(600)])
    for number in range(5):
        await world.fill(a_list(number, 1000, 900_000))
    world.far.holds = True
    async with world.worker() as victim:
        await victim.program.until(lambda: world.far.refused > 50, within=_HANGS)
        world.link.rate = 4 * LINK
        world.far.holds = False
        await world.drained(victim)
    assert world.far.taken == 25_600


def a_batch(count: int, size: int) -> bytes:
    """One request with messages of `size` bytes to as many users."""
    content = {"target": "t", "arguments": ["x" * size]}
    return json.dumps([{"userId": f"b{number}", **content} for number in range(count)]).encode()


def a_list_for(number: int, count: int, size: int) -> bytes:
    """One request with a message of `size` bytes to users of its own."""
    users = [f"l{number}-{user}" for user in range(count)]
    return json.dumps({"userIds": users, "target": "t", "arguments": ["x" * size]}).encode()


async def test_a_process_that_takes_in_and_delivers(world: World) -> None:
    """Large messages over a slow link, held back, while large batches and lists are posted at once; `--role all`."""
    await world.fill([single(number, 900_000, users=250) for number in range(250)])
    await world.fill([single(number, 30_000, users=300) for number in range(300)])
    world.link.rate = 16 * LINK
    world.far.holds = True
    lists = [a_list_for(number, 40, 900_000) for number in range(4)]
    bodies = [*[a_batch(300, 50_000), a_batch(17, 900_000), a_batch(17, 900_000)] * 2, *lists]
    async with world.process("all") as victim:
        async with httpx.AsyncClient(base_url=victim.url, timeout=200, trust_env=False) as client:
            answers = await asyncio.gather(*[until_taken(client, body) for body in bodies])
        assert {answer.status_code for answer in answers} == {202}
        assert world.far.refused > 0
        world.far.holds = False
        await world.drained(victim)
    assert world.far.taken == 550 + 2 * (300 + 17 + 17) + 4 * 40
