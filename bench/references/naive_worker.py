"""The service as it is written in an afternoon: the worker.

XREADGROUP, ten calls at a time with gather, httpx as it comes, a token signed for each call. Arguments: Redis URL and
the endpoint to deliver to.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httpx
import jwt
import redis.asyncio as redis
import uvloop

STREAM = "naive:stream"
GROUP = "workers"
AT_ONCE = 10
_KEY = "k" * 44


async def deliver(client: httpx.AsyncClient, endpoint: str, fields: dict[bytes, bytes]) -> None:
    """Make one REST call."""
    message: dict[str, Any] = json.loads(fields[b"message"])
    url = f"{endpoint}/api/hubs/{fields[b'hub'].decode()}/users/{message['userId']}/:send"
    token = jwt.encode({"aud": url, "exp": int(time.time()) + 3600}, _KEY, algorithm="HS256")
    response = await client.post(
        url,
        params={"api-version": "2022-06-01"},
        json={"target": message["target"], "arguments": message["arguments"]},
        headers={"Authorization": f"Bearer {token}"},
    )
    response.raise_for_status()


async def work(redis_url: str, endpoint: str) -> None:
    """Deliver forever."""
    store = redis.from_url(redis_url)
    await store.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    async with httpx.AsyncClient() as client:
        while True:
            found: Any = await store.xreadgroup(GROUP, "worker", {STREAM: ">"}, count=AT_ONCE, block=1000)
            for _stream, entries in found:
                await asyncio.gather(*(deliver(client, endpoint, fields) for _, fields in entries))
                ids = [entry_id for entry_id, _ in entries]
                await store.xack(STREAM, GROUP, *ids)
                await store.xdel(STREAM, *ids)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(sys.argv[1], sys.argv[2]))
