"""How many calls a second are served, for all calls together or for each class of paths.

Source: contract 4.3 (the service meters classes of calls apart: so many sends to users, so few broadcasts). Rules
guarded: `now` is a number, so a run can be repeated; a call counts in the first class that matches its path and in no
other; a class whose expression is wrong is refused, because its quota would hold nothing back.
"""

import re

import msgspec


class QuotaClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """So many calls each second for paths in which `path`, a regular expression, is found; 0 is no limit.

    Past it the answer carries a Retry-After of `retry_after` seconds, unless that is None.
    """

    per_second: int
    path: str = ""
    retry_after: float | int | None = None

    def __post_init__(self) -> None:
        """Refuse a class that could not mean anything."""
        if self.per_second < 0:
            raise ValueError("perSecond counts calls: it cannot be negative")
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"path is not a regular expression: {error}") from None


_decoder: msgspec.json.Decoder[QuotaClass | tuple[QuotaClass, ...]] = msgspec.json.Decoder(
    QuotaClass | tuple[QuotaClass, ...]
)


def parse_quota(data: bytes) -> tuple[QuotaClass, ...]:
    """Read one class or a JSON list of them; ValueError says what is wrong."""
    try:
        order = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"quota: {error}") from None
    return (order,) if isinstance(order, QuotaClass) else order


class _Window:
    """One class and the calls it has had in the second that runs."""

    __slots__ = ("_second", "_used", "pattern", "rule")

    def __init__(self, rule: QuotaClass) -> None:
        self.rule = rule
        self.pattern = re.compile(rule.path)
        self._second = 0
        self._used = 0

    def admits(self, now: float) -> bool:
        if not self.rule.per_second:
            return True
        if int(now) != self._second:
            self._second = int(now)
            self._used = 0
        self._used += 1
        return self._used <= self.rule.per_second


class Quota:
    """The quotas in force. Seconds are those of the clock, as the service's are."""

    def __init__(self) -> None:
        self._windows: tuple[_Window, ...] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{window.rule.path or 'all'} {window.rule.per_second}/s" for window in self._windows)
        return f"<Quota {shown or 'none'}>"

    def set(self, per_second: int, retry_after: float | None = None) -> None:
        """Allow `per_second` calls in each second, all paths together; 0 lifts every quota."""
        self.set_classes((QuotaClass(per_second, "", retry_after),) if per_second else ())

    def set_classes(self, classes: tuple[QuotaClass, ...]) -> None:
        """Replace all quotas and forget what was counted."""
        self._windows = tuple(_Window(rule) for rule in classes)

    def refusal(self, path: str, now: float) -> QuotaClass | None:
        """Count one call at `now` (seconds) and give the class whose quota it is past, None when it may pass."""
        for window in self._windows:
            if window.pattern.search(path):
                return None if window.admits(now) else window.rule
        return None

    def report(self) -> object:
        """Show what is in force: one object for all calls, a list when paths are told apart."""
        rules = [window.rule for window in self._windows]
        if not rules:
            return {"perSecond": 0, "retryAfter": None}
        if len(rules) == 1 and not rules[0].path:
            return {"perSecond": rules[0].per_second, "retryAfter": rules[0].retry_after}
        return msgspec.to_builtins(rules)
