"""What Redis itself says it did: its MONITOR, for the question which writes of a worker took effect.

Rule guarded: a script that is fenced runs and changes nothing; only the server can tell the two apart.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_CALLED = re.compile(r'^\+[\d.]+ \[\d+ (?P<who>[^\]]*)\] "(?P<command>[^"]*)"(?P<rest>.*)$')
_WRITES = {"XDEL", "XADD", "DEL", "SET", "PEXPIRE"}


class Monitor:
    """The commands a server ran since `watching` began."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def scripts(self, word: str) -> list[tuple[str, list[str]]]:
        """Return each script whose arguments hold `word`, with the names of the commands in it that write."""
        found: list[tuple[str, list[str]]] = []
        inside = False
        for line in self.lines:
            called = _CALLED.match(line)
            if called is None:
                continue
            if called["who"] == "0 lua" or called["who"].endswith("lua"):
                if inside and called["command"].upper() in _WRITES:
                    found[-1][1].append(called["command"].upper())
                continue
            inside = called["command"].upper() in {"EVALSHA", "EVAL"} and word in called["rest"]
            if inside:
                found.append((line, []))
        return found


@asynccontextmanager
async def watching(socket: Path) -> AsyncIterator[Monitor]:
    """Watch a server on a unix socket for the time of the block; watching has begun when the block begins."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=1 << 24)
    monitor = Monitor()

    async def read() -> None:
        while line := await reader.readline():
            monitor.lines.append(line.decode(errors="replace").rstrip())

    try:
        writer.write(b"MONITOR\r\n")
        assert await reader.readline() == b"+OK\r\n"
        async with asyncio.TaskGroup() as group:
            task = group.create_task(read())
            try:
                yield monitor
            finally:
                task.cancel()
    finally:
        writer.close()
