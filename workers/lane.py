"""One lane: the entries that wait for one destination, and how far the delivery of the first has come. Pure.

Rule guarded: what belongs to the head (attempts, a renewed token, going alone) is forgotten as soon as the head is
done with, so that no entry pays for its predecessor.
"""

from collections import deque

from fanout.queue.lane_key import hub_of
from fanout.signalr.routes import RouteClass, class_of
from workers.partition import BufferedEntry, OwnedPartition


class Lane:
    """One destination. `waiting` are its entries in order; the first is the head, the one that is delivered next.

    Of the head:
    `attempts` counts its calls; `uncounted` means that one of them was not counted (it was refused for speed, or made
    together with others); `renewed` that its token was renewed; `alone` that it shares no call; `postponed` that a call
    failed or its hub is held back; `left` is its id while it waits in the stream.

    Of the lane:
    `spilled_after` is None when the lane holds all that was read for it. Otherwise the rest is in the stream after that
    id, and nothing read later may be added before it. `stale` means that a fetch in progress began too late in the
    stream, because the lane has left more of it there since. `delayed`: its time has not come yet. `plain`: nothing
    that could be superseded or expire was ever in it, so that no plan is needed.
    """

    __slots__ = (
        "alone", "attempts", "delayed", "dropped", "fetching", "hub", "key", "left", "left_class", "partition", "plain",
        "postponed", "renewed", "spilled_after", "stale", "uncounted", "waiting",
    )  # fmt: skip

    def __init__(self, key: str, partition: OwnedPartition) -> None:
        self.key = key
        self.hub = hub_of(key)
        self.partition = partition
        self.waiting: deque[BufferedEntry] = deque()
        self.attempts = 0
        self.uncounted = False
        self.renewed = False
        self.alone = False
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
    def head(self) -> BufferedEntry:
        return self.waiting[0]

    @property
    def route_class(self) -> RouteClass:
        """The class of the head's call, in memory or left in the stream."""
        return class_of(self.waiting[0].entry.item) if self.waiting else self.left_class

    def count_attempt(self) -> None:
        """Count a call of the head."""
        self.attempts += 1

    def uncount_attempt(self) -> None:
        """Take back the count of the last call: it says nothing about the head."""
        self.attempts -= 1
        self.uncounted = True

    def go_alone(self) -> None:
        """Have the head share no call from now on: the last one, which it shared, was refused."""
        self.alone = True
        self.uncount_attempt()

    def note_renewal(self) -> None:
        """Remember that the head's token was renewed."""
        self.renewed = True

    def begin_next(self) -> None:
        """Forget what belonged to the head that is done with."""
        self.attempts = 0
        self.postponed = False
        self.left = None
        self.renewed = False
        self.alone = False
        self.uncounted = False
