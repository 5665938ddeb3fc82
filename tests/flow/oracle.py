"""Judges a run: what was accepted against what arrived. Pure, so that it can be tried on runs that went wrong.

Rules guarded: nothing accepted is lost, nothing arrives that was not sent, every byte of a call is the one that was
meant, and within a lane no call is made before the one ahead of it has been delivered. Repeats are counted apart: how
many there may be is for each test to say. Each thing sent carries a mark of its own, in its path or in its body.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

_MARK = re.compile(r"id-\d+-")
_VERSION = "api-version=2022-06-01"


def mark(number: int) -> str:
    """Return the mark of the thing sent as number `number`."""
    return f"id-{number}-"


def mark_in(data: bytes) -> str | None:
    """Find the mark in the bytes of a message or of a queue entry, None without one."""
    found = _MARK.search(data.decode(errors="replace"))
    return None if found is None else found.group()


@dataclass(frozen=True, slots=True)
class Sent:
    """One REST call that was promised: its lane, and method, target and body as they have to arrive."""

    lane: str
    method: str
    target: str
    body: bytes = b""

    @property
    def mark(self) -> str:
        found = _MARK.search(self.target) or _MARK.search(self.body.decode())
        assert found is not None, self
        return found.group()


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the emulator's journal has it. Times are seconds of the emulator's monotonic clock."""

    sequence: int
    arrived: float
    answered: float | None
    method: str
    target: str
    body: bytes
    status: int | None
    delivered: bool
    in_flight: int = 0
    token: str = ""
    traceparent: str = ""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Read one entry of the journal."""
        return cls(
            sequence=entry["sequence"],
            arrived=entry["monotonic"],
            answered=entry["answered"],
            method=entry["method"],
            target=f"{entry['path']}?{entry['query']}",
            body=entry["body"].encode(),
            status=entry["status"],
            delivered=entry["delivered"],
            in_flight=entry["inFlight"],
            token=entry["token"],
            traceparent=entry["traceparent"],
        )

    @property
    def mark(self) -> str | None:
        """The mark it carries, None without one (a call that was cut before its body was read)."""
        found = _MARK.search(self.target) or _MARK.search(self.body.decode())
        return None if found is None else found.group()


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a run, by mark; `inverted` are pairs (what should have waited, for what)."""

    lost: list[str] = field(default_factory=list)
    foreign: list[Call] = field(default_factory=list)
    corrupt: list[Call] = field(default_factory=list)
    inverted: list[tuple[str, str]] = field(default_factory=list)
    repeats: Counter[str] = field(default_factory=Counter)

    @property
    def duplicates(self) -> int:
        """How often something took effect again."""
        return self.repeats.total()

    def check(self, *, most_duplicates: int = 0) -> None:
        """AssertionError when anything is wrong."""
        assert not self.lost, f"{len(self.lost)} lost: {self.lost[:10]}"
        assert not self.foreign, f"{len(self.foreign)} not sent by the test: {self.foreign[:3]}"
        assert not self.corrupt, f"{len(self.corrupt)} changed on the way: {self.corrupt[:3]}"
        assert not self.inverted, f"{len(self.inverted)} out of order: {self.inverted[:10]}"
        assert self.duplicates <= most_duplicates, f"{self.duplicates} duplicates: {self.repeats}"


def sent_target(path: str, *query: str) -> str:
    """Return a whole target: the path, the api-version, and further `name=value` pairs."""
    return f"{path}?{'&'.join((_VERSION, *query))}"


def examine(
    sent: Sequence[Sent], calls: Sequence[Call], *, gone: Collection[str] = (), forgotten: Collection[str] = ()
) -> Findings:
    """Compare what was sent, in order, with the calls of a journal.

    `gone` are the marks of what left in another way, expired or dead. Where such a one was not delivered, what stood
    behind it goes as if it had never been there. `forgotten` is what the store lost: it may be missing, and where a
    call for it was under way when the store forgot who owned it, no worker could wait for the end of that call.
    """
    promised = {each.mark: each for each in sent}
    assert len(promised) == len(sent), "the test sent two things with the same mark"
    known = [(call, promised.get(call.mark or "")) for call in calls if call.mark is not None or call.delivered]
    effects = Counter(each.mark for call, each in known if each is not None and call.delivered)
    return Findings(
        lost=[each for each in promised if not effects[each] and each not in gone and each not in forgotten],
        foreign=[call for call, each in known if each is None],
        corrupt=[call for call, each in known if each is not None and not _is_same(call, each)],
        inverted=_inversions([each for each in sent if effects[each.mark] or each.mark not in gone], calls, forgotten),
        repeats=Counter({each: times - 1 for each, times in effects.items() if times > 1}),
    )


def _is_same(call: Call, sent: Sent) -> bool:
    body = sent.body if call.body or call.delivered else b""  # a call that was cut has no body
    return (call.method, call.target, call.body) == (sent.method, sent.target, body)


def _inversions(sent: Sequence[Sent], calls: Sequence[Call], excused: Collection[str]) -> list[tuple[str, str]]:
    first_try: dict[str, float] = {}
    first_effect: dict[str, float] = {}
    for call in calls:
        if call.mark is None:
            continue
        first_try[call.mark] = min(call.arrived, first_try.get(call.mark, call.arrived))
        if call.delivered and call.answered is not None:
            first_effect[call.mark] = min(call.answered, first_effect.get(call.mark, call.answered))
    inverted = []
    ahead: dict[str, str] = {}
    for each in (each for each in sent if each.mark not in excused):
        waited_for = ahead.get(each.lane)
        if waited_for is not None and first_try.get(each.mark, _NEVER) < first_effect.get(waited_for, _NEVER):
            inverted.append((each.mark, waited_for))
        ahead[each.lane] = each.mark
    return inverted


_NEVER = float("inf")
