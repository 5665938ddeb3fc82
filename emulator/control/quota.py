"""How many requests are served each second, in total or for each class of paths.

The service is rated separately for sends to users and for broadcasts, hence the classes. A request counts in the first
class that matches its path and in no other. A class with an invalid expression is refused, because it would limit
nothing. Source: docs/sources.md, limits.
"""

import re

import msgspec


class QuotaClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """At most `per_second` requests to paths that `path`, a regular expression, matches; 0 is no limit.

    A refusal has a Retry-After of `retry_after` seconds, unless that is None.
    """

    per_second: int
    path: str = ""
    retry_after: float | int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a class that cannot apply."""
        if self.per_second < 0:
            raise ValueError("perSecond must not be negative")
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"path is not a regular expression: {error}") from None


_decoder: msgspec.json.Decoder[QuotaClass | tuple[QuotaClass, ...]] = msgspec.json.Decoder(
    QuotaClass | tuple[QuotaClass, ...]
)


def parse_quota(data: bytes) -> tuple[QuotaClass, ...]:
    """Return the classes in a JSON object or list, or raise ValueError, which says what is wrong."""
    try:
        parsed = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"quota: {error}") from None
    return (parsed,) if isinstance(parsed, QuotaClass) else parsed


class _Window:
    """One class and its count in the current second."""

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
    """The quotas in force. A second begins when the clock's whole seconds change, as on the service."""

    def __init__(self) -> None:
        self._windows: tuple[_Window, ...] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{window.rule.path or 'all'} {window.rule.per_second}/s" for window in self._windows)
        return f"<Quota {shown or 'none'}>"

    def set(self, per_second: int, retry_after: float | None = None) -> None:
        """Allow `per_second` requests each second, all paths together; 0 removes every quota."""
        self.set_classes((QuotaClass(per_second, "", retry_after),) if per_second else ())

    def set_classes(self, classes: tuple[QuotaClass, ...]) -> None:
        """Replace all quotas and their counts."""
        self._windows = tuple(_Window(rule) for rule in classes)

    def refusal(self, path: str, now: float) -> QuotaClass | None:
        """Count one request at `now` (seconds). Return the class whose quota it exceeds, None when it is served."""
        for window in self._windows:
            if window.pattern.search(path):
                return None if window.admits(now) else window.rule
        return None

    def report(self) -> object:
        """Return what is in force: one object without classes, a list with them."""
        rules = [window.rule for window in self._windows]
        if not rules:
            return {"perSecond": 0, "retryAfter": None}
        if len(rules) == 1 and not rules[0].path:
            return {"perSecond": rules[0].per_second, "retryAfter": rules[0].retry_after}
        return msgspec.to_builtins(rules)
