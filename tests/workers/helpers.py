"""Parts of a worker for tests: partitions and entries made by hand, a log that can be read, queues on a real store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fanout.clock import Clock
from fanout.log import Logger
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import Entry
from fanout.queue.keys import hub_of, lane_of, partition_of
from fanout.queue.leases import Lease, Leases
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from fanout.signalr.message import Message, RouteClass, Scope
from tests.builders import a_message, an_entry
from workers.partition import BufferedEntry, OwnedFlow, OwnedPartition
from workers.settler import Settler

PARTITIONS = 2


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.warned: set[str] = set()

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = error = debug

    def warning(self, event: str, **fields: Any) -> None:
        self.warned.add(event)
        self.lines.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the fields of each line of one event."""
        return [fields for name, fields in self.lines if name == event]

    @property
    def log(self) -> Logger:
        """The same object, typed as the code under test expects it."""
        return cast("Logger", self)


def a_partition(partition: int = 0, *, expires: float = float("inf"), token: str = "w:1") -> OwnedPartition:
    return OwnedPartition(Lease(partition, token, expires))


def a_flow(owned: OwnedPartition | None = None, name: str = "uchat") -> OwnedFlow:
    """Return a flow of a partition, made when the partition does not have it yet."""
    partition = owned or a_partition()
    if name not in partition.flows:
        partition.flows[name] = OwnedFlow(partition, name)
    return partition.flows[name]


def buffered_in(
    owned: OwnedPartition, sequence: int, to: str = "alice", *, entry: Entry | None = None, flow: str = "uchat"
) -> BufferedEntry:
    """Make an entry of 1000 bytes with the stream id `<sequence>-0` that was stored at second 1000."""
    content = entry or an_entry(a_message(to, text=str(sequence)))
    return BufferedEntry(a_flow(owned, flow), f"{sequence}-0".encode(), content, 1000.0, 400)


def a_stream(redis_client: RedisClient, clock: Clock, partitions: int = PARTITIONS) -> Stream:
    return Stream(redis_client, clock, partitions=partitions, max_bytes=1 << 30, dedup_window=60.0)


def a_settler(redis_client: RedisClient, clock: Clock, metrics: Metrics | None = None) -> Settler:
    return Settler(a_stream(redis_client, clock), DeadLetters(redis_client), clock, metrics or Metrics())


async def taken(
    redis_client: RedisClient, clock: Clock, *partitions: int, worker: str = "w", lifetime: float = 600.0
) -> list[OwnedPartition]:
    """Take real leases and return their partitions."""
    leases = Leases(redis_client, clock, worker=worker, lifetime=lifetime)
    acquired = await leases.acquire(partitions)
    assert len(acquired) == len(partitions)
    return [OwnedPartition(lease, generation=leases.generation(lease.partition)) for lease in acquired]


def home_of(name: str, partitions: int = PARTITIONS, *, scope: Scope = Scope.USER) -> int:
    """Return the partition in which messages to a user (or a group) of the hub `chat` live."""
    return partition_of(lane_of("chat", a_message(name, scope=scope)), partitions)


def users_in(partition: int, count: int, partitions: int = PARTITIONS) -> list[str]:
    """Return `count` users whose messages belong to `partition`."""
    names = (f"user{i}" for i in range(10_000))
    found = [name for name in names if home_of(name, partitions) == partition]
    return found[:count]


def text_of(entry: Entry) -> str:
    """Return the text that `a_message` put in."""
    assert isinstance(entry.item, Message)
    return entry.item.body.decode().split('["')[1].split('"]')[0]


async def until(true: Callable[[], bool], *, within: float = 5.0) -> None:
    """Let the loop run until `true()` holds; fail when it does not in time."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - what is waited for happens in code that tells nobody
            await asyncio.sleep(0.002)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a lane as breaker and gate see it."""

    key: str = "chat\nua"
    kind: str = "sendToUser"
    is_urgent: bool = False
    route_class: RouteClass = RouteClass.SEND

    @property
    def hub(self) -> str:
        return hub_of(self.key)
