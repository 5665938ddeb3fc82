"""Where a dead letter lies, and how far a walk over all of them has come. Pure.

Rules guarded: letters of all partitions have one order, by the time they were parked, so that pages of it neither skip
nor repeat; a walk has an end in time from its beginning, so that a letter that is sent again and parked again while the
walk goes on is not met by it a second time. Ids and cursors come from callers, so they are read with care.
"""

import re
from dataclasses import dataclass

from fanout.queue.dead_letters import DeadLetter, LetterRef

_ID = re.compile(r"([0-9]{1,4}):([0-9]{1,19})-([0-9]{1,19})")
_STREAM_ID = re.compile(rb"([0-9]{1,20})-([0-9]{1,20})")
_CURSOR = re.compile(r"([0-9]{1,19})-([0-9]{1,19})\.([0-9]{1,4})\.([0-9]{1,15})")
_BELOW = 2**63  # a stream's ids go further; no clock does


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A dead letter: the unix millisecond at which it was parked, a counter, its partition. Places have an order."""

    millisecond: int
    counter: int
    partition: int

    @property
    def stream_id(self) -> bytes:
        """Its id in the stream of its partition."""
        return b"%d-%d" % (self.millisecond, self.counter)

    @property
    def chosen(self) -> LetterRef:
        """The letter as the queue names it."""
        return self.partition, self.stream_id

    def __str__(self) -> str:
        return f"{self.partition}:{self.millisecond}-{self.counter}"


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far a walk came: behind `after`, and not up to the unix millisecond `before`, None when it is not known."""

    after: Place = Place(0, 0, 0)
    before: int | None = None

    def after_in(self, partition: int) -> bytes:
        """Give the stream id behind which the walk goes on in a partition."""
        after = self.after
        if partition <= after.partition or (after.millisecond, after.counter) == (0, 0):
            return after.stream_id
        if after.counter:
            return b"%d-%d" % (after.millisecond, after.counter - 1)
        return b"%d-%d" % (after.millisecond - 1, _BELOW - 1)

    def __str__(self) -> str:
        after = self.after
        return f"{after.millisecond}-{after.counter}.{after.partition}.{self.before or 0}"


def place_at(partition: int, stream_id: bytes) -> Place:
    """Give the place of a letter the queue told of."""
    millisecond, _, counter = stream_id.partition(b"-")
    return Place(int(millisecond), int(counter), partition)


def accepted_at(place: Place, letter: DeadLetter) -> Place:
    """Give what puts letters in the order in which their entries were accepted; unknown ones come first."""
    found = _STREAM_ID.fullmatch(letter.entry.id)
    return Place(int(found[1]), int(found[2]), place.partition) if found else Place(0, 0, place.partition)


def place_of(text: str) -> Place | None:
    """Read an id, `<partition>:<stream id>`; None when it is none."""
    found = _ID.fullmatch(text)
    return _checked(found[1], found[2], found[3]) if found else None


def bookmark_of(text: str) -> Bookmark | None:
    """Read a cursor; None when it is none of ours."""
    found = _CURSOR.fullmatch(text)
    after = _checked(found[3], found[1], found[2]) if found else None
    return Bookmark(after, int(found[4])) if found and after else None


def _checked(partition: str, millisecond: str, counter: str) -> Place | None:
    place = Place(int(millisecond), int(counter), int(partition))
    return place if max(place.millisecond, place.counter) < _BELOW else None
