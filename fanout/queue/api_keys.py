"""The API keys of callers in Redis, as texts by id; what a text means is known where callers are.

Rule guarded: there are at most `MAX_KEYS`, because every ingress reads all of them every few seconds.
"""

from fanout.errors import ConfigurationError
from fanout.queue.keys import KEYS, Keys
from fanout.redis.client import RedisClient

MAX_KEYS = 500


class ApiKeys:
    """The keys of one namespace. Each call raises QueueError when Redis does not answer."""

    def __init__(self, redis_client: RedisClient, keys: Keys = KEYS) -> None:
        self._redis = redis_client
        self._name = keys.api_keys

    async def all(self) -> dict[str, bytes]:
        """Return every key."""
        fields = await self._redis.ask("HGETALL", self._name)
        return {name.decode("latin-1"): text for name, text in zip(fields[::2], fields[1::2], strict=True)}

    async def put(self, key_id: str, text: bytes) -> None:
        """Store a key; ConfigurationError when there are too many."""
        if len(await self.all()) >= MAX_KEYS:
            raise ConfigurationError(f"There are {MAX_KEYS} API keys, which is the most: revoke some first.")
        await self._redis.ask("HSET", self._name, key_id, text)

    async def remove(self, key_id: str) -> bool:
        """Delete a key; return whether there was one."""
        return bool(await self._redis.ask("HDEL", self._name, key_id))
