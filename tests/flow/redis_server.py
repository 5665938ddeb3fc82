"""A Redis-compatible server that a test may kill and start again on the same files.

Rule guarded: a killed server comes back with everything it had acknowledged, so what a test then finds missing was lost
by us. With the usual `everysec` a killed server may have held back its last second, with `always` it has written and
synchronised before it answers. On a disk that others keep busy a synchronisation takes longer than a lease of these
tests lives, so the files lie in memory where it has room. Elsewhere nothing is synchronised: what the kernel was given
outlives the process.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.redis.open import open_redis
from service.dev.parent import dying_with
from service.dev.private_redis import find_server
from tests.flow.waiting import until

_STARTS_WITHIN = 10.0
_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30  # bytes, more than any of these tests stores


class RedisServer:
    """One server on a unix socket in a directory of its own.

    `environment` holds variables it is started with besides those of this process.
    """

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self._in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM
        directory = _MEMORY if self._in_memory else None
        self._directory = Path(tempfile.mkdtemp(prefix="fanout-flow-", dir=directory))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def socket(self) -> Path:
        return self._directory / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    @property
    def log(self) -> Path:
        return self._directory / "redis.log"

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process, for tests that stop or signal it."""
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start on the files that are there and return once it answers."""
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._directory)]
        arguments += ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
        arguments += ["--appendfsync", "always" if self._in_memory else "no"]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                find_server(), *arguments, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **self.environment}, preexec_fn=dying_with(os.getpid()),
            )  # fmt: skip
        await until(self._answers, within=_STARTS_WITHIN, what="Redis answers")

    async def kill(self) -> None:
        """End it at once, as a power cut of its machine would."""
        self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP): it keeps its connections and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)

    async def revive(self) -> None:
        """Start it if it does not run, and thaw it."""
        if self.process.returncode is None:
            self.thaw()
            await until(self._answers, within=_STARTS_WITHIN, what="Redis answers")
        else:
            await self.start()

    async def stop(self) -> None:
        """End it for good and remove its files."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _answers(self) -> bool:
        assert self.process.returncode is None, self.log.read_text()
        redis_client = open_redis(self.url, SystemClock())
        try:
            await redis_client.ask("PING", time_limit=1.0)
        except QueueError:
            return False
        finally:
            await redis_client.aclose()
        return True
