"""Faults on demand: rules as JSON, and the decision, request by request, of what goes wrong.

A rule says which requests it is for (`match`), what goes wrong (`kind`) and which of the matching requests it applies
to. A mistake in a rule is refused with a text that names it: a test whose rule never applied would pass for the wrong
reason. Decisions depend on the requests seen and on the seeds only, so that a failing run can be repeated.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

FaultKind = Literal["status", "latency", "resetBeforeBody", "resetAfterBody", "statusAfterDelivery"]
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 599


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The requests of a rule. `method` has any case; `path` is a regular expression searched in the path as sent."""

    method: str = ""
    path: str = ""

    def covers(self, method: str, path: str) -> bool:
        """Return whether the rule is for this request."""
        return (not self.method or self.method.upper() == method) and (
            not self.path or re.search(self.path, path) is not None
        )


class FaultRule(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename="camel",
):
    """One fault, of one of these kinds.

    * `status`: answer with that status and do nothing else
    * `statusAfterDelivery`: do what the request asks for, then answer with that status
    * `latency`: wait `seconds` before going on
    * `resetBeforeBody`: reset the connection without reading the body
    * `resetAfterBody`: reset it after reading the body; with `deliver`, after doing what the request asks for

    `times` limits how often the rule applies (0: no limit), `every` n applies it to each n-th matching request, and
    `probability` at random, repeatable by `seed`. `retry_after` is the value of a Retry-After header.
    """

    kind: FaultKind
    match: Match = Match()
    status: int = 0
    retry_after: str | int | float | None = None
    seconds: float = 0.0
    times: int = 0
    every: int = 0
    probability: float | None = None
    seed: int = 0
    deliver: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a rule that cannot apply."""
        needs_status = self.kind in {"status", "statusAfterDelivery"}
        if needs_status and not _LOWEST_STATUS <= self.status <= _HIGHEST_STATUS:
            raise ValueError(f"kind {self.kind} needs a status from {_LOWEST_STATUS} to {_HIGHEST_STATUS}")
        if self.kind == "latency" and self.seconds <= 0:
            raise ValueError("kind latency needs seconds above 0")
        if self.times < 0 or self.every < 0:
            raise ValueError("times and every must not be negative")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")
        try:
            re.compile(self.match.path)
        except re.error as error:
            raise ValueError(f"match.path is not a regular expression: {error}") from None


_decoder = msgspec.json.Decoder(tuple[FaultRule, ...])


def parse_rules(data: bytes) -> tuple[FaultRule, ...]:
    """Return the rules in a JSON list, or raise ValueError, which says what is wrong and where."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"fault rules: {error}") from None


@dataclass(frozen=True, slots=True)
class FaultDecision:
    """What happens to one request: wait `latency` seconds, then apply `rule` if there is one."""

    latency: float = 0.0
    rule: FaultRule | None = None

    @property
    def name(self) -> str | None:
        """The kind of fault that the journal shows."""
        if self.rule is not None:
            return self.rule.kind
        return "latency" if self.latency else None


NO_FAULT = FaultDecision()


@dataclass(slots=True)
class _ActiveRule:
    """A rule and its counts: matching requests, and those it was applied to."""

    rule: FaultRule
    rng: random.Random
    seen: int = 0
    hits: int = 0

    def applies(self) -> bool:
        """Count a matching request and return whether the rule applies to it."""
        self.seen += 1
        rule = self.rule
        if rule.times and self.hits >= rule.times:
            return False
        if rule.every and self.seen % rule.every:
            return False
        if rule.probability is not None and self.rng.random() >= rule.probability:
            return False
        self.hits += 1
        return True


class Faults:
    """The rules in force. Latencies add up; of the other kinds the first rule that applies decides."""

    def __init__(self) -> None:
        self._active: list[_ActiveRule] = []

    def __repr__(self) -> str:
        return f"<Faults {len(self._active)} rules>"

    @property
    def rules(self) -> tuple[FaultRule, ...]:
        """The rules in force."""
        return tuple(active.rule for active in self._active)

    def set(self, rules: Iterable[FaultRule | dict[str, Any]]) -> None:
        """Replace all rules and their counts. Dictionaries have the shape of the JSON."""
        given = [rule if isinstance(rule, FaultRule) else parse_rules(msgspec.json.encode([rule]))[0] for rule in rules]
        self._active = [_ActiveRule(rule, _draws_of(rule)) for rule in given]

    def clear(self) -> None:
        """Remove all rules."""
        self._active = []

    def decide(self, method: str, path: str) -> FaultDecision:
        """Return what happens to a request."""
        if not self._active:
            return NO_FAULT
        latency = 0.0
        for active in self._active:
            if active.rule.match.covers(method, path) and active.applies():
                if active.rule.kind != "latency":
                    return FaultDecision(latency, active.rule)
                latency += active.rule.seconds
        return FaultDecision(latency)

    def report(self) -> list[dict[str, Any]]:
        """Return the rules with the number of requests they matched (`seen`) and were applied to (`hits`)."""
        return [
            {**msgspec.to_builtins(active.rule), "seen": active.seen, "hits": active.hits} for active in self._active
        ]


def _draws_of(rule: FaultRule) -> random.Random:
    return random.Random(rule.seed)  # noqa: S311 - a run has to be repeatable, not unpredictable
