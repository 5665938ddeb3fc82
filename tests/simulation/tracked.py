"""One id and all that happened to it: what the verdict is about.

Rule guarded: facts only. Whether they are as promised is judged elsewhere (store_watch.py, witness.py, verdict.py).
"""

from dataclasses import dataclass, field

from fanout.queue.entry import Submission, UnreadableEntryError, decode
from fanout.signalr.message import GroupAction, Message
from tests.simulation.service_model import Call
from tests.simulation.store_model import Fields

ANSWERED = frozenset({"ok", "gone"})
UNKNOWN = frozenset({"500", "500 after", "StaleConnectionError", "ExchangeTimeoutError"})


@dataclass(eq=False)
class TrackedEntry:
    """One id: what was handed in, and all that happened to it."""

    tag: str
    submission: Submission
    lane: str
    partition: int
    accepted: bool = False
    position: int = 0  # place in the order of all appends, 0 when never stored
    added_at: float = 0.0  # when it was stored, by the simulation's time
    stored_at: float = 0.0  # the same by the store's clock
    lost: bool = False  # the store lost it and it was not stored again
    ever_lost: bool = False
    forgotten: bool = False  # the store does not know any more that it was stored
    returned: list[float] = field(default_factory=list)  # when the store forgot that it had been taken out
    spared: float = float("-inf")  # when the store last said that it is not too old yet
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
        """Calls that count: being throttled does not, nor does a call with others that was refused as such."""
        free = {"400", "403", "404", "413", "415", "501"}
        throttled = [call for call in self.calls if call.seen.startswith("429")]
        return len(self.calls) - len(throttled) - sum(len(call.tags) > 1 and call.seen in free for call in self.calls)

    @property
    def answered(self) -> bool:
        """Some worker was told that it is delivered, or that nobody is there to deliver it to."""
        return any(call.seen in ANSWERED for call in self.calls)

    @property
    def is_still_due(self) -> bool:
        """Certainly neither delivered nor dropped yet; what may expire or collapse may be on its way out."""
        item = self.submission.entry.item
        over = self.answered or self.dead or self.expired or self.superseded or self.lost
        return not over and self.ttl is None and not (isinstance(item, Message) and item.collapse)

    def is_needless_after(self, newer: "TrackedEntry") -> bool:
        """Say whether what `newer` brings about makes this one needless, if nothing stands between them."""
        mine, other = self.submission.entry.item, newer.submission.entry.item
        if isinstance(mine, GroupAction) and isinstance(other, GroupAction):
            return (mine.member, mine.group) == (other.member, other.group)
        return isinstance(mine, Message) and isinstance(other, Message) and mine.collapse == other.collapse != ""

    @property
    def answered_calls(self) -> list[Call]:
        """The calls answered for good since it was stored; before, when the store forgot that, it had another place."""
        return [call for call in self.calls if call.reached is not None and call.began >= self.added_at]

    @property
    def arrivals(self) -> list[Call]:
        return [call for call in self.calls if call.arrived is not None]


@dataclass
class LeaseEnd:
    """A lease that ended without its holder's doing: when, and of which partition."""

    at: float
    partition: int
    how: str


def tag_of(fields: Fields) -> str | None:
    """Give the id of a stream entry, None when it cannot be read."""
    try:
        return decode(fields[1]).message_id if fields[0] == b"e" else None
    except UnreadableEntryError:
        return None
