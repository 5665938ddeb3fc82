"""Dead letters to work on: a real store with letters parked at times of the test's choosing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx

from fanout.queue import keys
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import Entry, encode
from fanout.queue.partition import lane_of, partition_of
from fanout.redis.client import Wire
from service.door import Door
from tests.builders import a_message, an_entry
from tests.service.doors import a_door, knocking

PARTITIONS = 4
ADDRESS = "/v1/admin/dead-letters"


async def bury(
    wire: Wire, at: str = "*", *, to: str = "alice", reason: str = "refused", hub: str = "chat", message_id: str = "m1"
) -> str:
    """Park a message with this stream id, as a worker would have, and give the id an operator sees."""
    return await bury_entry(wire, an_entry(a_message(to), hub=hub, message_id=message_id), at, reason=reason)


async def bury_entry(wire: Wire, entry: Entry, at: str = "*", *, reason: str = "refused") -> str:
    """Park any entry in the partition of its lane."""
    partition = partition_of(lane_of(entry.hub, entry.item), PARTITIONS)
    fields: list[str | bytes | int] = ["entry", encode(entry), "id", "1-0", "reason", reason]
    fields += ["status", 400, "attempts", 1, "detail", "HTTP 400"]
    return await bury_row(wire, partition, *fields, at=at)


async def bury_row(wire: Wire, partition: int, *fields: str | bytes | int, at: str = "*") -> str:
    """Park anything at all."""
    stream_id = await wire.ask("XADD", keys.dead(partition), at, *fields)
    return f"{partition}:{stream_id.decode()}"


async def waiting(wire: Wire) -> list[bytes]:
    """Give the bytes of the entries that wait, by partition and order."""
    found = []
    for partition in range(PARTITIONS):
        found += [row[1][1] for row in await wire.ask("XRANGE", keys.stream(partition), "-", "+")]
    return found


async def buried(wire: Wire) -> int:
    """Count the dead letters."""
    return sum(await wire.call(*(("XLEN", keys.dead(partition)) for partition in range(PARTITIONS))))


def a_graveyard(wire: Wire, **settings: Any) -> Door:
    """A door to the dead letters of a store."""
    return replace(a_door(partitions=PARTITIONS, **settings), dead_letters=DeadLetters(wire))


@asynccontextmanager
async def asking(wire: Wire, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that door, every answer held against the document."""
    async with knocking(a_graveyard(wire, **settings)) as client:
        yield client
