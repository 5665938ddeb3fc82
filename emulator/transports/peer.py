"""The socket under a call: its number, and the means to cut it.

Rule guarded: a reset is a real one. Without SO_LINGER 0 the kernel would end the connection politely (FIN), which an
HTTP client reads as "server closed", not as "connection reset".
"""

import asyncio
import socket
import struct

from emulator.exchange import Receive, Scope

KEY = "emulator.transports.peer"  # in the ASGI scope's extensions
_LINGER_0 = struct.pack("ii", 1, 0)


class Peer:
    """One accepted TCP connection; `number` counts from 1."""

    def __init__(self, transport: asyncio.Transport, number: int) -> None:
        self._transport = transport
        self.number = number

    def __repr__(self) -> str:
        return f"<Peer {self.number}>"

    def reset(self) -> None:
        """Cut the connection with an RST."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self._transport.abort()


def peer_of(scope: Scope) -> Peer | None:
    """Give the peer of a call; None when the application is called without a server of ours."""
    found = (scope.get("extensions") or {}).get(KEY)
    return found if isinstance(found, Peer) else None


async def cut(peer: Peer | None, receive: Receive) -> None:
    """Reset the connection of a call and wait until the server has noticed; in process, raise instead."""
    if peer is None:
        raise ConnectionResetError("the emulator resets this connection")
    peer.reset()
    while (await receive())["type"] != "http.disconnect":
        pass
