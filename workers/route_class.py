"""The classes of calls that the service limits apart; pace and breaker are kept for each.

Source: the service's published capacities: a few broadcasts a second against hundreds of sends to users per unit; a 429
for one says nothing about the other. Pure.
"""

from enum import IntEnum

from fanout.signalr.message import Item, Message, Scope


class RouteClass(IntEnum):
    """Small numbers, because lanes keep a queue for each; `label` is the metric label."""

    BROADCAST = 0
    SEND = 1
    ACTION = 2

    @property
    def label(self) -> str:
        return self.name.lower()


def class_of(item: Item) -> RouteClass:
    """Tell which class an item's call belongs to; closing connections is an action."""
    if not isinstance(item, Message):
        return _ACTION
    return _BROADCAST if item.scope is Scope.BROADCAST else _SEND


_BROADCAST, _SEND, _ACTION = RouteClass
