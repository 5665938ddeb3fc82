"""What `fanout doctor` proved about an endpoint, kept in Redis for the workers that deliver to it.

Rule guarded: only a proof is kept. An endpoint of which nothing is known, and one that failed, look the same.
"""

from fanout.queue.keys import KEYS, Keys
from fanout.redis.client import RedisClient


class Evidence:
    """The proof that an endpoint runs `:execute`. `endpoint` is its address, which holds no secret."""

    def __init__(self, redis_client: RedisClient, keys: Keys = KEYS) -> None:
        self._redis = redis_client
        self._key = keys.executes

    async def proved_at(self, endpoint: str) -> bytes | None:
        """Return what tells this proof from an earlier one: when it was recorded; None when there is none."""
        found: bytes | None = await self._redis.ask("HGET", self._key, endpoint)
        return found

    async def record(self, endpoint: str, *, proved: bool, at: float) -> None:
        """Keep the proof of an examination that ended at `at` (unix seconds), or forget the one before."""
        if proved:
            await self._redis.ask("HSET", self._key, endpoint, f"{at:.3f}")
        else:
            await self._redis.ask("HDEL", self._key, endpoint)
