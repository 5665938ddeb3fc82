"""The conservation oracle over a whole flow: what every producer was promised against what the witness saw.

Rule guarded: every accepted item was delivered, expired or lies in the dead letters; whatever was delivered had been
accepted; its bytes are those that were sent; no lane was overtaken. The judgement of one producer is that of the flow
tests (tests/flow/oracle.py), so there is one oracle and one test of it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.driver import Flow
from tests.flow.oracle import Call, Findings, examine
from tests.flow.traffic import sent_of


@dataclass(frozen=True, slots=True)
class Exits:
    """The other ways out, as marks by hub: `expired` by their own time, `dead`, or `forgotten` by the store."""

    expired: Mapping[str, Collection[str]] = field(default_factory=dict)
    dead: Mapping[str, Collection[str]] = field(default_factory=dict)
    forgotten: Mapping[str, Collection[str]] = field(default_factory=dict)

    def gone(self, hub: str) -> set[str]:
        """Return the marks of one hub that left by our doing."""
        return {*self.expired.get(hub, ()), *self.dead.get(hub, ())}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings of each producer, and how many items its judgement is about."""

    accepted: int
    findings: Mapping[str, Findings]
    exits: Exits

    @property
    def duplicates(self) -> int:
        """How often something took effect again."""
        return sum(each.duplicates for each in self.findings.values())

    @property
    def missing(self) -> int:
        """How many accepted items were not delivered and have no other way out."""
        return sum(len(each.lost) for each in self.findings.values())

    def count(self, way: Mapping[str, Collection[str]]) -> int:
        """Return how many left in one of the ways of `exits`."""
        return sum(len(marks) for marks in way.values())

    def check(self, *, most_duplicates: int = 0) -> None:
        """AssertionError when a promise was broken, or more was repeated than what went wrong explains."""
        assert self.accepted, "nothing was accepted, so nothing was tried"
        for findings in self.findings.values():
            findings.check(most_duplicates=most_duplicates)
        assert self.duplicates <= most_duplicates, f"{self.duplicates} duplicates, {most_duplicates} explained"


def judge(flow: Flow, calls: Mapping[str, Sequence[Call]], exits: Exits) -> Verdict:
    """Judge a flow that has ended by the journal's calls of each hub."""
    findings = {
        producer.hub: examine(
            sent_of(producer.accepted),
            calls.get(producer.hub, ()),
            gone=exits.gone(producer.hub),
            forgotten=exits.forgotten.get(producer.hub, ()),
        )
        for producer in flow.producers
    }
    return Verdict(flow.accepted, findings, exits)
