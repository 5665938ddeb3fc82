"""The processes of a run: started, watched, measured from outside, and gone at the end whatever happens.

Rules guarded: CPU is user plus system time of a whole process, all its threads, read from the kernel's own clock for
that process (nanoseconds, not ticks), so that nothing measured has to cooperate; a process that ends early fails the
run with the end of its log instead of leaving a figure; a killed benchmark leaves nothing behind.
"""

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import redis.asyncio as redis_client

from fanout.clock import SystemClock
from fanout.queue.keys import KEYS
from service.dev.parent import dying_with
from service.dev.private_redis import find_server, private_redis

ROOT = Path(__file__).parent.parent
_PROCESS_CLOCK = 2  # Linux: the low bits of a clock id that mean "scheduler time of a whole process"
_START_WITHIN = 20.0
_STOP_WITHIN = 5.0
PARTITIONS = 16


class BenchError(Exception):
    """The run cannot go on; the text says what happened."""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, a process has used since its start."""
    return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Child:
    """One process of the run."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu(self) -> float:
        """CPU seconds so far; BenchError when it has ended."""
        self.check()
        return cpu_seconds(self.pid)

    def check(self) -> None:
        """Raise BenchError when the process has ended."""
        if self.process.returncode is not None:
            raise BenchError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of what it wrote."""
        return self.log.read_text(errors="replace")[-2000:]


@dataclass(frozen=True, slots=True)
class Redis:
    """A private server: where it is, which process it is, and a client for looking at it."""

    url: str
    pid: int
    version: str
    client: redis_client.Redis

    def cpu(self) -> float:
        """CPU seconds so far."""
        return cpu_seconds(self.pid)

    async def memory(self) -> int:
        """Bytes it holds."""
        return int((await self.client.info("memory"))["used_memory"])

    async def clear(self) -> None:
        """Forget everything in it."""
        await self.client.flushall()

    async def waiting(self) -> int:
        """How many entries the queue holds."""
        async with self.client.pipeline(transaction=False) as pipeline:
            for partition in range(PARTITIONS):
                pipeline.smembers(KEYS.flows(partition))
            streams = [stream for some in await pipeline.execute() for stream in some]
            for stream in streams:
                pipeline.xlen(stream)
            return sum(await pipeline.execute())


class Rig:
    """Everything a run has started; leaving the context ends it all, last started first."""

    def __init__(self, directory: Path, exits: AsyncExitStack) -> None:
        self.directory = directory
        self.exits = exits
        self._count = 0

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Make a rig for as long as the block lasts."""
        with tempfile.TemporaryDirectory(prefix="fanout-bench-") as directory:
            async with AsyncExitStack() as exits:
                yield cls(Path(directory), exits)

    async def start(self, name: str, command: Sequence[str], **environ: str) -> Child:
        """Start a process that runs until the end of the run."""
        log = self._log_of(name)
        child = Child(name, await _spawn(command, log, log, environ), log)
        self.exits.push_async_callback(stop, child)
        return child

    async def python(self, name: str, *arguments: str, **environ: str) -> Child:
        """Start `python -m arguments...` until the end of the run."""
        return await self.start(name, (sys.executable, "-m", *arguments), **environ)

    async def result(self, module: str, *arguments: object, **environ: str) -> dict[str, Any]:
        """Run a module of ours to its end and give the JSON object it printed."""
        command = (sys.executable, "-m", module, *(str(argument) for argument in arguments))
        out, log = self._log_of(module), self._log_of(f"{module}-errors")
        child = Child(module, await _spawn(command, out, log, environ), log)
        try:
            if await child.process.wait():
                child.check()
        finally:
            await stop(child)
        found: dict[str, Any] = json.loads(out.read_text().splitlines()[-1])
        return found

    async def redis(self, *options: str, binary: str | None = None) -> Redis:
        """Start a private Redis (AOF on) until the end of the run."""
        clock = SystemClock()
        url = await self.exits.enter_async_context(private_redis(clock, binary=binary, options=options))
        client = redis_client.from_url(url)
        self.exits.push_async_callback(client.aclose)
        facts = await client.info("server")
        valkey = facts.get("valkey_version")
        version = f"Valkey {valkey}" if valkey else f"Redis {facts['redis_version']}"
        return Redis(url, int(facts["process_id"]), version, client)

    def _log_of(self, name: str) -> Path:
        self._count += 1
        return self.directory / f"{self._count:03}-{name}.log"


async def _spawn(
    command: Sequence[str], out: Path, errors: Path, environ: Mapping[str, str]
) -> asyncio.subprocess.Process:
    with out.open("ab") as stdout, errors.open("ab") as stderr:
        return await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=ROOT,
            env=_clean_environment() | dict(environ), preexec_fn=dying_with(os.getpid()),
        )  # fmt: skip


async def stop(child: Child) -> None:
    """End a process, kindly first."""
    if child.process.returncode is not None:
        return
    child.process.terminate()
    try:
        async with asyncio.timeout(_STOP_WITHIN):
            await child.process.wait()
    except TimeoutError:
        child.process.kill()
        await child.process.wait()


async def answering(child: Child, port: int, path: str = "/readyz") -> None:
    """Return when `path` on `port` answers 200."""
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline:
        child.check()
        if await _status(port, path) == HTTPStatus.OK:
            return
        await asyncio.sleep(0.05)
    raise BenchError(f"{child.name} does not answer on {path}:\n{child.tail()}")


def server_binary() -> str:
    """Choose the Redis every stack of a run uses: redis-server where it is on PATH, else what `fanout dev` starts."""
    return shutil.which("redis-server") or find_server()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _status(port: int, path: str) -> int:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except OSError:
        return 0
    finally:
        writer.close()


def _clean_environment() -> dict[str, str]:
    dropped = ("FANOUT_", "AZURESIGNALR")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(dropped)}
