"""A CONNECT proxy on loopback: it tunnels names of its own choosing to ports of this machine."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """Where it listens, and the requests it was asked for."""

    names: Mapping[str, int]
    user: str
    byte_by_byte: bool
    port: int = 0
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one CONNECT, and carry bytes until one side ends."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.partition(" HTTP/1.1")[0])
            credentials = b64encode(self.user.encode()).decode()
            if self.user and f"\r\nProxy-Authorization: Basic {credentials}\r\n" not in head:
                writer.write(b'HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
                return
            await self._tunnel(head.split()[1], reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", self.names[target.rpartition(":")[0]])
        except (OSError, KeyError):
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        answer = b"HTTP/1.1 200 Connection established\r\nVia: a proxy\r\n\r\n"
        for start in range(0, len(answer), 1 if self.byte_by_byte else len(answer)):
            writer.write(answer[start : start + (1 if self.byte_by_byte else len(answer))])
            await asyncio.sleep(0.001)
        try:
            async with asyncio.TaskGroup() as group:
                ways = [group.create_task(_carry(reader, far[1])), group.create_task(_carry(far[0], writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            far[1].close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def connect_proxy(
    names: Mapping[str, int], *, user: str = "", byte_by_byte: bool = False
) -> AsyncIterator[ConnectProxy]:
    """Run one that knows `names`; `user` is `user:password`, "" for everybody."""
    proxy = ConnectProxy(names, user, byte_by_byte)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
