"""The caller of many sends at once: `python -m bench.references.side_by_side PORT SERVICE_PORT COUNT`.

It sends as the vendor's SDK does: each send under way has a connection of its own, which is kept. Connections are
opened by a round that does not count. Prints the seconds that the second round took.
"""

import asyncio
import json
import sys
import time

import aiohttp
import uvloop
from yarl import URL

from bench.messages import USERS, rest_body, rest_path
from fanout.signalr.credentials import rest_token

_QUERY = "?api-version=2022-06-01"
_ACCEPTED = 202
_TYPE = "application/json; charset=utf-8"


async def measure(port: int, service_port: int, count: int) -> float:
    """Return how many seconds `count` sends take that begin together."""
    expires = int(time.time()) + 3600
    paths = [rest_path(user) for user in range(USERS)]
    heads = [
        {"Authorization": f"Bearer {rest_token('k' * 44, f'http://127.0.0.1:{service_port}{path}', expires)}"}
        for path in paths
    ]
    urls = [URL(f"http://127.0.0.1:{port}{path}{_QUERY}", encoded=True) for path in paths]
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=300)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def send(seq: int) -> None:
            headers = heads[seq % USERS] | {"Content-Type": _TYPE}
            async with session.post(urls[seq % USERS], data=rest_body(seq), headers=headers, chunked=True) as response:
                await response.read()
                if response.status != _ACCEPTED:
                    raise RuntimeError(f"a send was answered {response.status}")

        for _ in range(2):
            begin = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for seq in range(count):
                    group.create_task(send(seq))
        return time.monotonic() - begin


def main() -> None:
    port, service_port, count = map(int, sys.argv[1:])
    seconds = uvloop.run(measure(port, service_port, count))
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
