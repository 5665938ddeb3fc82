"""The ingress as an attacker meets it: the real program in a process of its own, on a real Redis, with an API key.

Rule guarded: what is said of memory is read from the kernel, for the process that serves, not from inside it; and what
it wrote to its log is looked at, because a 4xx with a traceback behind it is no refusal.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.service.programs import Program, program, service_at

KEY = "the-key-of-the-tests"
MAX_BODY = 4 * 1024 * 1024
_ATTEMPTS = 4
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `content_type` without parameters, `document` is the JSON of the body, {} when it is none."""

    status: int
    content_type: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Victim:
    """A running ingress."""

    program: Program
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory(self) -> int:
        """Return the bytes of RAM it holds now (VmRSS)."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """Return the most bytes of RAM it held since `forget_peak` (VmHWM)."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Count the peak from here."""
        Path(f"/proc/{self.program.process.pid}/clear_refs").write_text("5")

    @property
    def troubles(self) -> list[str]:
        """Return what it logged as an error, and tracebacks."""
        lines = self.program.err.splitlines()
        return [line for line in lines if "Traceback" in line or '"level":"error"' in line.replace(" ", "")]

    async def send(self, *pieces: bytes) -> Answer:
        """Write bytes on a connection of their own and read one answer, even while they are still being written.

        Who closes while bytes are on their way resets, and a reset can swallow the answer before it: so it asks again.
        """
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(ConnectionError, EOFError):
                return await self._asked(*pieces)
        return await self._asked(*pieces)

    async def post(self, body: bytes, *headers: str, path: str = "/v1/hubs/chat/messages") -> Answer:
        """POST a body with its length and these header lines."""
        return await self.send(head_of(path, f"Content-Length: {len(body)}", *headers) + body)

    async def _asked(self, *pieces: bytes) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        try:
            async with asyncio.timeout(30):
                return await _exchanged(reader, writer, pieces)
        finally:
            writer.close()

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.program.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None, text
        return int(found[1]) * 1024


def head_of(path: str, *headers: str) -> bytes:
    """Return the head of a POST with the API key; JSON unless `headers` name a type."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"X-API-Key: {KEY}", "Connection: close", *headers]
    if not any(line.lower().startswith("content-type:") for line in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@asynccontextmanager
async def ingress(directory: Path, redis_url: str, **more: str) -> AsyncIterator[Victim]:
    """Run an ingress for the time of the block."""
    settings = {
        "AzureSignalRConnectionString": service_at(9),
        "FANOUT_REDIS_URL": redis_url,
        "FANOUT_PORT": "0",
        "FANOUT_API_KEY": KEY,
        "FANOUT_MAX_BODY": str(MAX_BODY),
        "FANOUT_TRACE_KEEP": "60",
    }
    async with program(directory, "serve", "--role", "ingress", **settings | more) as running:
        yield Victim(running, await running.port())


async def _exchanged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: tuple[bytes, ...]) -> Answer:
    async def write() -> None:
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass  # refused before all of it was written: the answer says so

    writing = asyncio.ensure_future(write())
    try:
        return await _read(reader)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    content_type = re.search(rb"(?i)\r\ncontent-type: *([^;\r]+)", head)
    document = orjson.loads(body) if content_type and content_type[1].endswith(b"json") else {}
    return Answer(int(head.split()[1]), content_type[1].decode() if content_type else "", document)
