"""One ownership of one partition, from taking its lease to giving it back; the state its reader and lanes share.

Rule guarded: what a tenure read belongs to it alone. When it ends, its waiting entries are forgotten (they still stand
in the stream) and nothing of it is settled under a later lease. Pure: whoever waits hands in a callback.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

import msgspec

from fanout.queue.entry import Entry
from fanout.queue.leases import Lease

START = b"0-0"


class Held(msgspec.Struct, frozen=True, gc=False):
    """An entry in a worker's memory: the stream's id, what it says, and when it was stored (the store's clock)."""

    tenure: "Tenure"
    id: bytes
    entry: Entry
    stored_at: float


Call = Sequence[Held]  # entries that share one REST call


class Tenure:
    """Where one partition's reading stands.

    `cursor` is the last id read; `known` are the ids held in memory, from being read until they are settled.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.cursor = START
        self.known: set[bytes] = set()
        self.in_flight = 0
        self.breaks = 0  # of connections to the store, as counted when it began
        self.held = 0  # entries in the lanes
        self.low = inf  # held so few, its reader wants to know; held more, its partition's part of the room is short
        self.ended = False
        self.lost = False
        self.doubted = False
        self._on_quiet: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        state = "ended" if self.ended else "running"
        return f"<Tenure of {self.partition} {state}: {len(self.known)} known, {self.in_flight} in flight>"

    @property
    def partition(self) -> int:
        return self.lease.partition

    def may_act(self, now: float) -> bool:
        """Say whether something of this partition may still be sent."""
        return not self.ended and not self.doubted and now < self.lease.expires

    def doubt(self) -> None:
        """Act no more under this lease: a write under it was refused, or reading broke off. The keeper ends it."""
        self.doubted = True

    def lose(self) -> None:
        """Fall silent: nothing more is sent or settled under this lease."""
        self.ended = self.lost = True
        self.lease = replace(self.lease, expires=float("-inf"))

    def began_call(self) -> None:
        """Count a call in flight; it counts until it is settled."""
        self.in_flight += 1

    def ended_call(self) -> None:
        """Count it off."""
        self.in_flight -= 1
        if self.in_flight == 0:
            waiting, self._on_quiet = self._on_quiet, []
            for tell in waiting:
                tell()

    def when_quiet(self, tell: Callable[[], None]) -> None:
        """Call `tell` once no call of this tenure is in flight, at once if none is now; each who asks is told."""
        if self.in_flight == 0:
            tell()
        else:
            self._on_quiet.append(tell)


def order_of(stream_id: bytes) -> tuple[int, int]:
    """Give what stream ids are ordered by: milliseconds, then the counter within one."""
    milliseconds, _dash, sequence = stream_id.partition(b"-")
    return int(milliseconds), int(sequence or 0)


def before(stream_id: bytes) -> bytes:
    """Give the greatest id that is smaller."""
    milliseconds, sequence = order_of(stream_id)
    return b"%d-%d" % ((milliseconds, sequence - 1) if sequence else (milliseconds - 1, 2**64 - 1))
