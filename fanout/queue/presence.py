"""Answers what is still in the queue, which is all that order across lanes has to know (see `changes`).

Rule guarded: an entry counts as gone only when its server said so. A server that does not answer keeps things waiting.
"""

from collections.abc import Sequence

from fanout.queue.entry import StoredEntry
from fanout.queue.keys import KEYS, Keys
from fanout.queue.scripts import FETCH
from fanout.queue.stream import stored_entries
from fanout.redis.client import Call, RedisClient

_AT_ONCE = 1000  # ids in one call of the script

Place = tuple[int, str, bytes]  # partition, flow, id


class Presence:
    """Looks into the streams of all partitions, whoever owns them."""

    def __init__(self, redis_client: RedisClient, keys: Keys = KEYS) -> None:
        self._redis = redis_client
        self._keys = keys

    def __repr__(self) -> str:
        return f"<Presence in {self._keys.namespace!r}>"

    async def until(self, partition: int, flow: str, end: bytes, *, after: bytes, most: int) -> list[StoredEntry]:
        """Return at most `most` of the entries of a flow behind the id `after` and up to `end`, oldest first."""
        name = self._keys.stream(partition, flow)
        return stored_entries(await self._redis.ask("XRANGE", name, b"(" + after, end, "COUNT", most))

    async def gone(self, places: Sequence[Place]) -> set[Place]:
        """Return those of `places` (partition, flow, id) that hold no entry now; what cannot be asked is left out."""
        calls: list[Call] = []
        asked: list[list[Place]] = []
        for (partition, flow), some in _by_stream(places).items():
            for start in range(0, len(some), _AT_ONCE):
                part = some[start : start + _AT_ONCE]
                ids = [place[2] for place in part]
                calls.append((FETCH, [self._keys.stream(partition, flow)], [len(ids), *ids]))
                asked.append(part)
        replies = await self._redis.run_all(calls) if calls else []
        answered = [(part, reply) for part, reply in zip(asked, replies, strict=True) if isinstance(reply, list)]
        return {place for part, reply in answered for place, data in zip(part, reply, strict=True) if data is None}


def _by_stream(places: Sequence[Place]) -> dict[tuple[int, str], list[Place]]:
    found: dict[tuple[int, str], list[Place]] = {}
    for place in places:
        found.setdefault(place[:2], []).append(place)
    return found
