"""One lane: a destination's waiting entries and how far the delivery of its head has come. Pure.

Rule guarded: what belongs to the head (attempts, a renewed token, going alone) is forgotten as soon as the head is done
with, so that no entry pays for its predecessor.
"""

from collections import deque

from fanout.queue.lane_key import hub_of
from workers.route_class import RouteClass, class_of
from workers.tenure import Held, Tenure


class Lane:
    """One destination: its entries in order, the head of which is the one being delivered.

    `spilled_after` is None when the lane holds all that was read for it; else the rest stands in the stream after that
    id, and nothing read later may be added before it. `stale` tells a fetch in progress that it began too late in the
    stream, because the lane has left more of it there since. `alone`: the head goes in a call of its own;
    `throttled`: a call of it was made that does not count as an attempt; `postponed`: a call of it went wrong,
    or its hub is held back; `delayed`: its time has not come yet; `left`: the head's id while it waits in the stream.
    `plain`: nothing that could give way to something newer, or grow too old, was ever in it: no plan is needed.
    """

    __slots__ = (
        "alone", "attempts", "delayed", "dropped", "fetching", "hub", "key", "left", "left_class", "plain", "postponed",
        "renewed", "spilled_after", "stale", "tenure", "throttled", "waiting",
    )  # fmt: skip

    def __init__(self, key: str, tenure: Tenure) -> None:
        self.key = key
        self.hub = hub_of(key)
        self.tenure = tenure
        self.waiting: deque[Held] = deque()
        self.attempts = 0
        self.renewed = False
        self.alone = False
        self.throttled = False
        self.postponed = False
        self.delayed = False
        self.left: bytes | None = None
        self.left_class = RouteClass.SEND
        self.plain = True
        self.dropped = False
        self.fetching = False
        self.stale = False
        self.spilled_after: bytes | None = None

    def __repr__(self) -> str:
        spilled = ", more in the stream" if self.spilled_after is not None else ""
        return f"<Lane {self.key!r} {len(self.waiting)} waiting{spilled}, attempt {self.attempts}>"

    @property
    def head(self) -> Held:
        return self.waiting[0]

    @property
    def route_class(self) -> RouteClass:
        """The class of the head's call, wherever the head is."""
        return class_of(self.waiting[0].entry.item) if self.waiting else self.left_class

    def begin_next(self) -> None:
        """Forget what belonged to the head that is done with."""
        self.attempts = 0
        self.postponed = False
        self.left = None
        self.renewed = False
        self.alone = False
        self.throttled = False
