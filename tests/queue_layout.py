"""What the queue keeps in Redis, for tests that look past the queue's own methods."""

from typing import Any

from fanout.queue.keys import KEYS, flow_of_stream
from fanout.redis.client import Argument, RedisClient

USERS = "uchat"  # the flow that most tests use: users of the hub "chat"


async def flows_of(redis_client: RedisClient, partition: int) -> list[str]:
    """Return the flows that a partition's set names."""
    return sorted(flow_of_stream(name) for name in await redis_client.ask("SMEMBERS", KEYS.flows(partition)))


async def entries_of(redis_client: RedisClient, partition: int) -> list[tuple[str, bytes, list[bytes]]]:
    """Return flow, id and fields of every entry that waits in a partition, oldest first in each flow."""
    found: list[tuple[str, bytes, list[bytes]]] = []
    for flow in await flows_of(redis_client, partition):
        rows = await redis_client.ask("XRANGE", KEYS.stream(partition, flow), "-", "+")
        found += [(flow, row[0], row[1]) for row in rows]
    return found


async def waiting_in(redis_client: RedisClient, partitions: int) -> int:
    """Count the entries that wait in this many partitions."""
    count = 0
    for partition in range(partitions):
        for flow in await flows_of(redis_client, partition):
            count += await redis_client.ask("XLEN", KEYS.stream(partition, flow))
    return count


async def forget_needs(redis_client: RedisClient) -> None:
    """Forget what partitions ask of the workers that read them; the live workers stand in the same set."""
    members = await redis_client.ask("ZRANGE", KEYS.workers, 0, -1)
    needs = [member for member in members if member.startswith(b"!")]
    await redis_client.call(*(("ZREM", KEYS.workers, member) for member in needs))


async def put(
    redis_client: RedisClient, partition: int, *fields: Argument, flow: str = USERS, stream_id: Argument = "*"
) -> Any:
    """Add an entry with these fields past the queue, as another program would; return its id."""
    stream = KEYS.stream(partition, flow)
    commands = (
        ("XADD", stream, stream_id, *fields),
        ("SADD", KEYS.flows(partition), stream),
        ("XADD", KEYS.wake(partition), "MAXLEN", 1, "*", "f", stream),
    )
    return (await redis_client.call(*commands))[0]
