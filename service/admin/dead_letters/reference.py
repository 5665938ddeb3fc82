"""Ids of dead letters, and cursors into the sequence of all of them. Pure.

Rules guarded: the letters of all partitions have one order, by the time they were parked, so pages neither skip nor
repeat a letter. A cursor carries the end of its scan, so a letter that is replayed and parked again meanwhile is not
visited twice. Ids and cursors come from callers, so they are parsed strictly.
"""

import re
from dataclasses import dataclass

from fanout.queue.dead_letters import DeadLetter, LetterKey

_ID = re.compile(r"([0-9]{1,4}):([0-9]{1,19})-([0-9]{1,19})")
_STREAM_ID = re.compile(rb"([0-9]{1,20})-([0-9]{1,20})")
_CURSOR = re.compile(r"([0-9]{1,19})-([0-9]{1,19})\.([0-9]{1,4})\.([0-9]{1,15})")
_MAX_PARTITION = 9999  # by the form of an id
_MAX = 2**63  # stream ids could be larger; no clock produces such


@dataclass(frozen=True, slots=True, order=True)
class LetterRef:
    """A dead letter by the unix millisecond at which it was parked, a counter and its partition. References sort."""

    millisecond: int
    counter: int
    partition: int

    @property
    def stream_id(self) -> bytes:
        """Its id in the stream of its partition."""
        return b"%d-%d" % (self.millisecond, self.counter)

    @property
    def key(self) -> LetterKey:
        """The same in the form the queue uses."""
        return self.partition, self.stream_id

    def __str__(self) -> str:
        return f"{self.partition}:{self.millisecond}-{self.counter}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a scan: after the letter `after`, before the unix millisecond `before` (None: not known yet)."""

    after: LetterRef = LetterRef(0, 0, 0)
    before: int | None = None

    def after_in(self, partition: int) -> bytes:
        """Return the stream id after which the scan continues in a partition."""
        after = self.after
        if partition <= after.partition or (after.millisecond, after.counter) == (0, 0):
            return after.stream_id
        if after.counter:
            return b"%d-%d" % (after.millisecond, after.counter - 1)
        return b"%d-%d" % (after.millisecond - 1, _MAX - 1)

    def __str__(self) -> str:
        after = self.after
        return f"{after.millisecond}-{after.counter}.{after.partition}.{self.before or 0}"


def ref_at(partition: int, stream_id: bytes) -> LetterRef:
    """Return the reference of a letter that the queue returned."""
    millisecond, _, counter = stream_id.partition(b"-")
    return LetterRef(int(millisecond), int(counter), partition)


def last_before(millisecond: int) -> LetterRef:
    """Return the last reference that a letter parked before this unix millisecond could have."""
    return LetterRef(millisecond - 1, _MAX - 1, _MAX_PARTITION) if millisecond > 0 else LetterRef(0, 0, 0)


def acceptance_order(ref: LetterRef, letter: DeadLetter) -> LetterRef:
    """Return a key that sorts letters by when their entries were accepted; unknown times come first."""
    found = _STREAM_ID.fullmatch(letter.entry.id)
    return LetterRef(int(found[1]), int(found[2]), ref.partition) if found else LetterRef(0, 0, ref.partition)


def parse_ref(text: str) -> LetterRef | None:
    """Parse an id, `<partition>:<stream id>`; None when it is not valid."""
    found = _ID.fullmatch(text)
    return _checked(found[1], found[2], found[3]) if found else None


def parse_cursor(text: str) -> Cursor | None:
    """Parse a cursor; None when it is not valid."""
    found = _CURSOR.fullmatch(text)
    after = _checked(found[3], found[1], found[2]) if found else None
    return Cursor(after, int(found[4])) if found and after else None


def _checked(partition: str, millisecond: str, counter: str) -> LetterRef | None:
    ref = LetterRef(int(millisecond), int(counter), int(partition))
    return ref if max(ref.millisecond, ref.counter) < _MAX else None
