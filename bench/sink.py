"""The far side as the bench holds it: compiled and started here, steered over its /bench/ paths.

Rule guarded: the sink must not be what limits a figure. The C program costs a few microseconds a request; where there
is no compiler a Python stand-in with the same paths takes its place, and the run says so.
"""

import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.rig import BenchError, Child, Rig

_SOURCE = Path(__file__).with_name("sink.c")
CA_FILE = "ca.pem"
_COMPILERS = ("cc", "gcc", "clang")
_PORT_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Sink:
    """One far side on loopback. `kind` says what it is, for the report.

    `endpoint` is where services reach it, "" for directly; `authority` is the file of the CA to trust there.
    """

    child: Child
    port: int
    kind: str
    endpoint: str = ""
    authority: str = ""

    @classmethod
    async def start(cls, rig: Rig) -> Self:
        """Compile and start one."""
        binary = await compiled(rig.directory)
        if binary is None:
            child = await rig.python("sink", "bench.slow_sink")
            return cls(child, await _port(child), "Python stand-in (no C compiler here: rates are bounded by it)")
        child = await rig.start("sink", [str(binary)])
        return cls(child, await _port(child), "C, one thread, epoll")

    @classmethod
    async def start_tls(cls, rig: Rig) -> Self:
        """Start one that speaks https; its CA is left in the rig's directory as CA_FILE. It cannot be steered."""
        child = await rig.python("tls-sink", "bench.slow_sink", "--tls", str(rig.directory))
        return cls(child, await _port(child), "Python, TLS")

    def connection_string(self) -> str:
        """Name it as a SignalR service."""
        endpoint = self.endpoint or f"http://127.0.0.1:{self.port}"
        return f"Endpoint={endpoint};AccessKey={'k' * 44};Version=1.0;"

    async def answered(self) -> int:
        """How many requests it has answered so far."""
        return int(await self._get("stats"))

    async def reached(self, count: int, within: float) -> float:
        """Wait until it has answered `count` requests and give that moment, monotonic seconds."""
        try:
            async with asyncio.timeout(within):
                return int(await self._get(f"wait/{count}")) / 1e9
        except TimeoutError:
            have = await self.answered()
            raise BenchError(f"the sink got {have} of {count} requests within {within:.0f} s") from None

    async def set_latency(self, milliseconds: float) -> None:
        """Answer each request so much later from now on."""
        await self._get(f"latency/{int(milliseconds * 1000)}")

    async def refuse(self, *, on: bool) -> None:
        """Answer 503 from now on, which does not count as answered, or stop."""
        await self._get(f"refuse/{int(on)}")

    async def refuse_in(self, path: str) -> None:
        """Answer 503 from now on where the request's path begins with this one."""
        await self._get(f"refuse-in{path}")

    async def record(self, *, on: bool) -> None:
        """Note the arrival of each message with a number ("seq", or behind "probe-") from now on, or stop."""
        await self._get(f"record/{int(on)}")

    async def arrivals(self) -> dict[int, float]:
        """Give, and forget, when each message arrived: monotonic seconds by its number."""
        rows = (line.split() for line in (await self._get("arrivals")).splitlines())
        return {int(row[0]): int(row[1]) / 1e9 for row in rows}

    async def _get(self, command: str) -> str:
        self.child.check()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET /bench/{command} HTTP/1.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split()[0])
            return (await reader.readexactly(size)).decode()
        finally:
            writer.close()


async def compiled(directory: Path) -> Path | None:
    """Compile the C sink into `directory`; None without a working compiler."""
    compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
    binary = directory / "sink"
    if binary.exists():
        return binary
    if compiler is not None:
        command = (compiler, "-O2", "-o", str(binary), str(_SOURCE))
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        if await process.wait() == 0:
            return binary
    warned = directory / "no-compiler"
    if not warned.exists():
        warned.touch()
        sys.stderr.write("bench: no C compiler (cc, gcc, clang) for the sink; a Python one takes its place.\n")
    return None


async def _port(child: Child) -> int:
    async with asyncio.timeout(_PORT_WITHIN):
        while "\n" not in (text := child.log.read_text()):
            child.check()
            await asyncio.sleep(0.02)
    return int(text.split()[0])
