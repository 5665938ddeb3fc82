"""The last calls to one hub, as its breaker counts them: failures in a row, and a window of calls. Pure.

Rule guarded: a call costs the same however many have failed before, and none is remembered past the window. A hub that
fails is asked more often than any other, and what it costs is taken from the others.
"""

from collections import deque

WINDOW = 10.0  # seconds looked back on
_STREAK = 10  # failures in a row
_LASTING = 1.0  # seconds from the first of them to the last
_SAMPLE = 50  # calls that must be in the window
_MOST = 10 * _SAMPLE  # calls that are remembered
_RATE = 0.98  # share of them that failed


class RecentCalls:
    """Whether so many calls failed that it is the hub that fails; they have to be to `width` destinations."""

    def __init__(self, width: int) -> None:
        self._width = width
        self.streak = 0  # failures since the last success
        self._streak_of: set[str] = set()  # destinations of these, as many as it takes
        self._streak_began = 0.0
        self._calls: deque[tuple[float, str, bool]] = deque()
        self._failed = 0  # of these
        self._failed_of: dict[str, int] = {}  # the same by destination

    def __repr__(self) -> str:
        return f"<RecentCalls {self._failed} of {len(self._calls)} failed>"

    def succeeded(self, now: float, lane: str) -> None:
        """Count a call that was served."""
        self._end_streak()
        self._calls.append((now, lane, False))
        self._forget_old(now)

    def failed(self, now: float, lane: str) -> None:
        """Count a call that was not."""
        if not self.streak:
            self._streak_began = now
        self.streak += 1
        if len(self._streak_of) < self._width:
            self._streak_of.add(lane)
        self._calls.append((now, lane, True))
        self._failed += 1
        self._failed_of[lane] = self._failed_of.get(lane, 0) + 1
        self._forget_old(now)

    def forget(self) -> None:
        """Begin anew."""
        self._end_streak()
        self._calls.clear()
        self._failed = 0
        self._failed_of.clear()

    def show_outage(self, now: float, closed_at: float) -> bool:
        """Return whether so many failed that a breaker which closed last at a moment has to open."""
        lasting = now - self._streak_began >= _LASTING
        if lasting and self.streak >= _STREAK and len(self._streak_of) >= self._width:
            return True
        if now < closed_at + _LASTING:
            return False  # all who waited go at once, and those that fail by themselves may be the first
        most = len(self._calls) >= _SAMPLE and self._failed >= _RATE * len(self._calls)
        return most and len(self._failed_of) >= self._width

    def _end_streak(self) -> None:
        if self.streak:
            self.streak = 0
            self._streak_of.clear()

    def _forget_old(self, now: float) -> None:
        calls = self._calls
        while calls and (calls[0][0] < now - WINDOW or len(calls) > _MOST):
            _when, lane, had_failed = calls.popleft()
            if not had_failed:
                continue
            self._failed -= 1
            left = self._failed_of.pop(lane) - 1
            if left:
                self._failed_of[lane] = left
