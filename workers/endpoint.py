"""One instance of the service: the client that calls it with its credential, and what holds its calls back.

Rule guarded: all that is known of an instance (connections, tokens, pace, breakers, window, whether it runs `:execute`)
is in this one object. A process can have several, and what one instance refuses does not slow down another.
"""

from fanout.signalr.client import Client
from workers.gate import Gate
from workers.sender import Sender


class Endpoint:
    """One instance: `sender` makes the calls through `client`, `gate` says when they may be made.

    `address` is what is known of it by, without a secret.
    """

    __slots__ = ("address", "client", "gate", "sender")

    def __init__(self, client: Client, sender: Sender, gate: Gate, *, address: str = "") -> None:
        self.client = client
        self.sender = sender
        self.gate = gate
        self.address = address

    def __repr__(self) -> str:
        return f"<Endpoint {self.client!r} {self.gate!r}>"

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose()
