"""The program as people run it: a process of its own, its output, its signals, its exit code."""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from tests.flow.forking import Forked, can_be_forked, fork
from tests.log_lines import checked

ROOT = Path(__file__).parents[2]
KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
_QUICK = {"FANOUT_LAME_DUCK": "0"}  # a test says when it wants more
_KEYLESS = {"FANOUT_AUTH": "none"}
Process = asyncio.subprocess.Process | Forked
_KEPT = ("PATH", "HOME", "LANG", "VIRTUAL_ENV")


class Program:
    """A running process; what it wrote is read from files."""

    def __init__(self, process: Process, directory: Path) -> None:
        self.process = process
        self._directory = directory

    @property
    def out(self) -> str:
        return (self._directory / "out").read_text()

    @property
    def err(self) -> str:
        return (self._directory / "err").read_text()

    def lines_of(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        return [line for line in checked(self.err.splitlines()) if line["event"] == event]

    async def port(self) -> int:
        """Wait until it takes requests and give its port."""
        await self.until(lambda: bool(self.lines_of("service.ready")))
        return int(self.lines_of("service.ready")[0]["port"])

    async def until(self, true: Any, *, within: float = 20.0) -> None:
        """Wait until `true()`, which may be awaitable, holds; fail with the program's output when it ends before."""
        async with asyncio.timeout(within):
            while not await _truth(true()):
                assert self.process.returncode is None, f"it ended with {self.process.returncode}: {self.err}"
                await asyncio.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, *, within: float = 30.0) -> int:
        """Wait for its end and give its exit code."""
        return await asyncio.wait_for(self.process.wait(), within)

    def children(self) -> list[int]:
        """Name the processes it started."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def _truth(value: Any) -> bool:
    return bool(await value if inspect.isawaitable(value) else value)


@asynccontextmanager
async def program(directory: Path, *arguments: str, code: str = "", **environ: str) -> AsyncIterator[Program]:
    """Run `fanout` with these arguments in an environment that holds nothing else; `code` runs before it."""
    start = ["-m", "service.cli"] if not code else ["-c", f"{code}\nfrom service.cli.main import main\nmain()"]

    async def started(environ: Mapping[str, str], out: IO[bytes], err: IO[bytes]) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, *start, *arguments,
            cwd=ROOT, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip

    async with _running(directory, environ, started) as program:
        yield program


@asynccontextmanager
async def forked_program(directory: Path, *arguments: str, **environ: str) -> AsyncIterator[Program]:
    """Do the same quicker, for tests to which the start itself and memory do not matter; see forking.py."""
    assert can_be_forked(environ)
    async with _running(directory, environ, partial(fork, arguments)) as program:
        yield program


def _make(directory: Path) -> None:
    directory.mkdir(exist_ok=True)


@asynccontextmanager
async def _running(
    directory: Path, environ: Mapping[str, str], started: Callable[..., Awaitable[Process]]
) -> AsyncIterator[Program]:
    _make(directory)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ} | _QUICK
    if not {"FANOUT_API_KEY", "FANOUT_API_KEY_FILE"} & environ.keys():
        kept |= _KEYLESS
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        process = await started({**kept, **environ}, out, err)
    try:
        yield Program(process, directory)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def service_at(port: int, more: str = "") -> str:
    """Return the connection string of a service on a loopback port."""
    return f"Endpoint=http://127.0.0.1;Port={port};AccessKey={KEY};Version=1.0;{more}"
