"""When the service begins to count anew, as refusals without Retry-After show it. Pure.

Services count calls by the second (docs/sources.md, limits). A call that is accepted after one that was refused shows
that a second began between them. That is known as soon as two rounds of refusals agree; from then on a pause ends with
the second in which the quota is used up, where it would be tried in vain several times before.

    refused, refused, accepted    a second began between the last two
    ... again, and it agrees      known, to less than a quarter of a second: a pause ends in the middle of that part,
                                  which halves it, until it is small
    ... again, and it does not    the later one counts: what was known came by chance
    nothing new for minutes       forgotten: clocks go apart, and what was expected confirms itself
"""

from math import inf

from workers.limit import SECOND

_ALIKE = 2  # rounds of refusals that agree: of one alone nobody can tell whether it was a second that began
_TELLING = 0.25  # seconds: a longer part of the second agrees with too much
_CLOSE = 0.05  # seconds: it is not worth a refusal to know it better
_DRIFT = 0.001  # seconds in each by which two clocks may go apart


class Second:
    """Between which moments a second of the service begins, in seconds of this process's clock."""

    def __init__(self) -> None:
        self._from = self._to = 0.0
        self._alike = 0
        self._refused_at = self._known_at = inf  # when the last refused call was sent, and when its answer came

    def __repr__(self) -> str:
        return f"<Second begun within {self._to - self._from:.3f} s, {self._alike} alike>"

    @property
    def awaits(self) -> bool:
        """Whether an accepted call would show something."""
        return self._refused_at < inf

    def refused(self, sent: float, now: float) -> None:
        """Learn that a call was refused."""
        is_again = sent >= self._known_at
        if is_again and self.left(now) is not None and (sent - self._to) % SECOND < 2 * _CLOSE:
            self._alike = 0  # a second should have begun just then
        self._refused_at, self._known_at = sent, now

    def accepted(self, sent: float, now: float) -> None:
        """Learn that a call was accepted; it shows nothing if it was sent before the last refusal was known."""
        if sent < self._known_at:
            return
        begin, self._refused_at, self._known_at = self._refused_at, inf, inf
        if now - begin < SECOND:
            self._narrow(begin, now)

    def left(self, now: float) -> float | None:
        """Return in how many seconds to see whether a second has begun, None while its beginning is not known."""
        width = self._width(now)
        if self._alike < _ALIKE or width > _TELLING:
            return None
        left = (self._to - now) % SECOND
        return left - width / 2 if _CLOSE < width < left else left

    def begun(self, now: float) -> tuple[float, float] | None:
        """Return when the present second began at the earliest and at the latest, None while that is not known."""
        if self.left(now) is None:
            return None
        latest = now - (now - self._to) % SECOND
        return latest - self._width(now), latest

    def _width(self, now: float) -> float:
        return self._to - self._from + 2 * _DRIFT * (now - self._to)

    def _narrow(self, begin: float, end: float) -> None:
        is_telling = end - begin < _TELLING
        whole = round((begin + end - self._from - self._to) / 2 / SECOND) * SECOND
        apart = _DRIFT * (begin - self._from)
        first, last = self._from + whole - apart, self._to + whole + apart
        is_known = self._alike > 0 and self._width(begin) < 2 * _TELLING
        if not is_known or max(begin, first) >= min(end, last):
            self._from, self._to, self._alike = begin, end, int(is_telling)
        elif begin > first or end < last:
            self._from, self._to, self._alike = max(begin, first), min(end, last), self._alike + is_telling
        else:  # a pause that ended when a second was expected confirms whatever was expected
            self._alike = max(self._alike, min(_ALIKE, self._alike + is_telling))
