"""`python -m bench.ids`: what a remembered id costs: bytes in Redis, and CPU of Redis and of the process that appends.

Source of the demand: at most 110 bytes in Redis for each remembered `messageId`, and for each item under an
`Idempotency-Key`, also where each item is a request with a key of its own. Entries are stored as the ingress stores
them, with and without ids, then taken away, so that what remains is what remembers the ids.
"""

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product

from bench.command import parser
from bench.rig import PARTITIONS, Redis, Rig
from fanout.clock import SystemClock
from fanout.queue.entry import Entry, Submission
from fanout.queue.stream import Stream
from fanout.redis.open import open_redis
from fanout.signalr.message import Message, Scope
from service.dev.private_redis import find_server

_COUNTS = (8_000, 20_000, 100_000, 400_000)  # the first is where the hashes of the first window are least full
_KINDS = ("none", "messageId", "key, batches of 100", "key, single items")
_BATCH = 100
_USERS = 1000
_WINDOW = 600.0
_BODY = b"x" * 1000


@dataclass(frozen=True, slots=True)
class Cost:
    """What one id costs: bytes that remain in Redis, microseconds of CPU of Redis and of the appending process."""

    size: float
    redis_us: float
    own_us: float


async def main(*counts: int) -> None:
    """Measure each kind of id on each server there is."""
    binaries = dict.fromkeys((find_server(), shutil.which("redis-server") or find_server()))
    print("server         ids        kind                    bytes/id   Redis us/item   own us/item")
    for binary, count, kind in product(binaries, counts or _COUNTS, _KINDS):
        async with Rig.open() as rig:
            redis = await rig.redis(binary=binary)
            client = open_redis(redis.url, SystemClock())
            stream = Stream(client, SystemClock(), partitions=PARTITIONS, max_bytes=0, dedup_window=_WINDOW)
            cost = await measured(redis, stream, kind, count)
            await client.aclose()
        figures = f"{cost.size:>8.1f} {cost.redis_us:>15.2f} {cost.own_us:>13.2f}"
        print(f"{redis.version:<14} {count:<10,} {kind:<22} {figures}", flush=True)


async def measured(redis: Redis, stream: Stream, kind: str, count: int) -> Cost:
    """Store `count` items, take the entries away, and look at what is left. The server is one that held nothing yet."""
    await stream.append(_batch("none", 0, _BATCH))  # what the scripts and the connection take is no id's
    await _take_away(redis)  # else what its entries take would be subtracted from what the ids take
    before, cpu, own = await redis.memory(), redis.cpu(), time.process_time()
    step = 1 if kind == "key, single items" else _BATCH
    for start in range(0, count, step):
        if kind.startswith("key"):
            await stream.claim_key("chat", f"caller\nkey-{start:08}", _print_of(start))
        await stream.append(_batch(kind, start, step))
    cpu, own = redis.cpu() - cpu, time.process_time() - own
    await _take_away(redis)
    size = await redis.memory() - before
    return Cost(size / count, cpu * 1e6 / count, own * 1e6 / count)


async def _take_away(redis: Redis) -> None:
    for pattern in ("fanout:*:q:*", "fanout:*:wake", "fanout:*:flows"):
        async for key in redis.client.scan_iter(pattern, count=1000):
            await redis.client.delete(key)
    while (await redis.client.info("memory"))["lazyfree_pending_objects"]:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.05)


def _batch(kind: str, start: int, step: int) -> Sequence[Submission]:
    items: list[Submission] = []
    for number in range(start, start + step):
        entry = Entry("chat", f"m-{number:08}", Message(Scope.USER, f"user-{number % _USERS}", _BODY))
        ids = {"none": None, "messageId": f"caller\nmessageId\nm-{number:08}"}
        dedup_id = ids.get(kind, f"caller\nkey\nkey-{start:08}\n{number - start}")
        items.append(Submission(entry, dedup_id, _print_of(number)))
    return items


def _print_of(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=16).digest()


if __name__ == "__main__":
    command = parser("ids", __doc__)
    command.add_argument("counts", nargs="*", type=int, help=f"how many ids are remembered {_COUNTS}")
    asyncio.run(main(*command.parse_args().counts))
