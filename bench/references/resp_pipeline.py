"""Floor of Redis: a stream as a queue, spoken by hand, a hundred commands a write.

XADD, XREADGROUP, XACK and XDEL packed with hiredis over one unix socket. The server's CPU is measured from outside;
this program only makes it work. Prints nothing of its own but the rate.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import hiredis

from bench.messages import rest_body

_PIPELINE = 100
_STREAM, _GROUP = "bench:stream", "bench"
_CHUNK = 1 << 18


class Pipe:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader()

    async def call(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Write all commands at once and give their replies."""
        self._writer.write(b"".join(hiredis.pack_command(command) for command in commands))
        return [await self._reply() for _ in commands]

    async def _reply(self) -> Any:
        while (reply := self._parser.gets()) is False:
            self._parser.feed(await self._reader.read(_CHUNK))
        if isinstance(reply, hiredis.ReplyError):
            raise SystemExit(f"Redis refused: {reply}")
        return reply


async def run(path: str, count: int) -> float:
    """Pass `count` messages through the stream; gives messages per second."""
    pipe = Pipe(*await asyncio.open_unix_connection(path))
    await pipe.call([("DEL", _STREAM), ("XGROUP", "CREATE", _STREAM, _GROUP, "0", "MKSTREAM")])
    begin = time.monotonic()
    for start in range(0, count, _PIPELINE):
        await pipe.call([("XADD", _STREAM, "*", "e", rest_body(seq)) for seq in range(start, start + _PIPELINE)])
        (found,) = await pipe.call([("XREADGROUP", "GROUP", _GROUP, "me", "COUNT", _PIPELINE, "STREAMS", _STREAM, ">")])
        ids = [entry[0] for entry in found[0][1]]
        await pipe.call([("XACK", _STREAM, _GROUP, *ids), ("XDEL", _STREAM, *ids)])
    return count / (time.monotonic() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    rate = asyncio.run(run(urlsplit(options.redis).path, options.count))
    sys.stdout.write(json.dumps({"rate": rate}) + "\n")


if __name__ == "__main__":
    main()
