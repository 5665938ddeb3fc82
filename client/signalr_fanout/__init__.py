"""Client of signalr-fanout, the delivery service for Azure SignalR Service."""

from signalr_fanout.client import AsyncClient, Client, __version__
from signalr_fanout.errors import (
    FailedItem,
    FanoutError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from signalr_fanout.items import CloseConnections, GroupAction, Item, Message
from signalr_fanout.results import ItemResult, Negotiation, SendResult

__all__ = [
    "AsyncClient",
    "Client",
    "CloseConnections",
    "FailedItem",
    "FanoutError",
    "GroupAction",
    "Item",
    "ItemResult",
    "Message",
    "Negotiation",
    "RefusedError",
    "SendResult",
    "UnauthorizedError",
    "UnavailableError",
    "__version__",
]
