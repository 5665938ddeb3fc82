"""Reads fault rules from JSON and checks them. Pure.

Source: contract 8.1 point 11. A rule says which calls it is for (`match`), what goes wrong (`kind`) and which of the
matching calls it hits. A typing error in a rule is refused with a text that names it: a fault test whose rule never
fires would pass for the wrong reason.
"""

import re
from typing import Any, Literal

import msgspec

FaultKind = Literal["status", "latency", "resetBeforeBody", "resetAfterBody", "statusAfterDelivery"]
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 599


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which calls: `method` in any case; `path` is a regular expression searched in the path as it is on the wire."""

    method: str = ""
    path: str = ""

    def covers(self, method: str, path: str) -> bool:
        """Tell whether a call is meant."""
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
    """One fault.

    `status` answers with that status and does nothing else; `statusAfterDelivery` does what was asked and then answers
    so; `latency` waits `seconds` and goes on; `resetBeforeBody` drops the connection without reading the body,
    `resetAfterBody` after reading it, having done what was asked only with `deliver`.
    `times` bounds how often the rule hits (0 = no bound), `every` n hits each n-th matching call, `probability` with
    `seed` hits at random but repeatably. `retry_after` is the text of a Retry-After header, seconds or a date.
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
        """Refuse a rule that could not mean anything."""
        needs_status = self.kind in {"status", "statusAfterDelivery"}
        if needs_status and not _LOWEST_STATUS <= self.status <= _HIGHEST_STATUS:
            raise ValueError(f"kind {self.kind} needs a status from {_LOWEST_STATUS} to {_HIGHEST_STATUS}")
        if self.kind == "latency" and self.seconds <= 0:
            raise ValueError("kind latency needs seconds above 0")
        if self.times < 0 or self.every < 0:
            raise ValueError("times and every count calls: they cannot be negative")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")
        try:
            re.compile(self.match.path)
        except re.error as error:
            raise ValueError(f"match.path is not a regular expression: {error}") from None


_decoder = msgspec.json.Decoder(tuple[FaultRule, ...])


def parse_rules(data: bytes) -> tuple[FaultRule, ...]:
    """Read a JSON list of rules; ValueError says which one is wrong and why."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"fault rules: {error}") from None


def rules_from(values: list[dict[str, Any]]) -> tuple[FaultRule, ...]:
    """Read rules given as Python values of the same shape."""
    return parse_rules(msgspec.json.encode(values))
