"""Runs operations of the product on a server, real or model, for the conformance test.

Rule guarded: what is compared is what the product would see, replies through its own RedisClient. Ids of entries differ
from server to server, so each is replaced by a number in the order in which they were given out.
"""

import re
from collections.abc import Sequence
from typing import Any

from fanout.queue import scripts, worker_scripts
from fanout.queue.keys import KEYS
from fanout.queue.remembered import dedup_mark, idempotency_mark
from fanout.redis.client import Argument, RedisClient

FLOW = "uhub"
LONG = 600_000  # milliseconds: longer than a test
_ID = re.compile(rb"(?<!\d)\d{13}-\d+")
Operation = tuple[Any, ...]


class Player:
    """Runs operations on one server and returns their replies with ids replaced by numbers."""

    def __init__(self, redis_client: RedisClient) -> None:
        self._redis = redis_client
        self._pauses = 0
        self._ids: dict[tuple[int, bytes], bytes] = {}
        self._partition = 0

    async def play(self, operation: Operation) -> Any:
        name, *args = operation
        self._partition = args[0] if args and isinstance(args[0], int) else 0
        try:
            reply = await getattr(self, f"_{name}")(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same on both
            return type(error).__name__
        return self._plain(reply)

    async def _append(self, partition: int, room: int, entries: Sequence[tuple[bytes, str, bytes]]) -> Any:
        names = [KEYS.flows(partition), KEYS.wake(partition), KEYS.size(partition), KEYS.seen(partition)]
        names.append(KEYS.stream(partition, FLOW))
        args: list[Argument] = [room, LONG, 7, 1, 1, 0, len(entries)]
        for data, dedup_id, fingerprint in entries:
            args += [data, dedup_mark("hub", dedup_id, "lane") + fingerprint if dedup_id else b""]
        return await self._redis.run(scripts.APPEND, names, args)

    async def _list(self, partition: int, dedup_id: str, targets: int) -> Any:
        names = [KEYS.flows(partition), KEYS.wake(partition), KEYS.size(partition), KEYS.seen(partition)]
        names += [KEYS.stream(partition, FLOW), KEYS.body(partition, "b")]
        guard = dedup_mark("hub", dedup_id, "list") + b"contents" if dedup_id else b""
        args: list[Argument] = [10_000, LONG, 7, 1, 1, len(names), targets, b"body", guard]
        return await self._redis.run(scripts.APPEND, names, [*args, *[b"leg"] * targets])

    async def _settle(self, partition: int, token: str, numbers: list[int]) -> Any:
        ids = [self._id(number) for number in numbers]
        names = [KEYS.lease(partition), KEYS.size(partition), KEYS.stream(partition, FLOW), KEYS.body(partition, "b")]
        return await self._redis.run(scripts.SETTLE, names, [token, 1, 4, 67 * len(ids), len(ids), *ids])

    async def _expire(self, partition: int, token: str, number: int, lifetime: int) -> Any:
        names = [KEYS.lease(partition), KEYS.size(partition), KEYS.stream(partition, FLOW)]
        return await self._redis.run(scripts.EXPIRE, names, [token, self._id(number), lifetime, 67])

    async def _park(self, partition: int, token: str, number: int, most: int = 100) -> Any:
        stream = KEYS.stream(partition, FLOW)
        names = [KEYS.lease(partition), KEYS.size(partition), stream, KEYS.dead(partition), KEYS.dead_size(partition)]
        fields: list[Argument] = ["entry", b"one", "flow", stream, "reason", "r", "body", KEYS.body(partition, "b")]
        names.append(KEYS.body(partition, "b"))
        return await self._redis.run(scripts.PARK, names, [token, self._id(number), 67, most, *fields])

    async def _replay(self, partition: int, number: int) -> Any:
        names = [KEYS.flows(partition), KEYS.wake(partition), KEYS.size(partition), KEYS.dead(partition)]
        return await self._redis.run(scripts.REPLAY, [*names, KEYS.dead_size(partition)], [self._id(number), 7])

    async def _delete(self, partition: int, number: int) -> Any:
        names = [KEYS.dead(partition), KEYS.dead_size(partition)]
        return await self._redis.run(scripts.DELETE, names, [self._id(number)])

    async def _delete_old(self, partition: int, token: str, age: int, most: int, size: int, counted: int) -> Any:
        names = [KEYS.lease(partition), KEYS.dead(partition), KEYS.dead_size(partition), KEYS.dead_aged(partition)]
        arguments: list[Argument] = [token, age, most, size, self._id(counted)]
        reply = await self._redis.run(worker_scripts.DELETE_OLD, names, arguments)
        return reply if reply == -1 else [*reply[:2], min(reply[2], 1)]  # the clocks are not the same

    async def _fetch(self, partition: int, numbers: list[int]) -> Any:
        ids = [self._id(number) for number in numbers]
        return await self._redis.run(scripts.FETCH, [KEYS.stream(partition, FLOW)], [len(ids), *ids])

    async def _measure(self, partition: int) -> Any:
        return await self._redis.run(scripts.MEASURE, KEYS.measured(partition), [])

    async def _wake(self, partition: int) -> Any:
        await self._redis.run(scripts.WAKE, [KEYS.wake(partition)], [])
        return len(await self._redis.ask("XRANGE", KEYS.wake(partition), "-", "+"))

    async def _prune(self, partition: int, token: str, idle: int) -> Any:
        keys = [KEYS.lease(partition), KEYS.flows(partition), KEYS.wake(partition), KEYS.size(partition)]
        return await self._redis.run(scripts.PRUNE, [*keys, KEYS.stream(partition, FLOW)], [token, idle, 10])

    async def _peek(self, partition: int, number: int, most: int, size: int) -> Any:
        return await self._redis.run(scripts.PEEK, [KEYS.dead(partition)], [self._id(number), "+", most, size])

    async def _acquire(self, partition: int, worker: str) -> Any:
        return await self._redis.run(
            worker_scripts.ACQUIRE, [KEYS.lease(partition), KEYS.fence(partition)], [worker, LONG]
        )

    async def _renew(self, partition: int, token: str) -> Any:
        return await self._redis.run(
            worker_scripts.RENEW, [KEYS.lease(partition), KEYS.stream(partition, FLOW)], [token, LONG]
        )

    async def _release(self, partition: int, token: str) -> Any:
        names = [KEYS.lease(partition), KEYS.rest(partition, "~" + token)]
        return await self._redis.run(worker_scripts.RELEASE, names, [token, "~" + token])

    async def _hand_over(self, partition: int, token: str, most: int, *lanes: str) -> Any:
        names = [KEYS.lease(partition), KEYS.rest(partition, "~" + token), KEYS.left(partition)]
        return await self._redis.run(worker_scripts.HAND_OVER, names, [token, "~" + token, LONG, most, *lanes])

    async def _left(self, partition: int) -> Any:
        reply = await self._redis.run(worker_scripts.LEFT, [KEYS.left(partition)], [KEYS.rest(partition, "")])
        return sorted(reply)  # a hash has no order

    async def _free(self, partition: int, token: str, *lanes: str) -> Any:
        names = [KEYS.left(partition), KEYS.wake(partition)]
        return await self._redis.run(worker_scripts.FREE, names, ["~" + token, *lanes])

    async def _heartbeat(self, worker: str, lifetime: int, *needs: str) -> Any:
        now, *workers = await self._redis.run(worker_scripts.HEARTBEAT, [KEYS.workers], [worker, lifetime, *needs])
        return [len(now), sorted(workers)]  # workers of one millisecond are in the order of their names

    async def _exchange_demand(self, worker: str, lifetime: int, demand: int) -> Any:
        reply = await self._redis.run(worker_scripts.EXCHANGE_DEMAND, ["shares"], [worker, lifetime, demand])
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return sorted((name, word.partition(b":")[2], len(word)) for name, word in pairs)  # a hash has no order

    async def _join_endpoints(self, *endpoints: str) -> Any:
        joined, *known = await self._redis.run(worker_scripts.JOIN_ENDPOINTS, [KEYS.endpoints], endpoints)
        return joined, sorted(known)

    async def _claim(self, fingerprint: bytes) -> Any:
        return await self._redis.run(
            worker_scripts.CLAIM, [KEYS.seen(0)], [idempotency_mark("hub", "key"), fingerprint, LONG]
        )

    async def _range(self, partition: int, number: int, count: int) -> Any:
        key, after = KEYS.stream(partition, FLOW), self._id(number)
        return await self._redis.call(
            ("XRANGE", key, b"(" + after, "+", "COUNT", count), ("XRANGE", key, "-", "+"), ("XRANGE", key, after, after)
        )

    async def _read(self, partition: int, number: int, count: int) -> Any:
        key = KEYS.stream(partition, FLOW)
        return await self._redis.ask("XREAD", "COUNT", count, "BLOCK", 1, "STREAMS", key, self._id(number))

    async def _look(self, partition: int) -> Any:
        letters, *others = await self._redis.call(
            ("XRANGE", KEYS.dead(partition), "-", "+"), ("GET", KEYS.lease(partition)), ("GET", KEYS.fence(partition)),
            ("XLEN", KEYS.stream(partition, FLOW)), ("XLEN", KEYS.dead(partition)), ("GET", KEYS.size(partition)),
            ("GET", KEYS.dead_size(partition)), ("HGET", KEYS.body(partition, "b"), "b"), ("PING",), ("GET", "thing"),
            ("EXISTS", KEYS.lease(partition), KEYS.fence(partition)),
        )  # fmt: skip
        return [[fields for _id, fields in letters], *others]

    async def _set(self, options: tuple[Any, ...]) -> Any:
        return await self._redis.ask("SET", "thing", 1.5, *options)

    async def _tell(self, count: int) -> Any:
        add = ("XADD", "told", "MAXLEN", "~", 1000, "*", "w", "a")
        *_ids, back, reply = await self._redis.call(
            *[add] * count, ("XREVRANGE", "told", "+", "-", "COUNT", 3), ("XRANGE", "told", "-", "+")
        )
        return [len(back), [row[0] for row in back] == [row[0] for row in reversed(reply)][:3], len(reply)]

    async def _hash(self, command: str, name: str, value: str) -> Any:
        change = ("HSET", "hash", name, value) if command == "HSET" else ("HDEL", "hash", name)
        changed, pairs = await self._redis.call(change, ("HGETALL", "hash"))
        return [changed, sorted(_paired(pairs))]

    async def _put_pause(self, target: str, lasts: str, keep: int) -> Any:
        self._pauses += 1  # the end of each pause is another second, so that their order is certain
        arguments: list[Argument] = [target, int(lasts) + 1000 * self._pauses, b"{}", keep]
        reply = await self._redis.run(worker_scripts.PUT_PAUSE, ["pauses"], arguments)
        pairs = await self._redis.ask("HGETALL", "pauses")
        return [[len(part) for part in reply], sorted((name, len(value)) for name, value in _paired(pairs))]

    async def _flush(self) -> Any:
        return await self._redis.call(*(("DEL", KEYS.lease(p), KEYS.fence(p), "thing") for p in range(2)))

    def _number(self, entry_id: bytes) -> bytes:
        return self._ids.setdefault((self._partition, entry_id), b"id %d" % len(self._ids))

    def _id(self, number: int) -> bytes:
        known = [entry_id for partition, entry_id in self._ids if partition == self._partition]
        return known[number] if number < len(known) else b"5-0"

    def _plain(self, reply: Any) -> Any:
        if isinstance(reply, list):
            return [self._plain(part) for part in reply]
        if isinstance(reply, bytes):
            return _ID.sub(lambda found: self._number(found[0]), reply)
        return type(reply).__name__ if isinstance(reply, Exception) else reply


def _paired(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
