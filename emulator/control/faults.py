"""Decides, call by call, what goes wrong: which rule hits.

Rule guarded: decisions depend on the calls seen and on the seeds only, so a failing run can be repeated.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from emulator.control.fault_rules import FaultRule, rules_from


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do to one call: wait `latency` seconds, then apply `rule` if there is one."""

    latency: float = 0.0
    rule: FaultRule | None = None

    @property
    def name(self) -> str | None:
        """The kind as the journal shows it."""
        if self.rule is not None:
            return self.rule.kind
        return "latency" if self.latency else None


NO_FAULT = Verdict()


@dataclass(slots=True)
class _Armed:
    """A rule and what it has seen."""

    rule: FaultRule
    dice: random.Random
    seen: int = 0
    hits: int = field(default=0)

    def fires(self) -> bool:
        """Count a matching call and tell whether the rule hits it."""
        self.seen += 1
        rule = self.rule
        if rule.times and self.hits >= rule.times:
            return False
        if rule.every and self.seen % rule.every:
            return False
        if rule.probability is not None and self.dice.random() >= rule.probability:
            return False
        self.hits += 1
        return True


class Faults:
    """The rules in force. The first rule that hits wins; latency adds up and lets later rules have their say."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def __repr__(self) -> str:
        return f"<Faults {len(self._armed)} rules>"

    @property
    def rules(self) -> tuple[FaultRule, ...]:
        """The rules in force."""
        return tuple(armed.rule for armed in self._armed)

    def set(self, rules: Iterable[FaultRule | dict[str, Any]]) -> None:
        """Replace all rules and forget what the old ones had counted; dictionaries have the JSON shape."""
        given = [rule if isinstance(rule, FaultRule) else rules_from([rule])[0] for rule in rules]
        # S311: a repeatable dice is the point.
        self._armed = [_Armed(rule, random.Random(rule.seed)) for rule in given]  # noqa: S311

    def clear(self) -> None:
        """Let everything go well again."""
        self._armed = []

    def judge(self, method: str, path: str) -> Verdict:
        """Say what happens to a call."""
        if not self._armed:
            return NO_FAULT
        latency = 0.0
        for armed in self._armed:
            if armed.rule.match.covers(method, path) and armed.fires():
                if armed.rule.kind != "latency":
                    return Verdict(latency, armed.rule)
                latency += armed.rule.seconds
        return Verdict(latency)

    def report(self) -> list[dict[str, Any]]:
        """List the rules with how many calls they matched and hit."""
        return [{**msgspec.to_builtins(armed.rule), "seen": armed.seen, "hits": armed.hits} for armed in self._armed]
