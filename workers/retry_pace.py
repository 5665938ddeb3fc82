"""How fast destinations are tried again that failed, while what is tried again fails. Pure.

Rule guarded: thousands of destinations that fail by themselves take a small part of a worker, and of the service, when
the time of all of them comes at once, as it does whenever another one of their hub is served. A retry that is served
lets several others go, so that a service which recovers is as busy as before after a few calls.
"""

RATE = 500.0  # retries a second of which none is served; a failed call costs a worker 0.1 to 0.2 ms
_AT_ONCE = 16.0  # that many go together after a rest, and half of them while others wait
_FOR_ONE_SERVED = 8.0  # as long as one in so many is served, nothing is held back
_MOST = 128.0  # that may go together where they are served: as many as are in flight


class RetryPace:
    """How many retries may begin: `left` of them, and RATE more in a second up to `_AT_ONCE`."""

    __slots__ = ("_at", "left")

    def __init__(self) -> None:
        self.left = _MOST
        self._at = 0.0  # the time for which `left` is right

    def __repr__(self) -> str:
        return f"<RetryPace {self.left:.1f} left>"

    def is_open(self, now: float) -> bool:
        """Return whether a retry may begin."""
        if self.left < 1.0:
            self._count_time(now)
        return self.left >= 1.0

    @property
    def opens_at(self) -> float:
        """When some may begin together after the last one that might."""
        return self._at + max(0.0, _AT_ONCE / 2 - self.left) / RATE

    def began(self, now: float) -> None:
        """Count a retry that begins."""
        self._count_time(now)
        self.left -= 1.0

    def served(self) -> None:
        """Learn that one was served."""
        self.left = min(_MOST, self.left + _FOR_ONE_SERVED)

    def _count_time(self, now: float) -> None:
        if self.left < _AT_ONCE:
            self.left = min(_AT_ONCE, self.left + (now - self._at) * RATE)
        self._at = now
