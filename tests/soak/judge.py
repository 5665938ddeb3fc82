"""Judges a soak while it runs, stretch by stretch, so that hours need no more memory than minutes. Pure.

Rule guarded: what was accepted arrived, unchanged and in order; each repeat has a reason: its answer was lost or a 5xx,
or a trouble lay between the two calls. The comparing itself is the flow tests' oracle.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.flow.oracle import Call, Findings, Sent, examine
from tests.soak.troubles import Event

_FAILED = 500
_AFTERMATH = 5.0  # seconds in which what was frozen catches up
UNEXPLAINED = "unexplained"
ANSWER = "answer lost or 5xx"


@dataclass(slots=True)
class Stretch:
    """One producer's messages of one stretch of time, and the calls that came for it."""

    sent: list[Sent] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    closed: bool = False  # nothing more is sent in it
    delivered: set[str] = field(default_factory=set)
    whole_since: float | None = None

    def take(self, call: Call) -> None:
        """Note a call; one that is still in flight in the journal is not to be given here."""
        self.calls.append(call)
        if call.delivered and call.mark is not None:
            self.delivered.add(call.mark)

    @property
    def whole(self) -> bool:
        """Whether all that was sent has arrived."""
        return self.closed and len(self.delivered) >= len(self.sent)


@dataclass(slots=True)
class Verdict:
    """What was found up to now. `accepted` and `delivered` are messages, `repeats` are counted by reason."""

    accepted: int = 0
    delivered: int = 0
    wrong: list[str] = field(default_factory=list)
    repeats: Counter[str] = field(default_factory=Counter)
    by_event: Counter[int] = field(default_factory=Counter)

    def add(self, name: str, stretch: Stretch, events: Sequence[Event]) -> None:
        """Judge a stretch that is done with."""
        found = examine(stretch.sent, stretch.calls)
        self.accepted += len(stretch.sent)
        self.delivered += len(stretch.sent) - len(found.lost)
        self.wrong += [f"{name}: {text}" for text in _wrong(found)]
        for mark in found.repeats:
            calls = sorted((c for c in stretch.calls if c.mark == mark and c.delivered), key=lambda c: c.arrived)
            for first, again in pairwise(calls):
                self._explain(name, first, again, events)

    def _explain(self, name: str, first: Call, again: Call, events: Sequence[Event]) -> None:
        if first.status is None or first.status >= _FAILED:
            self.repeats[ANSWER] += 1
            return
        for grace in (0.0, _AFTERMATH):
            for number, event in enumerate(events):
                if event.repeats and event.began <= again.arrived and event.ended + grace >= first.arrived:
                    self.repeats[event.name] += 1
                    self.by_event[number] += 1
                    return
        self.repeats[UNEXPLAINED] += 1
        self.wrong.append(f"{name}: {first.mark} came again after {again.arrived - first.arrived:.2f} s for no reason")

    def close(self, events: Sequence[Event]) -> None:
        """Hold the repeats against what each event may have repeated."""
        for number, count in self.by_event.items():
            event = events[number]
            if count > event.repeats:
                self.wrong.append(f"{event.name}: {count} repeats, {event.repeats} may be in flight")


def _wrong(found: Findings) -> list[str]:
    texts: dict[str, Sequence[object]] = {
        "lost": found.lost,
        "not sent by anybody": found.foreign,
        "changed on the way": found.corrupt,
        "out of order": found.inverted,
    }
    return [f"{len(list_)} {text}: {list_[:3]}" for text, list_ in texts.items() if list_]
