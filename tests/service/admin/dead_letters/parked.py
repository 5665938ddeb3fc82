"""Dead letters to work on: a real store with letters parked at times that the test chooses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx

from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import Entry, encode
from fanout.queue.keys import KEYS, flow_of, lane_of, partition_of
from fanout.redis.client import RedisClient
from tests.builders import a_message
from tests.queue_layout import entries_of
from tests.service.apps import App, an_app, client_of

PARTITIONS = 4
ADDRESS = "/v1/admin/dead-letters"


async def park(
    redis_client: RedisClient,
    at: str = "*",
    *,
    to: str = "alice",
    reason: str = "refused",
    hub: str = "chat",
    message_id: str = "m1",
    endpoint: str = "",
) -> str:
    """Park a message with this stream id, as a worker would have, and return the id an operator sees."""
    entry = Entry(hub, message_id, a_message(to), endpoint=endpoint)
    return await park_entry(redis_client, entry, at, reason=reason)


async def park_entry(redis_client: RedisClient, entry: Entry, at: str = "*", *, reason: str = "refused") -> str:
    """Park any entry in the partition of its lane."""
    lane = lane_of(entry.place, entry.item)
    partition = partition_of(lane, PARTITIONS)
    fields: list[str | bytes | int] = ["entry", encode(entry), "id", "1-0", "reason", reason]
    fields += ["flow", KEYS.stream(partition, flow_of(lane))]
    fields += ["status", 400, "attempts", 1, "detail", "HTTP 400"]
    return await park_row(redis_client, partition, *fields, at=at)


async def park_row(redis_client: RedisClient, partition: int, *fields: str | bytes | int, at: str = "*") -> str:
    """Park anything at all."""
    stream_id = await redis_client.ask("XADD", KEYS.dead(partition), at, *fields)
    return f"{partition}:{stream_id.decode()}"


async def queued(redis_client: RedisClient) -> list[bytes]:
    """Return the bytes of the queued entries, by partition and in order."""
    found = []
    for partition in range(PARTITIONS):
        found += [fields[1] for _flow, _id, fields in await entries_of(redis_client, partition)]
    return found


async def parked_count(redis_client: RedisClient) -> int:
    """Count the dead letters."""
    return sum(await redis_client.call(*(("XLEN", KEYS.dead(partition)) for partition in range(PARTITIONS))))


def an_admin_app(redis_client: RedisClient, **settings: Any) -> App:
    """An application with the dead letters of a store."""
    return replace(an_app(partitions=PARTITIONS, **settings), dead_letters=DeadLetters(redis_client))


@asynccontextmanager
async def a_client(redis_client: RedisClient, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that application, every answer validated against the OpenAPI document."""
    async with client_of(an_admin_app(redis_client, **settings)) as client:
        yield client
