"""Inputs that are hard on delivery, each under its number in docs/guarantees.md, with real processes and a real Redis.

Rule guarded: what is judged is what Redis and the far side can count: bytes, connections, leases, arrivals. Where a
time is the promise its bound is several times what is promised, for a busy machine, and a fraction of what the fault
would take.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
import pytest

from tests.flow.child import Child
from tests.flow.oracle import examine
from tests.flow.stack import PARTITIONS, Stack
from tests.flow.traffic import Item, batches, message, partition_of_user, sent_of
from tests.flow.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]
_MIB = 1 << 20
_BURST = 400
_MOST_OPENED = 8  # connections to Redis that the requests of an ingress share
_MAX_CLIENTS = 64


@asynccontextmanager
async def configured(stack: Stack, name: str, value: int) -> AsyncIterator[None]:
    """Set an option of Redis for the block."""
    _, before = await stack.redis_client.ask("CONFIG", "GET", name)
    await stack.redis_client.ask("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        await stack.redis_client.ask("CONFIG", "SET", name, before)


async def used_bytes(stack: Stack) -> int:
    info: bytes = await stack.redis_client.ask("INFO", "memory")
    return next(int(line.partition(b":")[2]) for line in info.splitlines() if line.startswith(b"used_memory:"))


async def clients(stack: Stack) -> Sequence[dict[str, str]]:
    """Return what Redis knows of each of its connections."""
    listed: bytes = await stack.redis_client.ask("CLIENT", "LIST", "TYPE", "normal")
    return [dict(field.split("=", 1) for field in line.split(" ")) for line in listed.decode().splitlines()]


# 11 -------------------------------------------------------------------------------------------------------------------


async def test_11_dead_letters_in_a_small_redis_leave_the_front_door_open(stack: Stack, hub: str) -> None:
    """More dead letters than the whole Redis may hold, and what is sent then is taken and delivered."""
    room, size, count, at_once = 16 * _MIB, 40_000, 640, 80
    async with configured(stack, "maxmemory", await used_bytes(stack) + room):
        both = await stack.add_whole()  # what it may store follows from maxmemory
        await stack.faults({"kind": "status", "status": 400, "match": {"path": "/users/bad"}})
        for start in range(0, count, at_once):
            numbers = range(start, start + at_once)
            bad: list[dict[str, object]] = [
                {"userId": f"bad{n}", "target": "t", "arguments": ["x" * size]} for n in numbers
            ]
            await taken_by(stack, both, hub, bad)
            await stack.drained()
        await taken_by(stack, both, hub, [{"userId": "good", "target": "t", "arguments": ["x" * size]}])
        await stack.drained()
        metrics = await both.metrics()
        assert metrics['fanout_dead_total{reason="refused"}'] == count
        assert metrics['fanout_delivered_total{operation="sendToUser"}'] == 1
        kept = await stack.dead_letters()
        assert 0 < len(kept) * size < room / 2  # the newest are still there, the oldest made room


async def taken_by(stack: Stack, ingress: Child, hub: str, items: Sequence[dict[str, object]]) -> None:
    answer = await stack.http.post(f"{ingress.url}/v1/hubs/{hub}/messages", json=items)
    assert answer.status_code == 202, answer.text


# 13 -------------------------------------------------------------------------------------------------------------------


async def test_13_a_burst_during_a_stall_of_redis_leaves_connections_for_others(stack: Stack, hub: str) -> None:
    """400 requests at once while Redis stands still; then a worker starts at a Redis that takes few connections."""
    before = len(await clients(stack))
    async with configured(stack, "maxclients", _MAX_CLIENTS):
        stack.redis.freeze()
        try:
            async with asyncio.TaskGroup() as group:
                posts = [group.create_task(one_post(stack.ingress, hub, number)) for number in range(_BURST)]
                await until(lambda: serves(stack.ingress, _BURST), within=20, what="all requests are there")
                stack.redis.thaw()
        finally:
            stack.redis.thaw()
        statuses = [post.result() for post in posts]
        assert set(statuses) <= {b"202", b"503"}  # 503 if the stall was longer than Redis may be silent
        assert len(await clients(stack)) <= before + _MOST_OPENED
        worker = await stack.add_worker()
        await stack.drained()
        delivered = (await worker.metrics())['fanout_delivered_total{operation="sendToUser"}']
        assert delivered >= statuses.count(b"202") > 0


async def one_post(ingress: Child, hub: str, number: int) -> bytes:
    """POST a single message on a connection of its own; return the status."""
    body = orjson.dumps({"userId": f"u{number}", "target": "t", "arguments": [number]})
    reader, writer = await asyncio.open_connection("127.0.0.1", ingress.port)
    writer.write(b"POST /v1/hubs/%b/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n" % hub.encode())
    writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head.split(b" ", 2)[1]


async def serves(ingress: Child, connections: int) -> bool:
    return (await ingress.metrics())["fanout_http_connections"] > connections


# 14 -------------------------------------------------------------------------------------------------------------------


async def test_14_a_cut_connection_to_redis_starts_no_partition_over(stack: Stack, hub: str) -> None:
    """Beside 40 calls that hang, the worker's connections are cut one by one; the others never wait for either."""
    worker = await stack.add_worker(attempt_timeout=60, lease_seconds=10)
    await stack.faults({"kind": "latency", "seconds": 20.0, "match": {"path": "/users/slow"}})
    hanging = [message(hub, number, "users", f"slow{number}") for number in range(40)]
    await stack.post(hub, batches(hanging, 40)[0])
    await stack.arrived(hub, len(hanging))
    leases = await stack.tokens()
    users = user_of_each_partition(hub)
    healthy: list[Item] = []
    for number, victim in enumerate([each["id"] for each in await clients(stack) if "b" in each["flags"]]):
        await stack.redis_client.ask("CLIENT", "KILL", "ID", victim)
        some = [message(hub, 1000 + number * 100 + place, "users", user) for place, user in enumerate(users)]
        healthy += some
        await stack.post(hub, batches(some, len(some))[0])
        await stack.arrived(hub, len(hanging) + len(healthy), within=5.0)
    assert healthy
    assert await stack.tokens() == leases
    assert (await worker.metrics())["fanout_leases_lost_total"] == 0
    await stack.faults()
    examine(sent_of(healthy), [call for call in await stack.journal(hub) if "/slow" not in call.target]).check()
    await worker.kill()


def user_of_each_partition(hub: str) -> Sequence[str]:
    found: dict[int, str] = {}
    for number in range(1000):
        found.setdefault(partition_of_user(hub, f"user {number}", PARTITIONS), f"user {number}")
    assert len(found) == PARTITIONS
    return list(found.values())


# 17 -------------------------------------------------------------------------------------------------------------------


async def test_17_one_message_for_ten_thousand_users_is_stored_once(stack: Stack, hub: str) -> None:
    """Redis grows by a body for each partition, and by 100 bytes and a name for each user."""
    users, size = [f"user-{number:05}" for number in range(10_000)], 6000
    await stack.post(hub, {"userId": "u", "target": "t", "arguments": ["warm"]})
    before = await used_bytes(stack)
    await stack.post(hub, {"userIds": users, "target": "t", "arguments": ["x" * size]})
    grown = await used_bytes(stack) - before
    assert await stack.depth() == len(users) + 1
    assert grown <= len(users) * (100 + len(users[0])) + PARTITIONS * (size + 100), grown
