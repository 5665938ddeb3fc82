"""The store's clock as this worker knows it.

Rule guarded: the age of an entry is measured by one clock, the store's, which also wrote the entry's id; clocks of
workers may be wrong or jump without expiring anything early. Pure.
"""


class StoreTime:
    """The difference between the store's clock and ours, as of the last heartbeat."""

    def __init__(self) -> None:
        self._offset = 0.0

    def note(self, store: float, monotonic: float) -> None:
        """Remember that the store's clock said `store` (unix seconds) when our monotonic clock said `monotonic`."""
        self._offset = store - monotonic

    def now(self, monotonic: float) -> float:
        """Give the store's time in unix seconds."""
        return monotonic + self._offset
