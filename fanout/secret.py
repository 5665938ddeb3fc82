"""A secret that may change while the process runs.

Rules guarded: whoever signs or logs in asks for the secret each time, so that a new one is in force at once and
everywhere. No repr shows it.
"""

from collections.abc import Callable


class Secret:
    """One secret as it is now; "" for none."""

    __slots__ = ("_callbacks", "_value")

    def __init__(self, value: str = "") -> None:
        self._value = value
        self._callbacks: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return "<Secret>" if self._value else "<Secret: none>"

    @property
    def value(self) -> str:
        """The secret itself."""
        return self._value

    def replace(self, value: str) -> None:
        """Put another one in force."""
        self._value = value
        for callback in self._callbacks:
            callback()

    def when_replaced(self, callback: Callable[[], None]) -> None:
        """Run `callback` whenever another one is in force: what was made with the former may have to go."""
        self._callbacks.append(callback)
