"""Proofs of endpoints in Redis, on every kind of server."""

from fanout.queue.evidence import Evidence
from fanout.queue.keys import Keys
from fanout.redis.client import RedisClient

HERE, ELSEWHERE = "https://a.example", "https://b.example"


async def test_a_proof_is_of_one_endpoint_until_it_is_disproved(redis_client: RedisClient) -> None:
    evidence = Evidence(redis_client)
    await evidence.record(HERE, proved=True, at=1000.5)
    assert await evidence.proved_at(HERE) == b"1000.500"
    assert await evidence.proved_at(ELSEWHERE) is None
    assert await Evidence(redis_client, Keys("other")).proved_at(HERE) is None
    await evidence.record(HERE, proved=False, at=1001.0)
    assert await evidence.proved_at(HERE) is None
