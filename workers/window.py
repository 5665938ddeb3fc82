"""How many calls may be in flight at once: additive increase, multiplicative decrease. Pure.

Rule guarded: the window shrinks on signs that the far side is overloaded (429, 503, time-outs), at most once per round
of calls, and grows by one per round while it is full; it never leaves 1 to `most`. It starts at `most`, because a
service that copes should not be tried out slowly each time a worker starts.
"""

_SHRINK = 0.75
_ROUND = 0.1  # seconds: the shortest time between two decreases


class Window:
    """The window of one worker."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self._shrunk_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Window {self.limit:.1f} of {self.most}>"

    def admits(self, in_flight: int) -> bool:
        """Say whether one more call may start."""
        return in_flight < self.limit

    def went_well(self, in_flight: int) -> None:
        """Grow by a call's part of one round, when the window was about full."""
        if self.limit < self.most and in_flight + 1 >= self.limit * 0.9:
            self.limit = min(float(self.most), self.limit + 1.0 / self.limit)

    def overloaded(self, now: float, took: float) -> None:
        """Shrink, unless that was done within the last round; `took` is how long the call was under way."""
        if now - self._shrunk_at < max(_ROUND, took):
            return
        self._shrunk_at = now
        self.limit = max(1.0, self.limit * _SHRINK)
