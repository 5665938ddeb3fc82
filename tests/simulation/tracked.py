"""One entry and everything that happened to it.

Rule guarded: facts only. Whether they are as promised is checked in store_observer.py, observer.py and final_checks.py.
"""

from dataclasses import dataclass, field

from fanout.queue.changes import read_marker
from fanout.queue.entry import Submission, UnreadableEntryError
from fanout.signalr.message import GroupAction, Message
from tests.newer_format import decode
from tests.simulation.service_model import Call
from tests.simulation.store_model import Fields

ANSWERED = frozenset({"ok", "gone"})
UNKNOWN = frozenset({"500", "500 after", "StaleConnectionError", "ExchangeTimeoutError"})


@dataclass(eq=False)
class TrackedEntry:
    """One entry: what was appended, and what happened to it."""

    tag: str
    submission: Submission
    lane: str
    partition: int
    accepted: bool = False
    position: int = 0  # place in the order of all appends; 0 when it was never stored
    added_at: float = 0.0  # when it was stored, by the simulation's time
    stored_at: float = 0.0  # the same by the store's clock
    lost: bool = False  # the store lost it and it was not stored again
    ever_lost: bool = False
    forgotten: bool = False  # the store has lost that it was stored
    returned: list[float] = field(default_factory=list)  # when the store lost that it had been taken out
    spared: float = float("-inf")  # when the store last found that it had not expired
    left_at: float = 0.0  # when it was taken out of the store last
    expired: bool = False
    superseded: bool = False
    dead: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def ttl(self) -> float | None:
        item = self.submission.entry.item
        return item.ttl if isinstance(item, Message) else None

    @property
    def is_message(self) -> bool:
        return isinstance(self.submission.entry.item, Message)

    @property
    def attempts(self) -> int:
        """Calls that count as attempts: not those refused for speed, nor joined calls that were refused as such."""
        free = {"400", "403", "404", "413", "415", "501"}
        throttled = [call for call in self.calls if call.seen.startswith("429")]
        return len(self.calls) - len(throttled) - sum(len(call.tags) > 1 and call.seen in free for call in self.calls)

    @property
    def answered(self) -> bool:
        """Whether a worker learned that it is delivered, or that its destination does not exist."""
        return any(call.seen in ANSWERED for call in self.calls)

    @property
    def is_still_due(self) -> bool:
        """Whether it certainly has yet to be delivered; what may expire or be superseded may already be leaving."""
        item = self.submission.entry.item
        over = self.answered or self.dead or self.expired or self.superseded or self.lost
        return not over and self.ttl is None and not (isinstance(item, Message) and item.collapse)

    def is_needless_after(self, newer: "TrackedEntry") -> bool:
        """Return whether `newer` supersedes this one if nothing else comes between them."""
        mine, other = self.submission.entry.item, newer.submission.entry.item
        if isinstance(mine, GroupAction) and isinstance(other, GroupAction):
            return (mine.member, mine.group) == (other.member, other.group)
        return isinstance(mine, Message) and isinstance(other, Message) and mine.collapse == other.collapse != ""

    @property
    def answered_calls(self) -> list[Call]:
        """The calls with a final answer since it was stored; what the store forgot was stored in another place."""
        return [call for call in self.calls if call.reached is not None and call.began >= self.added_at]

    @property
    def arrivals(self) -> list[Call]:
        return [call for call in self.calls if call.arrived is not None]


@dataclass
class LeaseEnd:
    """A lease, or the rest of one, that ended without its holder's doing: when, of which partition, how, and which."""

    at: float
    partition: int
    how: str
    token: str

    def may_end(self, call: Call, partition: int) -> bool:
        """Return whether it may have been the lease of a call; what the store lost may have been the lease of any."""
        return self.partition == partition and (self.how in ("FLUSHALL", "failover") or call.token in ("", self.token))


def is_marker(fields: Fields) -> bool:
    """Return whether a stream entry is a marker, which belongs to no id."""
    return fields[0] == b"e" and read_marker(fields[1]) is not None


def tag_of(fields: Fields) -> str | None:
    """Return the id of a stream entry; None when it cannot be read."""
    try:
        return decode(fields[1], "").message_id if fields[0] == b"e" else None
    except UnreadableEntryError:
        return None
