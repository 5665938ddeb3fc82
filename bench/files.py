"""Names the files one warm message runs through, in their order: `python -m bench.files`.

Ingress and worker run in this process, on a Redis of its own and beside a service that answers 202. After a few
messages to one user, functions are noted from the moment a POST is written until its message is settled. What happens
by the clock may fall into that time, so a file counts only if every one of several messages ran through it. A test
checks that docs/architecture.md names each of them.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import redis.asyncio as redis_client
import uvloop

from bench.rig import ROOT
from fanout.clock import SystemClock
from fanout.environment import load
from fanout.log import configure
from fanout.queue.keys import Keys
from service.dev.private_redis import private_redis
from service.process import Plan, run

ROOMS = ("fanout", "workers", "service")
_PARTITIONS = 4
_KEY = "k" * 32
_WARM, _MEASURED = 5, 8
_BODY = b'{"userId":"alice","target":"newMessage","arguments":["hello"]}'
_POST = (
    b"POST /v1/hubs/chat/messages HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %b\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (_KEY.encode(), len(_BODY), _BODY)
)
_ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def files_touched() -> dict[str, list[str]]:
    """Return the files by path below the repository, in the order of their first call, each with its functions."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        traces = runner.run(_measure())
    first, *others = traces
    common = set(first).intersection(*others)
    return {path: functions for path, functions in first.items() if path in common}


async def _measure() -> list[dict[str, list[str]]]:
    traces = []
    async with _service() as port, private_redis(SystemClock()) as url, _fanout(url, port) as (reader, writer):
        store = redis_client.Redis.from_url(url)
        for number in range(_WARM + _MEASURED):
            touched: dict[str, list[str]] = {}
            with _noting(touched):
                writer.write(_POST)
                await reader.readuntil(b"}]}")
                await _settled(store)
            if number >= _WARM:
                traces.append(touched)
        await store.aclose()
    return traces


async def _settled(store: redis_client.Redis) -> None:
    waiting = True
    while waiting:
        await asyncio.sleep(0.01)  # also time for what follows a settlement: counting it, logging it
        found = [await store.smembers(Keys().flows(partition)) for partition in range(_PARTITIONS)]
        waiting = any([await store.xlen(stream) for streams in found for stream in streams])
    await asyncio.sleep(0.01)


@contextmanager
def _noting(touched: dict[str, list[str]]) -> Iterator[None]:
    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(ROOT)):
            return
        path = code.co_filename[len(str(ROOT)) + 1 :]
        if path.partition("/")[0] in ROOMS:
            functions = touched.setdefault(path, [])
            if code.co_qualname not in functions:
                functions.append(code.co_qualname)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


@asynccontextmanager
async def _service() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(_ANSWER)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def _fanout(url: str, service_port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Run ingress and worker for the block, and yield a connection to them."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[int] = loop.create_future()
    service = f"Endpoint=http://127.0.0.1;Port={service_port};AccessKey={'k' * 44};Version=1.0;"
    settings = load(
        {}, redis_url=url, connection_string=service, api_key=_KEY, host="127.0.0.1", port=0, partitions=_PARTITIONS
    )
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(run(Plan(settings, "all", ready=ready.set_result), SystemClock(), stopping))
        both: set[asyncio.Future[Any]] = {ready, running}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            reader, writer = await asyncio.open_connection("127.0.0.1", ready.result())
            try:
                yield reader, writer
            finally:
                writer.close()
                stopping.set()


def main() -> None:
    """Print the files and their number."""
    configure(level="info", style="json")
    touched = files_touched()
    for path, functions in touched.items():
        print(f"{path}\n    {', '.join(functions)}")
    print(f"\n{len(touched)} files")


if __name__ == "__main__":
    main()
